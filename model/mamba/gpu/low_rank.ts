/**
 * Linear maps on the device, with their adapters where they have one: y = x W^T + s (x A^T) B^T, and of
 * the embedding, which is the tied head too, x = E[token] + s A[token] B^T.
 *
 * t = x A^T has r columns. It is computed again in the backward, which takes less than keeping it for
 * every layer would. W is frozen then: of its products only those with activations are computed.
 * @module
 */
import { dropoutInto } from "../../../kernels/dropout/dropout_into.ts";
import { embeddingBackward, embeddingForward } from "../../../kernels/embedding/embedding.ts";
import {
  elementBytes,
  type Matrix,
  matrixFloats,
  padded,
  type Region,
  rowsOf,
  subregion,
} from "../../../kernels/layout.ts";
import { matmul } from "../../../kernels/matmul/mod.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { scale } from "../../../kernels/scale/scale.ts";
import { EMBEDDING_MODULE, weightName } from "../lora.ts";
import type { Adapter, LowRankBuffers, StoredParameters } from "./stored.ts";

/** One output of a linear map, or its gradient. */
export interface LinearOutput {
  /** (R, out) */
  matrix: Matrix;
  /** The first row of the weight that makes it, where several outputs share one. */
  firstRow?: number;
  /** Added to: what it holds, or this. */
  accumulate?: boolean;
  residual?: Matrix;
}

/** A weight, and what profiles call its products. */
interface NamedWeight {
  name: string;
  label: string;
}

/** The rows of a weight or of B that make an output. */
const partOf = (weight: Matrix, { firstRow, matrix }: LinearOutput, outputs: number): Matrix =>
  outputs > 1 ? rowsOf(weight, firstRow ?? 0, matrix.cols) : weight;

/** What products of an adapted weight work in. */
function buffersOf({ lowRank }: StoredParameters): LowRankBuffers {
  if (!lowRank) throw new RangeError("Nothing is allocated for adapters");
  return lowRank;
}

/** A view of scratch memory as a matrix. */
function view(region: Region | undefined, rows: number, cols: number, type?: "f16"): Matrix {
  const bytes = elementBytes({ type }) * matrixFloats(rows, cols);
  if (!region || region.size < bytes) throw new RangeError("The adapters' scratch is too small");
  return { region: subregion(region, 0, bytes), rows, cols, stride: padded(rows), type };
}

/** Appends t = s x A^T. Returns the x that A reads, and t. */
function enter(plan: Plan, buffers: LowRankBuffers, adapter: Adapter, x: Matrix, label: string) {
  const { dropped } = buffers;
  let input = x;
  if (adapter.dropout && dropped) {
    input = { ...view(dropped.values, x.rows, x.cols, x.type), exponent: x.exponent };
    dropoutInto(plan, { from: x, to: input, state: dropped.state, salt: adapter.salt });
  }
  const t: Matrix = { ...buffers.t, exponent: x.exponent };
  matmul(plan, { product: "NT", a: input, b: adapter.a, c: t, label: `${label} A` });
  scale(plan, t, adapter.scale);
  return { input, t };
}

/** Appends y = x W^T (+ s (x A^T) B^T) for the outputs that share W. */
export function linear(
  plan: Plan,
  store: StoredParameters,
  { name, label }: NamedWeight,
  x: Matrix,
  outputs: readonly LinearOutput[],
): void {
  const weight = store.operand(name);
  const adapter = store.adapter(name);
  const count = outputs.length;
  if (!adapter) {
    outputs.forEach((output, i) => {
      const { matrix: c, accumulate, residual } = output;
      const b = partOf(weight, output, count);
      matmul(plan, { product: "NT", a: x, b, c, label, accumulate, residual, sameA: i > 0 });
    });
    return;
  }
  const buffers = buffersOf(store);
  const { t, input } = enter(plan, buffers, adapter, x, label);
  outputs.forEach((output, i) => {
    const { matrix: c, accumulate, residual } = output;
    const b = partOf(weight, output, count);
    const low = { product: "NT", a: t, b: partOf(adapter.b, output, count) } as const;
    const wide = `${label} B`;
    if (c.type === "f16") {
      // Sums are kept in f32: the output is rounded once.
      const part = view(buffers.wide, c.rows, c.cols);
      matmul(plan, { ...low, c: part, label: wide });
      matmul(plan, { product: "NT", a: x, b, c, label, residual: part });
    } else {
      const sameA = i === 0 && input === x; // as A has read it
      matmul(plan, { product: "NT", a: x, b, c, label, accumulate, residual, sameA });
      matmul(plan, { ...low, c, label: wide, accumulate: true });
    }
  });
}

/**
 * Appends the backward of y = x W^T: dx (= or +=) dy W, and the gradient of W; or of its adapter beside a
 * frozen W. It has as many parameters as the map has operands, and whether dx is added to.
 */
export function linearBackward(
  plan: Plan,
  store: StoredParameters,
  { name, label }: NamedWeight,
  x: Matrix,
  dx: Matrix,
  outputs: readonly LinearOutput[],
  accumulate: boolean,
): void {
  const weight = store.operand(name);
  const adapter = store.adapter(name);
  const count = outputs.length;
  const mixed = store.keeps("half");
  if (!adapter) {
    const gradient = store.trains(name) ? store.matrix(name, "gradient") : undefined;
    outputs.forEach((output, i) => {
      const a = output.matrix;
      const b = partOf(weight, output, count);
      const add = accumulate || i > 0;
      matmul(plan, { product: "NN", a, b, c: dx, accumulate: add, label });
      if (!gradient) return;
      const c = partOf(gradient, output, count);
      matmul(plan, { product: "TN", a, b: x, c, accumulate: true, sameA: true, label, mixed });
    });
    return;
  }
  const { gradients } = adapter;
  if (!gradients) throw new RangeError(`The adapter of ${name} has no gradients`);
  const buffers = buffersOf(store);
  const { dt } = buffers;
  const { input, t } = enter(plan, buffers, adapter, x, label);
  outputs.forEach((output, i) => {
    const a = output.matrix;
    const add = accumulate || i > 0;
    const b = partOf(weight, output, count);
    matmul(plan, { product: "NN", a, b, c: dx, accumulate: add, label });
    const low = partOf(adapter.b, output, count);
    const wide = `${label} B`;
    matmul(plan, { product: "NN", a, b: low, c: dt, accumulate: i > 0, sameA: true, label: wide });
    const c = partOf(gradients.b, output, count);
    matmul(plan, { product: "TN", a, b: t, c, accumulate: true, sameA: true, label: wide, mixed });
  });
  scale(plan, dt, adapter.scale);
  const narrow = `${label} A`;
  const ofA = { product: "TN", a: dt, b: input, c: gradients.a, accumulate: true } as const;
  matmul(plan, { ...ofA, label: narrow, mixed });
  const back = { product: "NN", a: dt, b: adapter.a, sameA: true, label: narrow } as const;
  if (!adapter.dropout || !buffers.dropped) {
    matmul(plan, { ...back, c: dx, accumulate: true });
    return;
  }
  const masked = view(buffers.wide, dx.rows, dx.cols);
  matmul(plan, { ...back, c: masked });
  const { state } = buffers.dropped;
  dropoutInto(plan, { from: masked, to: dx, add: true, state, salt: adapter.salt });
}

/** Appends x += s A[token] B^T, where the embedding has an adapter. */
export function adaptEmbedding(
  plan: Plan,
  store: StoredParameters,
  tokens: Region,
  x: Matrix,
): void {
  const adapter = store.adapter(weightName(EMBEDDING_MODULE));
  if (!adapter) return;
  const { t } = buffersOf(store);
  enterEmbedding(plan, adapter, tokens, t);
  matmul(plan, { product: "NT", a: t, b: adapter.b, c: x, accumulate: true, label: "embedding B" });
}

/** Appends t = s A[token]. */
function enterEmbedding(plan: Plan, { table, scale: s }: Adapter, tokens: Region, t: Matrix): void {
  if (!table) throw new RangeError("The embedding's adapter has no table");
  embeddingForward(plan, { table, tokens, x: t });
  scale(plan, t, s);
}

/** Appends the gradients of the embedding's adapter from those of x, where it has one. */
export function adaptEmbeddingBackward(
  plan: Plan,
  store: StoredParameters,
  { tokens, segments, dx }: { tokens: Region; segments: Region; dx: Matrix },
): void {
  const adapter = store.adapter(weightName(EMBEDDING_MODULE));
  if (!adapter?.gradients) return;
  const { t, dt } = buffersOf(store);
  const { a, b } = adapter.gradients;
  const label = "embedding B";
  enterEmbedding(plan, adapter, tokens, t);
  const mixed = store.keeps("half");
  matmul(plan, { product: "NN", a: dx, b: adapter.b, c: dt, label });
  const ofB = { product: "TN", a: dx, b: t, c: b, accumulate: true, sameA: true } as const;
  matmul(plan, { ...ofB, label, mixed });
  scale(plan, dt, adapter.scale);
  embeddingBackward(plan, { dtable: a, segments, dx: dt });
}

/** The adapter of the tied head, on some rows: what a chunk of the head adds to its products. */
export interface HeadAdapter {
  /** Appends logits += s (hidden B) A^T; hidden (rows, d), logits (rows, V). */
  forward(hidden: Matrix, logits: Matrix): void;
  /**
   * Appends the gradients of A and B, and dhidden += s (dlogits A) B^T, right behind the forward of the
   * same rows.
   */
  backward(hidden: Matrix, dlogits: Matrix, dhidden: Matrix): void;
}

/** The tied head's adapter; undefined where the embedding has none. */
export function headAdapter(plan: Plan, store: StoredParameters): HeadAdapter | undefined {
  const adapter = store.adapter(weightName(EMBEDDING_MODULE));
  if (!adapter) return undefined;
  const { a, b, gradients, scale: s } = adapter;
  const buffers = buffersOf(store);
  const label = "head adapter";
  const of = (matrix: Matrix, rows: number) => view(matrix.region, rows, matrix.cols);
  return {
    forward(hidden, logits) {
      const t = of(buffers.t, hidden.rows);
      matmul(plan, { product: "NN", a: hidden, b, c: t, sameA: true, label });
      scale(plan, t, s);
      matmul(plan, { product: "NT", a: t, b: a, c: logits, accumulate: true, label });
    },
    backward(hidden, dlogits, dhidden) {
      if (!gradients) throw new RangeError("The head's adapter has no gradients");
      const t = of(buffers.t, hidden.rows);
      const dt = of(buffers.dt, hidden.rows);
      const add = { accumulate: true, label } as const;
      matmul(plan, { product: "NN", a: dlogits, b: a, c: dt, sameA: true, label });
      matmul(plan, { product: "TN", a: dlogits, b: t, c: gradients.a, sameA: true, ...add });
      scale(plan, dt, s);
      matmul(plan, { product: "TN", a: hidden, b: dt, c: gradients.b, ...add });
      matmul(plan, { product: "NT", a: dt, b, c: dhidden, ...add });
    },
  };
}
