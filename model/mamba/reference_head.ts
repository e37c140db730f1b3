/** A head of labels in float64, composed of the operations of `kernels/reference/`. @module */
import * as ops from "../../kernels/reference/mod.ts";
import { CRF_NAMES, HEAD_BIAS, HEAD_SPARSE, HEAD_WEIGHT, type HeadConfig } from "./head.ts";
import type { ItemBatch } from "./types.ts";

/** A parameter's values, by name. */
type Read = (name: string) => Float64Array;

/** What a head's forward leaves. */
export interface HeadActivations {
  /** (n, slots d) */
  features: Float64Array;
  /** (n, K) */
  logits: Float64Array;
}

/** Features and logits of items from the hidden rows (rows, d). */
export function headForward(
  { labels, slots, sparse }: HeadConfig,
  read: Read,
  hidden: Float64Array,
  d: number,
  items: ItemBatch,
): HeadActivations {
  const features = ops.readout(hidden, d, items.entries, items.count, slots);
  const logits = ops.linear(features, read(HEAD_WEIGHT), slots * d, labels);
  const bias = read(HEAD_BIAS);
  const added = sparse
    ? ops.sparseLogits(items.sparse ?? [], read(HEAD_SPARSE), labels)
    : new Float64Array();
  return { features, logits: logits.map((x, i) => x + (bias[i % labels] ?? 0) + (added[i] ?? 0)) };
}

/** The parameters of a conditional random field. */
const fieldOf = (read: Read): ops.CrfParameters => {
  const [begin, end, transition] = CRF_NAMES;
  return { begin: read(begin), end: read(end), transition: read(transition) };
};

/** Each item's loss; a sequence's is at its first item. */
export interface HeadLosses {
  losses: Float64Array;
  dlogits: Float64Array;
  /** By name, of a conditional random field. */
  dfield: Map<string, Float64Array>;
}

/** Losses of logits (n, K) and their gradients. */
export function headLosses(
  { loss, labels, crf }: HeadConfig,
  read: Read,
  logits: Float64Array,
  items: ItemBatch,
): HeadLosses {
  const { targets, weights, sequences } = items;
  const dfield = new Map<string, Float64Array>();
  if (!crf) {
    const { loss: losses, dlogits } = ops.labelLoss(loss, logits, labels, targets, weights);
    return { losses, dlogits, dfield };
  }
  const losses = new Float64Array(items.count);
  const dlogits = new Float64Array(logits.length);
  const field = fieldOf(read);
  for (const name of CRF_NAMES) dfield.set(name, new Float64Array(read(name).length));
  for (let s = 0; s + 1 < sequences.length; s++) {
    const first = sequences[s] ?? 0;
    const end = sequences[s + 1] ?? 0;
    if (first >= end) continue;
    const emissions = logits.slice(first * labels, end * labels);
    const wanted = Array.from({ length: end - first }, (_, i) => targets[first + i] ?? 0);
    const found = ops.crf(emissions, wanted, field);
    losses[first] = found.loss;
    dlogits.set(found.demissions, first * labels);
    const { begin, end: last, transition } = found.gradient;
    [begin, last, transition].forEach((gradient, i) => {
      const sum = dfield.get(CRF_NAMES[i] ?? "");
      gradient.forEach((x, k) => sum && (sum[k] = (sum[k] ?? 0) + x));
    });
  }
  return { losses, dlogits, dfield };
}

/** Adds scale x the gradients of a head to `collect`, and returns that of the hidden rows. */
export function headBackward(
  { labels, slots, sparse }: HeadConfig,
  read: Read,
  seen: HeadActivations,
  { dlogits, dfield }: HeadLosses,
  call: {
    items: ItemBatch;
    d: number;
    rows: number;
    scale: number;
    collect: (name: string, gradient: Float64Array) => void;
  },
): Float64Array {
  const { items, d, rows, scale, collect } = call;
  const scaled = dlogits.map((x) => x * scale);
  const width = slots * d;
  const linear = ops.linearBackward(scaled, seen.features, read(HEAD_WEIGHT), width, labels);
  collect(HEAD_WEIGHT, linear.dweight);
  const dbias = new Float64Array(labels);
  scaled.forEach((x, i) => dbias[i % labels] = (dbias[i % labels] ?? 0) + x);
  collect(HEAD_BIAS, dbias);
  if (sparse) {
    const size = { features: sparse, labels };
    collect(HEAD_SPARSE, ops.sparseLogitsBackward(items.sparse ?? [], scaled, size));
  }
  for (const [name, gradient] of dfield) collect(name, gradient.map((x) => x * scale));
  return ops.readoutBackward(linear.dx, d, items.entries, rows, slots);
}
