/**
 * Adapters in float64: a weight's effective value W + s B A, and what its gradient is to A and B. The
 * device computes the same by other products, without the effective weight.
 * @module
 */
import type { MambaConfig } from "./config.ts";
import { adapterNames, adapterShapes, EMBEDDING_MODULE, loraScale, weightName } from "./lora.ts";
import { parameterList } from "./parameters.ts";
import type { Tensors } from "./reference_passes.ts";

/** A module's tensors, its weight (rows, cols) as left B' (rows, r) x right A' (r, cols). */
interface Factors {
  weight: string;
  rows: number;
  cols: number;
  rank: number;
  scale: number;
  left: { name: string; at: (row: number, k: number) => number };
  right: { name: string; at: (k: number, col: number) => number };
}

/** Of a linear map B A; of the embedding A^T B^T. */
function factorsOf(config: MambaConfig): Factors[] {
  const { lora } = config;
  if (!lora) return [];
  const { rank } = lora;
  const shapes = new Map(parameterList(config).map(({ name, shape }) => [name, shape]));
  return lora.modules.map((module) => {
    const weight = weightName(module);
    const [rows = 0, cols = 0] = shapes.get(weight) ?? [];
    const { a, b } = adapterNames(module);
    const widths = adapterShapes(lora, module, [rows, cols]);
    const wideA = widths.a[1] ?? 0;
    const ofEmbedding = module === EMBEDDING_MODULE;
    const inA = (k: number, i: number) => k * wideA + i;
    const inB = (i: number, k: number) => i * rank + k;
    const left = ofEmbedding
      ? { name: a, at: (row: number, k: number) => inA(k, row) }
      : { name: b, at: inB };
    const right = ofEmbedding
      ? { name: b, at: (k: number, col: number) => inB(col, k) }
      : { name: a, at: inA };
    return { weight, rows, cols, rank, scale: loraScale(lora), left, right };
  });
}

const tensor = (tensors: Tensors, name: string): Float64Array => {
  const values = tensors.get(name);
  if (!values) throw new RangeError(`The model has no parameter ${name}`);
  return values;
};

/** The parameters with adapters added to their weights; the same ones where there are none. */
export function withAdapters(config: MambaConfig, parameters: Tensors): Tensors {
  if (!config.lora) return parameters;
  const effective = new Map(parameters);
  for (const { weight, rows, cols, rank, scale, left, right } of factorsOf(config)) {
    const l = tensor(parameters, left.name);
    const r = tensor(parameters, right.name);
    const values = tensor(parameters, weight).slice();
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        let sum = 0;
        for (let k = 0; k < rank; k++) {
          sum += (l[left.at(row, k)] ?? 0) * (r[right.at(k, col)] ?? 0);
        }
        const at = row * cols + col;
        values[at] = (values[at] ?? 0) + scale * sum;
      }
    }
    effective.set(weight, values);
  }
  return effective;
}

/** Adds to `sums` the adapters' gradients: s dW A'^T of the left factor, s B'^T dW of the right one. */
export function addAdapterGradients(
  config: MambaConfig,
  parameters: Tensors,
  gradients: Tensors,
  sums: Tensors,
): void {
  for (const { weight, rows, cols, rank, scale, left, right } of factorsOf(config)) {
    const dweight = tensor(gradients, weight);
    const l = tensor(parameters, left.name);
    const r = tensor(parameters, right.name);
    const dl = tensor(sums, left.name);
    const dr = tensor(sums, right.name);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const d = scale * (dweight[row * cols + col] ?? 0);
        for (let k = 0; k < rank; k++) {
          const i = left.at(row, k);
          const j = right.at(k, col);
          dl[i] = (dl[i] ?? 0) + d * (r[j] ?? 0);
          dr[j] = (dr[j] ?? 0) + d * (l[i] ?? 0);
        }
      }
    }
  }
}
