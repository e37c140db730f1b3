/**
 * A head of labels on the device: features of items from the hidden rows, their logits, the loss, and
 * the way back. It stands in the place of the language model's head.
 * @module
 */
import { crf, crfFloats, crfScratch, crfWidth } from "../../../kernels/crf/crf.ts";
import type { Device } from "../../../kernels/device.ts";
import { labelLoss } from "../../../kernels/label_loss/label_loss.ts";
import {
  fromPanels,
  type Matrix,
  matrixFloats,
  padded,
  PANEL,
  type Region,
  subregion,
} from "../../../kernels/layout.ts";
import { matmul } from "../../../kernels/matmul/mod.ts";
import type { Plan } from "../../../kernels/plan.ts";
import {
  featureColumns,
  readoutBackward,
  readoutForward,
  readoutLists,
} from "../../../kernels/readout/readout.ts";
import {
  sparseBackward,
  sparseForward,
  sparseLists,
  sparseSegmentWords,
} from "../../../kernels/sparse/sparse.ts";
import type { MambaConfig } from "../config.ts";
import { CRF_NAMES, HEAD_BIAS, HEAD_SPARSE, HEAD_WEIGHT, type HeadConfig } from "../head.ts";
import type { ItemBatch } from "../types.ts";
import type { Workspace } from "./activations.ts";
import type { Slot } from "./mixer.ts";
import type { ParameterStore } from "./store.ts";

/** Places that items may read of each row of tokens on average, in all their slots. */
const PLACES_PER_ROW = 4;

/** Sparse features of a batch's items on average, of each item that there may be, at the most. */
const SPARSE_PER_ITEM = 40;

/** Of sparse features: the lists of `kernels/sparse`, which have room for `capacity` features. */
interface SparseInputs {
  capacity: number;
  itemStarts: Region;
  itemFeatures: Region;
  segments: Region;
  segmentFeatures: Region;
  segmentItems: Region;
}

/** Buffers of a head of labels, for N items. */
export interface LabelHead {
  config: HeadConfig;
  /** N: the most items of a batch. */
  items: number;
  /** Rows of hidden states. */
  rows: number;
  /** The most places that items read. */
  places: number;
  slotStarts: Region;
  slotRows: Region;
  slotWeights: Region;
  rowStarts: Region;
  rowSlots: Region;
  rowWeights: Region;
  /** (N, featureColumns) */
  features: Matrix;
  /** (N, K) */
  logits: Matrix;
  targets: Region;
  /** (N) what a loss is multiplied with. */
  weights: Region;
  /** (N) */
  losses: Region;
  /** Of a conditional random field: where sequences begin, (N + 1). */
  field?: { sequences: Region; scratch: Region };
  sparse?: SparseInputs;
  training?: {
    /** (N, featureColumns) */
    dfeatures: Matrix;
    /** Of a conditional random field: each sequence's share of its gradient. */
    partials?: Region;
  };
}

/**
 * Allocates what a head of labels needs beside its parameters.
 * @param rows of hidden states
 * @param items the most of a batch; by default as many as its texts have tokens
 */
export function allocateLabelHead(
  w: Workspace,
  { head, hiddenSize }: MambaConfig,
  { rows, items, training }: { rows: number; items?: number; training: boolean },
): LabelHead | undefined {
  if (!head) return undefined;
  const { labels, slots } = head;
  const count = items ?? (head.context === "both" ? Math.ceil(rows / 2) : rows);
  const columns = featureColumns(slots, hiddenSize);
  const places = PLACES_PER_ROW * rows + slots * count;
  const each = head.loss === "sigmoid" ? labels : 1;
  const words = (what: string, size: number) => w.words(`items: ${what}`, Math.ceil(size / 4) * 4);
  return {
    config: head,
    items: count,
    rows,
    places,
    slotStarts: words("where slots begin", count * slots + 1),
    slotRows: words("rows of slots", places),
    slotWeights: words("weights of rows", places),
    rowStarts: words("where rows begin", rows + 1),
    rowSlots: words("slots of rows", places),
    rowWeights: words("weights of slots", places),
    features: w.matrix("items: features", count, columns),
    logits: w.matrix("items: logits", count, labels),
    targets: words("targets", count * each),
    weights: words("weights", count),
    losses: words("losses", count),
    field: head.crf
      ? {
        sequences: words("sequences", count + 1),
        scratch: words("scratch of the field", crfScratch(count, labels)),
      }
      : undefined,
    sparse: head.sparse ? allocateSparse(words, count) : undefined,
    training: training
      ? {
        dfeatures: w.matrix("items: gradient of the features", count, columns),
        partials: head.crf ? words("gradients of the field", count * crfWidth(labels)) : undefined,
      }
      : undefined,
  };
}

function allocateSparse(
  words: (what: string, size: number) => Region,
  items: number,
): SparseInputs {
  const capacity = SPARSE_PER_ITEM * items;
  return {
    capacity,
    itemStarts: words("where sparse features begin", items + 1),
    itemFeatures: words("sparse features", capacity),
    segments: words("where items of sparse features end", sparseSegmentWords(capacity)),
    segmentFeatures: words("sparse features that occur", capacity),
    segmentItems: words("items of sparse features", capacity),
  };
}

/** Uploads the items' sparse features. */
function uploadSparse(device: Device, head: LabelHead, batch: ItemBatch): void {
  const { config, items, sparse } = head;
  if (!sparse) return;
  const lists = sparseLists(batch.sparse ?? [], {
    items,
    features: config.sparse ?? 0,
    capacity: sparse.capacity,
  });
  device.write(sparse.itemStarts, lists.itemStarts);
  device.write(sparse.itemFeatures, lists.itemFeatures);
  device.write(sparse.segments, lists.segments);
  device.write(sparse.segmentFeatures, lists.segmentFeatures);
  device.write(sparse.segmentItems, lists.segmentItems);
}

/**
 * Uploads a batch's items.
 * @throws {RangeError} where there are more than there is room for, or they read outside the batch.
 */
export function uploadItems(device: Device, head: LabelHead, batch: ItemBatch): void {
  const { items, rows, places, config } = head;
  const { count } = batch;
  if (count > items) throw new RangeError(`${count} items came, with room for ${items}`);
  const size = { items, slots: config.slots, rows, capacity: places };
  const lists = readoutLists(batch.entries, size);
  device.write(head.slotStarts, lists.slotStarts);
  device.write(head.slotRows, lists.slotRows);
  device.write(head.slotWeights, lists.slotWeights);
  device.write(head.rowStarts, lists.rowStarts);
  device.write(head.rowSlots, lists.rowSlots);
  device.write(head.rowWeights, lists.rowWeights);
  // Items that are not there have no bias either: all of their features and logits are 0.
  const { stride, cols } = head.features;
  const ones = new Float32Array(stride * PANEL);
  for (let item = 0; item < count; item++) ones[item * PANEL] = 1;
  const bytes = 4 * ones.length;
  device.write(subregion(head.features.region, (cols - PANEL) / PANEL * bytes, bytes), ones);
  const each = config.loss === "sigmoid" ? config.labels : 1;
  const target = config.loss === "softmax" ? new Int32Array(items) : new Float32Array(items * each);
  target.set(Array.from({ length: count * each }, (_, i) => batch.targets[i] ?? 0));
  device.write(head.targets, target);
  const weights = new Float32Array(items);
  for (let item = 0; item < count; item++) weights[item] = batch.weights[item] ?? 0;
  device.write(head.weights, weights);
  uploadSparse(device, head, batch);
  if (!head.field) return;
  const starts = new Uint32Array(items + 1).fill(count);
  starts.set(Array.from(batch.sequences));
  device.write(head.field.sequences, starts);
}

/** Weight and bias as one matrix over the features. */
function weightOf(store: ParameterStore, slot: Slot, { labels, slots }: HeadConfig): Matrix {
  const columns = featureColumns(slots, store.config.hiddenSize);
  const floats = matrixFloats(labels, columns);
  // The bias's panel lies right behind the weight's.
  if (store.region(HEAD_WEIGHT, slot).size + store.region(HEAD_BIAS, slot).size !== 4 * floats) {
    throw new RangeError("The head's weight and bias do not fill a matrix");
  }
  const region = store.region(HEAD_WEIGHT, slot, floats);
  return { region, rows: labels, cols: columns, stride: padded(labels) };
}

/** What the head reads, and with gradients writes. */
interface LabelHeadCall {
  store: ParameterStore;
  /** (rows, d) */
  hidden: Matrix;
  gradients?: {
    /** One float: gradients are of scale x the summed loss. */
    scale: Region;
    /** (rows, d) set. */
    dhidden: Matrix;
  };
}

/** Appends features, logits, each item's loss, and (where asked) the gradients. */
export function labelHeadPlan(plan: Plan, head: LabelHead, call: LabelHeadCall): void {
  const { store, hidden, gradients } = call;
  const { config, features, logits, losses, targets } = head;
  const { slots, labels } = config;
  const weight = weightOf(store, "value", config);
  readoutForward(plan, {
    hidden,
    features,
    slots,
    slotStarts: head.slotStarts,
    slotRows: head.slotRows,
    slotWeights: head.slotWeights,
  });
  matmul(plan, { product: "NT", a: features, b: weight, c: logits, label: "label head" });
  const { training, sparse } = head;
  if (sparse) {
    const { itemStarts, itemFeatures } = sparse;
    sparseForward(plan, { table: store.region(HEAD_SPARSE), itemStarts, itemFeatures, logits });
  }
  if (head.field) {
    const [first] = CRF_NAMES;
    const parameters = (slot: Slot) => store.region(first, slot, crfFloats(labels));
    plan.clear(losses); // of items beyond the batch's
    crf(plan, {
      logits,
      starts: head.field.sequences,
      sequences: head.items,
      targets,
      parameters: parameters("value"),
      loss: losses,
      scratch: head.field.scratch,
      gradients: gradients && training?.partials
        ? {
          scale: gradients.scale,
          dparameters: parameters("gradient"),
          partials: training.partials,
        }
        : undefined,
    });
  } else {
    labelLoss(plan, {
      kind: config.loss,
      logits,
      targets,
      weights: head.weights,
      loss: losses,
      scale: gradients?.scale,
    });
  }
  if (!gradients || !training) return;
  if (sparse) {
    const { segments, segmentFeatures, segmentItems, capacity } = sparse;
    sparseBackward(plan, {
      dlogits: logits,
      segments,
      segmentFeatures,
      segmentItems,
      dtable: store.region(HEAD_SPARSE, "gradient"),
      capacity,
    });
  }
  const { dfeatures } = training;
  matmul(plan, { product: "NN", a: logits, b: weight, c: dfeatures, label: "label head" });
  matmul(plan, {
    product: "TN",
    a: logits,
    b: features,
    c: weightOf(store, "gradient", config),
    accumulate: true,
    sameA: true,
    label: "label head",
  });
  readoutBackward(plan, {
    dfeatures,
    dhidden: gradients.dhidden,
    slots,
    rowStarts: head.rowStarts,
    rowSlots: head.rowSlots,
    rowWeights: head.rowWeights,
  });
}

/** The logits of the first `count` items, row-major, after a forward without gradients. */
export async function readLabelLogits(
  device: Device,
  { logits, config }: LabelHead,
  count: number,
): Promise<Float32Array> {
  const panels = await device.readFloats(logits.region);
  return fromPanels(panels, count, config.labels, logits.stride);
}
