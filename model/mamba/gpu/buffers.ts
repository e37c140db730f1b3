/**
 * Everything that a model allocates on the device, in one place, so that it can be counted before
 * anything is allocated.
 * @module
 */
import { fail } from "../../../core/errors.ts";
import { nth } from "../../../core/nth.ts";
import type { Ranks } from "../../../core/mpi/ranks.ts";
import { allocateExchange, type ExchangeBuffers } from "./rank_exchange.ts";
import { cutBuckets, isSliced, type RankPlace, RankSlices } from "./rank_slices.ts";
import type { Allocator } from "../../../kernels/device.ts";
import { LOSS_SCALE_BYTES } from "../../../kernels/adamw/loss_scale.ts";
import { DROPOUT_BYTES } from "../../../kernels/dropout/dropout.ts";
import { segmentWords } from "../../../kernels/embedding/embedding.ts";
import { type Matrix, type Region } from "../../../kernels/layout.ts";
import type { Objective } from "../../../kernels/cross_entropy/cross_entropy.ts";
import { sumOfSquaresScratch } from "../../../kernels/reduce/reduce.ts";
import type { MambaConfig } from "../config.ts";
import type { Dropouts } from "../dropouts.ts";
import type { Parameter } from "../parameters.ts";
import { type AutotuneMode } from "./autotune.ts";
import { Workspace } from "./activations.ts";
import { allocateHead, type Head } from "./head.ts";
import { allocateLabelHead, type LabelHead } from "./label_head.ts";
import {
  type BatchShape,
  type LayerActivations,
  layerActivations,
  type LayerScratch,
  layerScratch,
} from "./layer_buffers.ts";
import { laneLossWords, laneSlots } from "./lanes.ts";
import { allocateLowRank } from "./low_rank_buffers.ts";
import type { Slot } from "./mixer.ts";
import { ParameterStore, slotOf } from "./store.ts";

/**
 * How a model computes. f32: all of it. mixed: f16 for the weights that products read (rounded from
 * f32 masters) and for the activations that products make or read, scaled gradients among them; f32
 * for sums, the residual stream, delta, B, C, states, the scan's output, norms, softmax, gradients of
 * weights and the optimizer.
 */
export type Precision = "f32" | "mixed";

/** What a model is made for. */
export interface MambaOptions extends Dropouts {
  /** Rows of a batch (b). */
  batchSize: number;
  /** Tokens of a row (l). */
  sequenceLength: number;
  /** Allocate gradients and moments too; without them only `evaluate` works. By default true. */
  training?: boolean;
  /**
   * Keep of each layer only its input and compute the rest again in the backward: about a third more
   * work for a fraction of the memory. By default only where the rest does not fit.
   */
  recompute?: boolean;
  /** Measure which of several equal programs is fastest; "off" by default. */
  autotune?: AutotuneMode;
  /** Terms of the training loss besides the likelihood. */
  objective?: Objective;
  /**
   * What a parameter's learning rate is multiplied with: below 1 for layer-wise decay, 0 to freeze it
   * (it then counts in no norm). 1 by default.
   */
  rate?: (parameter: Parameter) => number;
  /** Weight decay applies to every parameter, A_log, D, biases and norm weights included. */
  decayAll?: boolean;
  /** Keep a running mean of the parameters with this decay (such as 0.999). */
  averageDecay?: number;
  /** By default f32. */
  precision?: Precision;
  /** Lanes of a step that this process computes, a power of two; 1 by default. See lanes.ts. */
  lanes?: number;
  /** The processes that a step is shared with. */
  ranks?: Ranks;
  /** The most items of a batch that a head of labels reads; by default one per token of its texts. */
  items?: number;
}

/** What decides a model's memory: with ranks that need not be there. */
export type PlannedOptions = Omit<MambaOptions, "ranks"> & { ranks?: RankPlace };

/** Bytes of a step's results, each in a block that can be bound by itself. */
export const RESULT_BYTES = 768;

/** Device words of a batch's inputs. */
interface Inputs {
  tokens: Region;
  starts: Region;
  targets: Region;
  segments: Region;
  /** [scale] */
  scale: Region;
}

/** A model's buffers. */
export interface ModelBuffers {
  store: ParameterStore;
  workspace: Workspace;
  inputs: Inputs;
  /** (R) loss of each row. */
  nll: Region;
  /** [loss] at 0, [squared gradient norm] at 256 bytes, [loss without the objective's terms] at 512. */
  result: Region;
  /** [loss] of each sum of lanes that waits. */
  laneLosses?: Region;
  /** One per layer; without a backward, or with recomputation, they share all but the stream. */
  layers: LayerActivations[];
  last: Matrix;
  hidden: Matrix;
  inverseRms: Region;
  /** Of a language model. */
  head?: Head;
  /** Of a model with a head of labels, in the other's place. */
  labels?: LabelHead;
  training?: {
    scratch: LayerScratch;
    dstream: Matrix;
    squares: Region;
    /** Seed and rates, where embeddings are dropped. */
    dropout?: Region;
    /** Seed and rate, where hidden states are dropped. */
    stateDropout?: Region;
    /** In mixed precision: its state, and [scale x loss scale]. */
    lossScale?: { state: Region; scaled: Region };
    /** (R) negative log-likelihood of each row, where the loss has more terms. */
    plain?: Region;
    /** Where ranks share the steps: what they exchange parameters and gradients through. */
    exchange?: ExchangeBuffers;
  };
}

/** Allocates a model. */
export function allocateModel(
  device: Allocator,
  config: MambaConfig,
  options: PlannedOptions,
): ModelBuffers {
  const training = options.training ?? true;
  const shape = shapeOf(options);
  const w = new Workspace(device);
  const rows = shape.batch * shape.length;
  const d = config.hiddenSize;
  const mixed = options.precision === "mixed";
  const half = mixed ? "f16" : undefined;
  const slots: Slot[] = training ? ["value", "gradient", "m", "v"] : ["value"];
  if (training && options.averageDecay) slots.push("average");
  if (mixed) slots.push("half");
  const lanes = training ? options.lanes ?? 1 : 1;
  slots.push(...laneSlots(lanes));
  const place = training ? options.ranks : undefined;
  const store = new ParameterStore(
    device,
    config,
    place ? slots.filter((slot) => !isSliced(slot)) : slots,
  );
  if (place) {
    const ranges = store.slicedRanges(options.rate ?? (() => 1));
    const buckets = cutBuckets(device, ranges, place.size);
    store.sliced = new RankSlices(device, buckets, place, slots.filter(isSliced));
  }
  store.lowRank = allocateLowRank(w, config, rows, { training, half: mixed });
  const inputs = {
    tokens: w.words("tokens", rows),
    starts: w.words("starts", rows),
    targets: w.words("targets", rows),
    segments: w.words("token segments", segmentWords(rows)),
    scale: w.words("scale of the loss", 4),
  };
  const kept = training && !options.recompute ? config.layers : 1;
  const own = Array.from(
    { length: kept },
    (_, i) => layerActivations(device, w, config, shape, i, half),
  );
  const layers = Array.from({ length: config.layers }, (_, i): LayerActivations => {
    const a = nth(own, i % kept);
    if (!training || kept > 1 || i === 0) return a;
    return { ...a, stream: w.matrix(`layer ${i} residual stream`, rows, d) };
  });
  const buffers: ModelBuffers = {
    store,
    workspace: w,
    inputs,
    nll: w.words("losses", Math.ceil(rows / 4) * 4),
    result: w.words("step result", RESULT_BYTES / 4),
    laneLosses: lanes > 1 ? w.words("losses of lanes", laneLossWords(lanes)) : undefined,
    layers,
    last: w.matrix("final stream", rows, d),
    hidden: w.matrix("hidden", rows, d, half),
    inverseRms: w.words("final inverse rms", rows),
    head: config.head ? undefined : allocateHead(device, w, rows, config.paddedVocabSize, d, half),
    labels: allocateLabelHead(w, config, { rows, items: options.items, training }),
  };
  if (training) {
    const gradients = gradientRegions(store, options);
    const partials = sumOfSquaresScratch({ device }, gradients);
    buffers.training = {
      scratch: layerScratch(device, w, config, shape, half),
      dstream: w.matrix("gradient of the residual stream", rows, d),
      squares: w.words("square sums", partials),
      plain: options.objective && !config.head
        ? w.words("losses without the objective's terms", Math.ceil(rows / 4) * 4)
        : undefined,
      dropout: options.dropout || options.tokenDropout
        ? w.bytes("dropout", DROPOUT_BYTES)
        : undefined,
      stateDropout: options.stateDropout ? w.bytes("dropout of states", DROPOUT_BYTES) : undefined,
      lossScale: mixed
        ? {
          state: w.words("loss scale", LOSS_SCALE_BYTES / 4),
          scaled: w.words("scaled scale of the loss", 4),
        }
        : undefined,
      exchange: place && store.sliced && allocateExchange(device, store.sliced.buckets, {
        ranks: place.size,
        partials: 4 * partials,
      }),
    };
  }
  return buffers;
}

/** What training needs besides. @throws {Error} where the model was made for evaluation alone */
export const trainingOf = ({ training }: ModelBuffers) =>
  training ?? fail("this model was made for evaluation alone");

/** The gradients of what is trained. */
export const gradientRegions = (
  store: ParameterStore,
  options: Pick<MambaOptions, "rate">,
): Region[] =>
  store.updateRanges(options.rate ?? (() => 1)).map((r) => slotOf(r.regions, "gradient"));

/** The rows and columns of a batch. */
export const shapeOf = (
  options: Pick<MambaOptions, "batchSize" | "sequenceLength">,
): BatchShape => ({
  batch: options.batchSize,
  length: options.sequenceLength,
});
