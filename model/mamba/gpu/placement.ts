/**
 * How a parameter is laid out on the device: padded to whole panels, as its mixer has it, and the maps
 * between that and the Hugging Face shapes.
 * @module
 */
import { float32At } from "../../../core/nth.ts";
import { fromPanels, matrixFloats, padded, PANEL, toPanels } from "../../../kernels/layout.ts";
import type { MambaConfig } from "../config.ts";
import { CRF_NAMES, HEAD_BIAS, HEAD_WEIGHT, type HeadConfig, isCrfParameter } from "../head.ts";
import { kindOf } from "../kinds.ts";
import { adapterModule, EMBEDDING_MODULE, weightName } from "../lora.ts";
import { EMBEDDING, type Parameter } from "../parameters.ts";
import type { MatrixForm } from "./mixer.ts";

/** A parameter's place: floats of its block, and the maps between layouts. */
export interface Placement {
  parameter: Parameter;
  /** The arena and the first float in it. */
  arena: number;
  offset: number;
  floats: number;
  /** Into a block of `floats` zeros. */
  pack(values: Float32Array, block: Float32Array): void;
  unpack(block: Float32Array): Float32Array;
}

/** How a parameter of this kind is stored as a matrix; undefined for vectors. */
export function matrixForm(config: MambaConfig, name: string): MatrixForm | undefined {
  const { hiddenSize: d, paddedVocabSize: v } = config;
  const kind = nameInLayer(name);
  if (kind === EMBEDDING) {
    return { rows: v, cols: d, sourceRows: v, sourceCols: d, rowOf: (row) => row };
  }
  if (config.head && (kind === HEAD_WEIGHT || kind === HEAD_BIAS)) {
    return headForm(config.head, d, kind);
  }
  return adapterForm(config, name) ?? kindOf(config).device.matrixForm(config, nameInMixer(kind));
}

/**
 * An adapter's A has the columns of the weight as that is stored, and its B the rows. Of the embedding, A
 * is stored as a table of r columns, whose rows are looked up as the embedding's are.
 */
function adapterForm(config: MambaConfig, name: string): MatrixForm | undefined {
  const found = adapterModule(name);
  const rank = config.lora?.rank;
  if (!found || rank === undefined) return undefined;
  const { module, part } = found;
  const same = (row: number) => row;
  if (module === EMBEDDING_MODULE) {
    const rows = part === "A" ? config.paddedVocabSize : config.hiddenSize;
    const transposed = part === "A";
    return { rows, cols: rank, sourceRows: rows, sourceCols: rank, rowOf: same, transposed };
  }
  const form = matrixForm(config, weightName(module));
  if (!form) return undefined;
  const { rows, cols, sourceRows, sourceCols, rowOf, colOf } = form;
  return part === "A"
    ? { rows: rank, cols, sourceRows: rank, sourceCols, rowOf: same, colOf }
    : { rows, cols: rank, sourceRows, sourceCols: rank, rowOf };
}

/**
 * A head's weight and bias lie one after the other, so that both are one matrix of the features' columns
 * (see kernels/readout): a slot begins at a panel, and the last panel's first column is the bias.
 */
function headForm({ labels, slots }: HeadConfig, d: number, name: string): MatrixForm {
  const rows = { rows: labels, sourceRows: labels, rowOf: (row: number) => row };
  if (name === HEAD_BIAS) return { ...rows, cols: PANEL, sourceCols: 1, colOf: (c) => c };
  return {
    ...rows,
    cols: slots * padded(d),
    sourceCols: slots * d,
    colOf: (c) => Math.floor(c / d) * padded(d) + c % d,
  };
}

/** Names of a head's parameters that lie together: what one kernel binds at once. */
const HEAD_GROUPS: readonly (readonly string[])[] = [[HEAD_WEIGHT, HEAD_BIAS], CRF_NAMES];

/** A parameter's name within its layer. */
export const nameInLayer = (name: string): string => name.replace(/^backbone\.layers\.\d+\./, "");
const nameInMixer = (name: string) => name.replace(/^mixer\./, "");

/** Parameters one by one, but for those that a mixer's recurrence reads together, in its order. */
export function storedGroups(config: MambaConfig, list: Parameter[]): Parameter[][] {
  const groups: Parameter[][] = [];
  const together = kindOf(config).device.together.map((name) => `mixer.${name}`);
  const [first = ""] = together;
  const byName = new Map(list.map((p) => [p.name, p]));
  const ofHead = HEAD_GROUPS.map((names) => list.filter((p) => names.includes(p.name)));
  for (const p of list) {
    const kind = nameInLayer(p.name);
    if (kind === first) {
      groups.push(together.map((name) => {
        const full = p.name.replace(first, name);
        const member = byName.get(full);
        if (!member) throw new RangeError(`The model has no parameter ${full}`);
        return member;
      }));
    } else if (!together.includes(kind) && !ofHead.some((group) => group.includes(p))) {
      groups.push([p]);
    }
  }
  return [...groups, ...ofHead.filter((group) => group.length)];
}

/** How many floats a parameter takes, and the way in and out. */
export function layoutOf(
  config: MambaConfig,
  parameter: Parameter,
): Pick<Placement, "floats" | "pack" | "unpack"> {
  const { name, size } = parameter;
  const form = matrixForm(config, name);
  if (form?.transposed) return transposedLayout(form);
  if (form) return matrixLayout(form);
  if (isCrfParameter(name)) return vectorLayout(size, size);
  const kind = nameInLayer(name);
  const vector = kind.startsWith("mixer.")
    ? kindOf(config).device.vectorForm(config, nameInMixer(kind))
    : undefined;
  if (!vector) return vectorLayout(size, padded(size)); // vectors over channels fill whole panels
  const { floats, at } = vector;
  return {
    floats,
    pack: (values, block) => values.forEach((v, i) => block[at(i)] = v),
    unpack: (block) => Float32Array.from({ length: size }, (_, i) => float32At(block, at(i))),
  };
}

/** Values that lie as they are, and zeros behind them. */
const vectorLayout = (
  size: number,
  floats: number,
): Pick<Placement, "floats" | "pack" | "unpack"> => ({
  floats,
  pack: (values, block) => block.set(values),
  unpack: (block) => block.slice(0, size),
});

/** A matrix whose source is its transpose. */
function transposedLayout(form: MatrixForm): Pick<Placement, "floats" | "pack" | "unpack"> {
  const { sourceRows: rows, sourceCols: cols } = form;
  const { floats, pack, unpack } = matrixLayout(form);
  const turned = (values: Float32Array, width: number) => {
    const height = values.length / width;
    return Float32Array.from(
      values,
      (_, i) => values[i % height * width + Math.floor(i / height)] ?? 0,
    );
  };
  return {
    floats,
    pack: (values, block) => pack(turned(values, rows), block),
    unpack: (block) => turned(unpack(block), cols),
  };
}

/** A matrix in panels; its columns are moved first, or last, where they do not lie as they are. */
function matrixLayout(form: MatrixForm): Pick<Placement, "floats" | "pack" | "unpack"> {
  const { rows, cols, sourceRows, sourceCols, rowOf, colOf } = form;
  const stride = padded(rows);
  const width = colOf ? cols : sourceCols;
  const each = (move: (from: number, to: number) => void) => {
    for (let row = 0; row < sourceRows; row++) {
      for (let c = 0; c < sourceCols; c++) {
        move(row * sourceCols + c, row * cols + (colOf?.(c) ?? c));
      }
    }
  };
  return {
    floats: matrixFloats(rows, cols),
    pack: (values, block) => {
      let source = values;
      if (colOf) {
        const wide = source = new Float32Array(sourceRows * cols);
        each((from, to) => wide[to] = values[from] ?? 0);
      }
      block.set(toPanels(source, sourceRows, width, stride, rowOf));
    },
    unpack: (block) => {
      const found = fromPanels(block, sourceRows, width, stride, rowOf);
      if (!colOf) return found;
      const values = new Float32Array(sourceRows * sourceCols);
      each((from, to) => values[from] = found[to] ?? 0);
      return values;
    },
  };
}
