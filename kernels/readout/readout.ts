/**
 * From rows of hidden states to the features of items, and back; what it computes is said in
 * `reference/readout.ts`. Both ways are sums over lists: forward the rows of each slot of an item,
 * backward the slots that read each row, so that neither needs atomics and sums keep their order.
 *
 * A slot's columns begin at a panel. The features have one panel more than their slots need, whose first
 * column is 1 in every row: a weight's last panel then holds the bias in its first column.
 * @module
 */
import { type Matrix, matrixFloats, padded, PANEL, panelIndex, type Region } from "../layout.ts";
import type { ReadoutEntry } from "../reference/readout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";

/** Panels that one invocation of a GPU works through; a CPU driver's takes them all. */
const GPU_PANELS = 1;

/** Columns of the features: those of the slots, each from a panel on, and the panel of the bias. */
export const featureColumns = (slots: number, hiddenSize: number): number =>
  slots * padded(hiddenSize) + PANEL;

/** The features' values before any step: 0, and 1 in the column of the bias. */
export function initialFeatures(items: number, slots: number, hiddenSize: number): Float32Array {
  const columns = featureColumns(slots, hiddenSize);
  const values = new Float32Array(matrixFloats(items, columns));
  const stride = padded(items);
  for (let item = 0; item < items; item++) values[panelIndex(item, columns - PANEL, stride)] = 1;
  return values;
}

/** The lists of a batch as the device reads them. */
export interface ReadoutLists {
  /** u32: where each slot's list begins, item by item, and where the last ends; (items slots + 1). */
  slotStarts: Uint32Array<ArrayBuffer>;
  /** u32: the rows of these lists. */
  slotRows: Uint32Array<ArrayBuffer>;
  slotWeights: Float32Array<ArrayBuffer>;
  /** u32: where each row's list begins; (rows + 1). */
  rowStarts: Uint32Array<ArrayBuffer>;
  /** u32: item slots + slot, for each slot that reads the row. */
  rowSlots: Uint32Array<ArrayBuffer>;
  rowWeights: Float32Array<ArrayBuffer>;
}

/**
 * Entries as lists by slot and by row, each in the order of the entries.
 * @param capacity room for so many entries; the lists are padded to it
 * @throws {RangeError} where an entry lies outside, or there are more than the capacity.
 */
export function readoutLists(
  entries: readonly ReadoutEntry[],
  size: { items: number; slots: number; rows: number; capacity: number },
): ReadoutLists {
  const { items, slots, rows, capacity } = size;
  if (entries.length > capacity) {
    throw new RangeError(`${entries.length} places to read came, with room for ${capacity}`);
  }
  for (const { item, slot, row } of entries) {
    if (item < 0 || item >= items || slot < 0 || slot >= slots || row < 0 || row >= rows) {
      throw new RangeError(`Row ${row} for slot ${slot} of item ${item} lies outside the batch`);
    }
  }
  const grouped = (
    groups: number,
    key: (e: ReadoutEntry) => number,
    value: (e: ReadoutEntry) => number,
  ) => {
    const starts = new Uint32Array(groups + 1);
    for (const entry of entries) starts[key(entry) + 1] = (starts[key(entry) + 1] ?? 0) + 1;
    for (let g = 0; g < groups; g++) starts[g + 1] = (starts[g + 1] ?? 0) + (starts[g] ?? 0);
    const next = starts.slice();
    const values = new Uint32Array(capacity);
    const weights = new Float32Array(capacity);
    for (const entry of entries) {
      const at = next[key(entry)] ?? 0;
      next[key(entry)] = at + 1;
      values[at] = value(entry);
      weights[at] = entry.weight;
    }
    return { starts, values, weights };
  };
  const slotOf = ({ item, slot }: ReadoutEntry) => item * slots + slot;
  const bySlot = grouped(items * slots, slotOf, (entry) => entry.row);
  const byRow = grouped(rows, (entry) => entry.row, slotOf);
  return {
    slotStarts: bySlot.starts,
    slotRows: bySlot.values,
    slotWeights: bySlot.weights,
    rowStarts: byRow.starts,
    rowSlots: byRow.values,
    rowWeights: byRow.weights,
  };
}

const FORWARD_PARAMS = uniforms({
  items: "u32",
  slots: "u32",
  /** Panels of a slot, and of all slots. */
  panels: "u32",
  all_panels: "u32",
  /** Panels of an invocation. */
  each: "u32",
  hidden_stride: "u32",
  feature_stride: "u32",
});

/** Eight invocations for each item: one for each vector of a panel. */
function forwardProgram(hidden: Pick<Matrix, "type">): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", FORWARD_PARAMS);
  w.storage("hidden", vectorOf(hidden));
  w.storage("starts", "u32");
  w.storage("rows", "u32");
  w.storage("weights", "f32");
  w.storage("features", "vec4f", "read_write");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let item = id.x / 8u;", "let q = id.x % 8u;");
    w.if("item >= p.items", () => w.line("return;"));
    w.for("var i = id.y * p.each; i < min(p.all_panels, (id.y + 1u) * p.each); i++", () => {
      w.line(`
        let list = item * p.slots + i / p.panels;
        let panel = i % p.panels;
        let end = starts[list + 1u];
        var total = vec4f();
      `);
      w.for("var e = starts[list]; e < end; e++", () => {
        w.line(
          "total += weights[e] * vec4f(hidden[(panel * p.hidden_stride + rows[e]) * 8u + q]);",
        );
      });
      w.line("features[(i * p.feature_stride + item) * 8u + q] = total;");
    });
  });
  return w.program();
}

/** Operands of the readout; the regions hold what {@linkcode readoutLists} gives. */
export interface Readout {
  /** (rows, d); may be f16. */
  hidden: Matrix;
  /** (items, {@linkcode featureColumns}); the bias's panel stays as it is. */
  features: Matrix;
  slots: number;
  slotStarts: Region;
  slotRows: Region;
  slotWeights: Region;
}

function panelShare(plan: Plan, panels: number): { each: number; groups: number } {
  const each = plan.device.variant === "gpu-tiled" ? GPU_PANELS : panels;
  return { each, groups: Math.ceil(panels / each) };
}

/** Queues features = the weighted sums of the rows that each slot reads. */
export function readoutForward(plan: Plan, o: Readout): void {
  const panels = padded(o.hidden.cols) / PANEL;
  const all = o.slots * panels;
  const { each, groups } = panelShare(plan, all);
  const items = o.features.rows;
  plan.dispatch({
    label: "readout forward",
    code: forwardProgram(o.hidden),
    params: FORWARD_PARAMS.pack({
      items,
      slots: o.slots,
      panels,
      all_panels: all,
      each,
      hidden_stride: o.hidden.stride,
      feature_stride: o.features.stride,
    }),
    bindings: {
      hidden: o.hidden.region,
      starts: o.slotStarts,
      rows: o.slotRows,
      weights: o.slotWeights,
      features: o.features.region,
    },
    groups: [Math.ceil(items * 8 / VECTOR_GROUP), groups],
    bytes: items * all * 256,
  });
}

const BACKWARD_PARAMS = uniforms({
  rows: "u32",
  slots: "u32",
  panels: "u32",
  each: "u32",
  hidden_stride: "u32",
  feature_stride: "u32",
});

/** Eight invocations for each row: one for each vector of a panel. */
function backwardProgram(): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", BACKWARD_PARAMS);
  w.storage("dfeatures", "vec4f");
  w.storage("starts", "u32");
  w.storage("slots", "u32");
  w.storage("weights", "f32");
  w.storage("dhidden", "vec4f", "read_write");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let r = id.x / 8u;", "let q = id.x % 8u;");
    w.if("r >= p.rows", () => w.line("return;"));
    w.line("let end = starts[r + 1u];");
    w.for("var i = id.y * p.each; i < min(p.panels, (id.y + 1u) * p.each); i++", () => {
      w.line("var total = vec4f();");
      w.for("var e = starts[r]; e < end; e++", () => {
        w.line(`
          let item = slots[e] / p.slots;
          let panel = (slots[e] % p.slots) * p.panels + i;
          total += weights[e] * dfeatures[(panel * p.feature_stride + item) * 8u + q];
        `);
      });
      w.line("dhidden[(i * p.hidden_stride + r) * 8u + q] = total;");
    });
  });
  return w.program();
}

/** Operands of the backward pass. */
export interface ReadoutBackward {
  /** (items, {@linkcode featureColumns}) */
  dfeatures: Matrix;
  /** (rows, d), set: 0 in rows that nothing reads. */
  dhidden: Matrix;
  slots: number;
  rowStarts: Region;
  rowSlots: Region;
  rowWeights: Region;
}

/** Queues the gradient of the hidden rows. */
export function readoutBackward(plan: Plan, o: ReadoutBackward): void {
  const { rows, cols, stride } = o.dhidden;
  const panels = padded(cols) / PANEL;
  const { each, groups } = panelShare(plan, panels);
  plan.dispatch({
    label: "readout backward",
    code: backwardProgram(),
    params: BACKWARD_PARAMS.pack({
      rows,
      slots: o.slots,
      panels,
      each,
      hidden_stride: stride,
      feature_stride: o.dfeatures.stride,
    }),
    bindings: {
      dfeatures: o.dfeatures.region,
      starts: o.rowStarts,
      slots: o.rowSlots,
      weights: o.rowWeights,
      dhidden: o.dhidden.region,
    },
    groups: [Math.ceil(rows * 8 / VECTOR_GROUP), groups],
    bytes: rows * panels * 256,
  });
}
