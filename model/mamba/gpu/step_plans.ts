/** The plans of a model's steps, built once over its buffers and replayed. @module */
import { nth } from "../../../core/nth.ts";
import {
  adamW,
  ADAMW_HYPER_BYTES,
  type AdamWArena,
  exchange,
} from "../../../kernels/adamw/adamw.ts";
import {
  applyLossScale,
  encodeLossScale,
  FIRST_LOSS_SCALE,
  LOSS_SCALE_BYTES,
  updateLossScale,
} from "../../../kernels/adamw/loss_scale.ts";
import { castToHalf } from "../../../kernels/cast/cast.ts";
import type { Device } from "../../../kernels/device.ts";
import { dropout } from "../../../kernels/dropout/dropout.ts";
import { embeddingBackward, embeddingForward } from "../../../kernels/embedding/embedding.ts";
import { type Matrix, type Region, subregion } from "../../../kernels/layout.ts";
import { Plan } from "../../../kernels/plan.ts";
import {
  squarePartials,
  sum,
  sumOfSquares,
  sumOfSquaresScratch,
} from "../../../kernels/reduce/reduce.ts";
import { rmsNormBackward, rmsNormForward } from "../../../kernels/rmsnorm/rmsnorm.ts";
import type { MambaConfig } from "../config.ts";
import { EMBEDDING } from "../parameters.ts";
import {
  gradientRegions,
  type MambaOptions,
  type ModelBuffers,
  RESULT_BYTES,
  shapeOf,
  trainingOf,
} from "./buffers.ts";
import { headPlan } from "./head.ts";
import { labelHeadPlan } from "./label_head.ts";
import { adaptEmbedding, adaptEmbeddingBackward, headAdapter } from "./low_rank.ts";
import { layerBackward, layerForward, layerOutput } from "./layer.ts";
import type { RankSlices, SlicedSlot } from "./rank_slices.ts";
import { type ParameterStore, slotOf } from "./store.ts";

const NORM = "backbone.norm_f.weight";
const MAP_READ = 1;
const COPY_DST = 8; // of GPUBufferUsage

/** What every plan of a model is built over. */
interface StepSetting {
  device: Device;
  config: MambaConfig;
  /** With `recompute` as the memory plan decided it. */
  options: MambaOptions;
  buffers: ModelBuffers;
}

/** Rounds the matrices to f16, where the model keeps such copies. */
export function roundPlan({ device, buffers: { store } }: StepSetting): Plan | undefined {
  if (!store.keeps("half")) return undefined;
  const plan = new Plan(device);
  for (const { from, to } of store.halves) castToHalf(plan, from, to);
  return plan;
}

/** From tokens to the normed hidden rows. */
export function forwardPlan({ device, config, options, buffers }: StepSetting): Plan {
  const plan = new Plan(device);
  const shape = shapeOf(options);
  const { store, layers, last, hidden, inverseRms, inputs } = buffers;
  // The first layer has nothing to add: the embedding is its stream.
  const x = nth(layers, 0).stream;
  embeddingForward(plan, { table: store.table(EMBEDDING), tokens: inputs.tokens, x });
  adaptEmbedding(plan, store, inputs.tokens, x);
  if (buffers.training?.dropout) dropout(plan, x, buffers.training.dropout);
  layers.forEach((a, i) => {
    layerForward(plan, store, shape, i, a, inputs.starts);
    layerOutput(plan, store, i, a, layers[i + 1]?.stream ?? last);
  });
  rmsNormForward(plan, {
    residual: last,
    weight: store.region(NORM),
    y: hidden,
    inverseRms,
    epsilon: config.normEpsilon,
  });
  const dropped = buffers.training?.stateDropout;
  if (dropped) dropout(plan, hidden, dropped);
  return plan;
}

/** From the hidden rows to each row's loss (of a head of labels each item's), without gradients. */
export function evaluationPlan({ device, buffers }: StepSetting): Plan {
  const plan = new Plan(device);
  const { store, hidden, inputs, nll, head, labels } = buffers;
  if (labels) labelHeadPlan(plan, labels, { store, hidden });
  if (!head) return plan;
  const embedding = store.operand(EMBEDDING);
  const adapter = headAdapter(plan, store);
  headPlan(plan, head, { hidden, embedding, adapter, targets: inputs.targets, nll });
  return plan;
}

/** From the hidden rows to the summed loss and to gradients, which are added to. */
export function backwardPlan({ device, config, options, buffers }: StepSetting): Plan {
  const { store, inputs, layers, last, inverseRms } = buffers;
  const { scratch, dstream, lossScale } = trainingOf(buffers);
  const plan = new Plan(device);
  const shape = shapeOf(options);
  if (lossScale) {
    const { state, scaled } = lossScale;
    device.write(state, encodeLossScale(FIRST_LOSS_SCALE));
    applyLossScale(plan, { scale: inputs.scale, state, out: scaled });
  }
  const dhidden = scratch.dy; // free until the last layer's backward
  lossPlan(plan, { device, config, options, buffers }, dhidden);
  const dropped = buffers.training?.stateDropout;
  if (dropped) dropout(plan, dhidden, dropped);
  rmsNormBackward(plan, {
    dy: dhidden,
    sum: last,
    weight: store.region(NORM),
    inverseRms,
    dstream,
    accumulate: false,
    dweight: store.region(NORM, "gradient"),
    scratch: scratch.mixer.partials,
  });
  for (let i = config.layers - 1; i >= 0; i--) {
    const a = nth(layers, i);
    // The last layer's activations are still there from the forward.
    if (options.recompute && i < config.layers - 1) {
      layerForward(plan, store, shape, i, a, inputs.starts);
    }
    layerBackward(plan, store, shape, i, a, scratch, dstream, inputs.starts);
  }
  if (buffers.training?.dropout) dropout(plan, dstream, buffers.training.dropout);
  const { tokens, segments } = inputs;
  adaptEmbeddingBackward(plan, store, { tokens, segments, dx: dstream });
  if (store.trains(EMBEDDING)) {
    const dtable = store.matrix(EMBEDDING, "gradient");
    embeddingBackward(plan, { dtable, segments, dx: dstream });
  }
  return plan;
}

/** Appends the head, whichever it is: the summed loss, and the gradient of the hidden rows. */
function lossPlan(plan: Plan, { options, buffers }: StepSetting, dhidden: Matrix): void {
  const { store, hidden, inputs, nll, head, labels, training } = buffers;
  const shape = shapeOf(options);
  const scale = training?.lossScale?.scaled ?? inputs.scale;
  const out = lossRegion(buffers);
  if (labels) {
    labelHeadPlan(plan, labels, { store, hidden, gradients: { scale, dhidden } });
    const { losses: values, items: length } = labels;
    sum(plan, { values, length, out, accumulate: true, scale: inputs.scale });
  }
  if (!head) return;
  headPlan(plan, head, {
    hidden,
    embedding: store.operand(EMBEDDING),
    adapter: headAdapter(plan, store),
    targets: inputs.targets,
    nll,
    gradients: {
      scale,
      dhidden,
      dembedding: store.trains(EMBEDDING) ? store.matrix(EMBEDDING, "gradient") : undefined,
      objective: options.objective,
      plain: training?.plain,
    },
  });
  const length = shape.batch * shape.length;
  sum(plan, { values: nll, length, out, accumulate: true, scale: inputs.scale });
  if (!training?.plain) return;
  const plain = plainRegion(buffers);
  sum(plan, { values: training.plain, length, out: plain, accumulate: true, scale: inputs.scale });
}

/** Sets gradients and the step's result to zero. */
export function clearPlan({ device, buffers }: StepSetting): Plan {
  const plan = new Plan(device);
  for (const { regions } of buffers.store.arenas) {
    if (regions.gradient) plan.clear(regions.gradient);
  }
  plan.clear(buffers.result);
  return plan;
}

/** The optimizer's step, the values it is given and the report it leaves to the host. */
export interface UpdatePlan {
  /** Of a rank: the partial sums of its parts' squares, which ranks exchange before the rest. */
  partials?: Plan;
  plan: Plan;
  /** AdamW's values of this step. */
  hyper: Region;
  /** All of `result`; then, in mixed precision, the loss scale's state. */
  staging: Region;
}

/**
 * From gradients to new parameters and their f16 copies; of a rank to those that it owns, without copies,
 * as others' are rounded too once they are there.
 */
export function updatePlan({ device, options, buffers }: StepSetting): UpdatePlan {
  const { store } = buffers;
  const { squares, lossScale } = trainingOf(buffers);
  const loss = lossRegion(buffers);
  const norm = squaresRegion(buffers);
  const hyper = device.allocate("adamw values", ADAMW_HYPER_BYTES, 64 | 8);
  const plan = new Plan(device);
  const gradients = gradientRegions(store, options);
  const partials = store.sliced && ownSquares(device, store.sliced, squares);
  if (partials) {
    sum(plan, { values: squares, length: sumOfSquaresScratch({ device }, gradients), out: norm });
  } else sumOfSquares(plan, gradients, squares, norm);
  if (lossScale) updateLossScale(plan, { state: lossScale.state, squares: norm });
  for (const arena of store.sliced ? ownArenas(store) : wholeArenas(store, options)) {
    const decay = arena.decay || options.decayAll === true;
    adamW(plan, { ...arena, decay, lossScale: lossScale?.state }, hyper, norm, loss);
  }
  const bytes = RESULT_BYTES + (lossScale ? LOSS_SCALE_BYTES : 0);
  const staging = device.allocate("step report", bytes, MAP_READ | COPY_DST);
  plan.copy(buffers.result, staging, RESULT_BYTES);
  if (lossScale) {
    const place = subregion(staging, RESULT_BYTES, LOSS_SCALE_BYTES);
    plan.copy(lossScale.state, place, LOSS_SCALE_BYTES);
  }
  return { ...(partials ? { partials } : {}), plan, hyper, staging };
}

/** The partial sums of squares of what this rank owns. */
function ownSquares(device: Device, sliced: RankSlices, scratch: Region): Plan {
  const plan = new Plan(device);
  for (const { bucket: { stretch, inStretch }, offset, length } of sliced.ownParts()) {
    squarePartials(plan, stretch, scratch, { from: inStretch + offset, bytes: length });
  }
  return plan;
}

/** All that is updated, as AdamW takes it. */
function wholeArenas(store: ParameterStore, options: MambaOptions): AdamWArena[] {
  return store.updateRanges(options.rate ?? (() => 1)).map(({ decay, rate, regions }) => ({
    parameter: slotOf(regions, "value"),
    gradient: slotOf(regions, "gradient"),
    m: slotOf(regions, "m"),
    v: slotOf(regions, "v"),
    average: regions.average,
    decay,
    rate,
    half: regions.half,
  }));
}

/** What this rank owns of it. */
function ownArenas(store: ParameterStore): AdamWArena[] {
  const { sliced } = store;
  if (!sliced) return [];
  return sliced.ownParts().map(({ bucket, offset, length, kept }) => {
    const { range: { arena, rate, decay }, stretch, inStretch, inArena } = bucket;
    const keptOf = (slot: SlicedSlot) => sliced.region(slot, arena, kept, length);
    const values = slotOf(nth(store.arenas, arena).regions, "value");
    return {
      parameter: subregion(values, inArena + offset, length),
      gradient: subregion(stretch.region, inStretch + offset, length),
      m: keptOf("m"),
      v: keptOf("v"),
      average: sliced.keeps("average") ? keptOf("average") : undefined,
      decay,
      rate,
    };
  });
}

/** Exchanges values and averages, where the model keeps averages; of a rank those that it owns. */
export function exchangePlan({ device, buffers: { store } }: StepSetting): Plan | undefined {
  if (!store.keeps("average")) return undefined;
  const plan = new Plan(device);
  for (const { regions: { value, average } } of store.arenas) {
    if (value && average) exchange(plan, value, average);
  }
  for (const { parameter, average } of ownArenas(store)) {
    if (average) exchange(plan, parameter, average);
  }
  return plan;
}

const lossRegion = ({ result }: ModelBuffers): Region => ({
  buffer: result.buffer,
  offset: 0,
  size: 16,
});
const plainRegion = ({ result }: ModelBuffers): Region => ({
  buffer: result.buffer,
  offset: 512,
  size: 16,
});
const squaresRegion = ({ result }: ModelBuffers): Region => ({
  buffer: result.buffer,
  offset: 256,
  size: 16,
});
