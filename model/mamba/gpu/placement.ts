/**
 * How a parameter is laid out on the device: padded to whole panels, A_log transposed, and the maps
 * between that and the Hugging Face shapes.
 * @module
 */
import { fromPanels, matrixFloats, padded, toPanels } from "../../../kernels/layout.ts";
import type { MambaConfig } from "../config.ts";
import { EMBEDDING, type Parameter } from "../parameters.ts";

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

/** Extents of a layer's matrices as stored: e and r padded to whole panels. */
interface StoredSizes {
  /** Padded e. */
  e: number;
  /** Padded r. */
  r: number;
  /** n rounded up to 4. */
  np: number;
  /** Columns of x_dbl: padded r, then one panel of B and C. */
  xDbl: number;
}

/** @throws {RangeError} where the state is too large for the scan. */
export function storedSizes(config: MambaConfig): StoredSizes {
  const np = Math.ceil(config.stateSize / 4) * 4;
  const r = padded(config.timeStepRank);
  return { e: padded(config.intermediateSize), r, np, xDbl: r + 32 };
}

/** Rows, columns and row placement of a parameter that is stored as a matrix. */
interface MatrixForm {
  /** Rows as stored. */
  rows: number;
  cols: number;
  sourceRows: number;
  sourceCols: number;
  rowOf: (row: number) => number;
}

/** How a parameter of this kind is stored as a matrix; undefined for vectors and A_log. */
export function matrixForm(config: MambaConfig, kind: string): MatrixForm | undefined {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const s = storedSizes(config);
  const same = (row: number) => row;
  const form = (
    rows: number,
    cols: number,
    sourceRows: number,
    sourceCols: number,
    rowOf = same,
  ) => ({ rows, cols, sourceRows, sourceCols, rowOf });
  switch (kind) {
    case EMBEDDING:
      return form(config.paddedVocabSize, d, config.paddedVocabSize, d);
    case "mixer.in_proj.weight": // x, then z, each from a panel's start
      return form(2 * s.e, d, 2 * e, d, (row) => row < e ? row : s.e + row - e);
    case "mixer.x_proj.weight": // delta's r rows, then one panel of B and C
      return form(
        s.xDbl,
        s.e,
        r + 2 * n,
        e,
        (row) => row < r ? row : row < r + n ? s.r + row - r : s.r + s.np + row - r - n,
      );
    case "mixer.dt_proj.weight":
      return form(s.e, s.r, e, r);
    case "mixer.out_proj.weight":
      return form(d, s.e, d, e);
  }
}

/** A parameter's name within its layer. */
export const kindOf = (name: string) => name.replace(/^backbone\.layers\.\d+\./, "");

/** Parameters one by one, but for A_log, D and dt_proj.bias, which come together in that order. */
export function scanGroups(list: Parameter[]): Parameter[][] {
  const groups: Parameter[][] = [];
  const scan = ["mixer.A_log", "mixer.D", "mixer.dt_proj.bias"];
  const byName = new Map(list.map((p) => [p.name, p]));
  for (const p of list) {
    const kind = kindOf(p.name);
    if (kind === "mixer.A_log") {
      groups.push(scan.map((k) => byName.get(p.name.replace("mixer.A_log", k))!));
    } else if (!scan.includes(kind)) groups.push([p]);
  }
  return groups;
}

/** How many floats a parameter takes, and the way in and out. */
export function layoutOf(
  config: MambaConfig,
  parameter: Parameter,
): Pick<Placement, "floats" | "pack" | "unpack"> {
  const kind = kindOf(parameter.name);
  const form = matrixForm(config, kind);
  const s = storedSizes(config);
  if (form) {
    const { rows, cols, sourceRows, sourceCols, rowOf } = form;
    const stride = padded(rows);
    return {
      floats: matrixFloats(rows, cols),
      pack: (values, block) => block.set(toPanels(values, sourceRows, sourceCols, stride, rowOf)),
      unpack: (block) => fromPanels(block, sourceRows, sourceCols, stride, rowOf),
    };
  }
  const { size } = parameter;
  if (kind === "mixer.A_log") {
    const n = config.stateSize;
    const at = (i: number) => (i % n) * s.e + Math.floor(i / n);
    return {
      floats: s.np * s.e,
      pack: (values, block) => values.forEach((v, i) => block[at(i)] = v),
      unpack: (block) => Float32Array.from({ length: size }, (_, i) => block[at(i)]!),
    };
  }
  const inScan = kind === "mixer.D" || kind === "mixer.dt_proj.bias";
  return {
    floats: inScan ? s.e : Math.ceil(size / 32) * 32, // vectors over channels fill whole panels
    pack: (values, block) => block.set(values),
    unpack: (block) => block.slice(0, size),
  };
}
