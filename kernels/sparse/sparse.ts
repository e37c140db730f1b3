/**
 * Sparse features of items, a row of a table each, added to the items' logits, and the table's gradient;
 * what it computes is said in `reference/sparse.ts`. Forward one invocation sums an item's features for
 * one label; backward one invocation sums the items of a feature for one label, so that neither needs
 * atomics and every sum keeps its order.
 * @module
 */
import type { Matrix, Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, WgslWriter } from "../wgsl/mod.ts";

/** The lists of a batch as the device reads them. */
export interface SparseLists {
  /** u32 (items + 1): where each item's list begins. */
  itemStarts: Uint32Array<ArrayBuffer>;
  /** u32: the features of these lists. */
  itemFeatures: Uint32Array<ArrayBuffer>;
  /** u32: the number of features that occur, and then where each one's list of items ends, from 0. */
  segments: Uint32Array<ArrayBuffer>;
  /** u32: the feature of each such list. */
  segmentFeatures: Uint32Array<ArrayBuffer>;
  /** u32: the items of these lists, in their order. */
  segmentItems: Uint32Array<ArrayBuffer>;
}

/**
 * Each item's features as lists by item and by feature.
 * @param size items and features there may be, and room for so many entries of all lists
 * @throws {RangeError} where there are more, or a feature lies outside the table.
 */
export function sparseLists(
  lists: readonly ArrayLike<number>[],
  size: { items: number; features: number; capacity: number },
): SparseLists {
  const { items, features, capacity } = size;
  const entries = lists.reduce((sum, own) => sum + own.length, 0);
  if (lists.length > items || entries > capacity) {
    throw new RangeError(
      `${entries} features of ${lists.length} items came, with room for ${capacity} of ${items}`,
    );
  }
  const itemStarts = new Uint32Array(items + 1).fill(entries);
  const itemFeatures = new Uint32Array(entries);
  // A counting sort by feature keeps the order of the items.
  const next = new Uint32Array(features + 1);
  let at = 0;
  lists.forEach((own, item) => {
    itemStarts[item] = at;
    for (let i = 0; i < own.length; i++) {
      const feature = own[i] ?? NaN;
      if (!(feature >= 0 && feature < features)) {
        throw new RangeError(
          `Feature ${feature} of item ${item} lies outside a table of ${features}`,
        );
      }
      itemFeatures[at++] = feature;
      next[feature + 1] = (next[feature + 1] ?? 0) + 1;
    }
  });
  const segments = new Uint32Array(sparseSegmentWords(entries));
  const segmentFeatures = new Uint32Array(entries);
  let count = 0;
  for (let feature = 0; feature < features; feature++) {
    const begin = next[feature] ?? 0;
    const end = begin + (next[feature + 1] ?? 0);
    next[feature + 1] = end;
    if (end === begin) continue;
    segmentFeatures[count] = feature;
    segments[2 + count++] = end;
  }
  segments[0] = count;
  const segmentItems = new Uint32Array(entries);
  lists.forEach((own, item) => {
    for (let i = 0; i < own.length; i++) {
      const feature = own[i] ?? 0;
      const place = next[feature] ?? 0;
      segmentItems[place] = item;
      next[feature] = place + 1;
    }
  });
  return { itemStarts, itemFeatures, segments, segmentFeatures, segmentItems };
}

/** u32 words of {@linkcode SparseLists.segments} for so many entries. */
export const sparseSegmentWords = (capacity: number): number => capacity + 2;

const FORWARD_PARAMS = uniforms({ items: "u32", labels: "u32", stride: "u32" });

/** The place of a logit in panels. */
const PLACE = "return ((k / 32u) * p.stride + item) * 32u + k % 32u;";

function forwardProgram(): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", FORWARD_PARAMS);
  w.storage("table", "f32");
  w.storage("starts", "u32");
  w.storage("features", "u32");
  w.storage("logits", "f32", "read_write");
  w.fn("place(item: u32, k: u32) -> u32", PLACE);
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.line(`
      let i = id.x + id.y * count.x * GROUP;
      let item = i / p.labels;
      let k = i % p.labels;
    `);
    w.if("item >= p.items", () => w.line("return;"));
    w.line("let end = starts[item + 1u];", "var total = 0.0;");
    w.for("var e = starts[item]; e < end; e++", () => {
      w.line("total += table[features[e] * p.labels + k];");
    });
    w.line("logits[place(item, k)] += total;");
  });
  return w.program();
}

/** Operands of {@linkcode sparseForward}; the regions hold what {@linkcode sparseLists} gives. */
export interface SparseForward {
  /** f32 (F, K), row-major. */
  table: Region;
  itemStarts: Region;
  itemFeatures: Region;
  /** (items, K), added to. */
  logits: Matrix;
}

/** Queues logits += the sum of the rows of each item's features. */
export function sparseForward(plan: Plan, o: SparseForward): void {
  const { rows, cols, stride } = o.logits;
  plan.dispatch({
    label: "sparse features forward",
    code: forwardProgram(),
    params: FORWARD_PARAMS.pack({ items: rows, labels: cols, stride }),
    bindings: {
      table: o.table,
      starts: o.itemStarts,
      features: o.itemFeatures,
      logits: o.logits.region,
    },
    groups: spread(Math.ceil(rows * cols / VECTOR_GROUP)),
    bytes: o.itemFeatures.size * (1 + cols),
  });
}

const BACKWARD_PARAMS = uniforms({ labels: "u32", stride: "u32" });

function backwardProgram(): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", BACKWARD_PARAMS);
  w.comment("The number of lists, and then where each ends, from 0.");
  w.storage("segments", "u32");
  w.storage("features", "u32");
  w.storage("items", "u32");
  w.storage("dlogits", "f32");
  w.storage("dtable", "f32", "read_write");
  w.fn("place(item: u32, k: u32) -> u32", PLACE);
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.line(`
      let i = id.x + id.y * count.x * GROUP;
      let segment = i / p.labels;
      let k = i % p.labels;
    `);
    w.if("segment >= segments[0]", () => w.line("return;"));
    w.line("let end = segments[2u + segment];", "var total = 0.0;");
    w.for("var e = segments[1u + segment]; e < end; e++", () => {
      w.line("total += dlogits[place(items[e], k)];");
    });
    w.line("dtable[features[segment] * p.labels + k] += total;");
  });
  return w.program();
}

/** Operands of {@linkcode sparseBackward}; the regions hold what {@linkcode sparseLists} gives. */
export interface SparseBackward {
  /** (items, K) */
  dlogits: Matrix;
  segments: Region;
  segmentFeatures: Region;
  segmentItems: Region;
  /** f32 (F, K), row-major, added to. */
  dtable: Region;
  /** The most lists that there can be. */
  capacity: number;
}

/** Queues the table's gradient. */
export function sparseBackward(plan: Plan, o: SparseBackward): void {
  const { cols, stride } = o.dlogits;
  plan.dispatch({
    label: "sparse features backward",
    code: backwardProgram(),
    params: BACKWARD_PARAMS.pack({ labels: cols, stride }),
    bindings: {
      segments: o.segments,
      features: o.segmentFeatures,
      items: o.segmentItems,
      dlogits: o.dlogits.region,
      dtable: o.dtable,
    },
    groups: spread(Math.ceil(o.capacity * cols / VECTOR_GROUP)),
    bytes: o.capacity * 4 * (2 + cols),
  });
}
