/**
 * Everything that a model allocates on the device, in one place, so that it can be counted before
 * anything is allocated.
 * @module
 */
import type { Allocator, Device, Sizing } from "../../kernels/device.ts";
import { LOSS_SCALE_BYTES } from "../../kernels/adamw/loss_scale.ts";
import { segmentWords } from "../../kernels/embedding/embedding.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { type Matrix, matrixFloats, type Region } from "../../kernels/layout.ts";
import type { Objective } from "../../kernels/cross_entropy/cross_entropy.ts";
import { sumOfSquaresScratch } from "../../kernels/reduce/reduce.ts";
import { scanSizes } from "../../kernels/scan/mod.ts";
import type { MambaConfig } from "../config.ts";
import type { Parameter } from "../parameters.ts";
import { splitBytes } from "../../kernels/matmul/split.ts";
import { type AutotuneMode, productShapes } from "./autotune.ts";
import { Workspace } from "./activations.ts";
import { allocateHead, type Head, headChunk } from "./head.ts";
import {
  type BatchShape,
  type LayerActivations,
  layerActivations,
  type LayerScratch,
  layerScratch,
  scanShape,
} from "./layer_buffers.ts";
import { storedSizes } from "./placement.ts";
import { ParameterStore, type Slot } from "./store.ts";

/**
 * How a model computes. f32: all of it. mixed: f16 for the weights that products read (rounded from
 * f32 masters) and for the activations that products make or read, scaled gradients among them; f32
 * for sums, the residual stream, delta, B, C, states, the scan's output, norms, softmax, gradients of
 * weights and the optimizer.
 */
export type Precision = "f32" | "mixed";

/** What a model is made for. */
export interface MambaOptions {
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
  /** Keep a running mean of the parameters with this decay (such as 0.999). */
  averageDecay?: number;
  /** By default f32. */
  precision?: Precision;
}

/** Device words of a batch's inputs. */
export interface Inputs {
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
  /** [loss] at 0, [squared gradient norm] at 256 bytes. */
  result: Region;
  /** One a layer; without a backward, or with recomputation, they share all but the stream. */
  layers: LayerActivations[];
  last: Matrix;
  hidden: Matrix;
  inverseRms: Region;
  head: Head;
  training?: {
    scratch: LayerScratch;
    dstream: Matrix;
    squares: Region;
    /** In mixed precision: its state, and [scale x loss scale]. */
    lossScale?: { state: Region; scaled: Region };
  };
}

/** Allocates a model. */
export function allocateModel(
  device: Allocator,
  config: MambaConfig,
  options: MambaOptions,
): ModelBuffers {
  const training = options.training ?? true, shape = shapeOf(options), w = new Workspace(device);
  const rows = shape.batch * shape.length, d = config.hiddenSize;
  const mixed = options.precision === "mixed", half = mixed ? "f16" : undefined;
  const slots: Slot[] = training ? ["value", "gradient", "m", "v"] : ["value"];
  if (training && options.averageDecay) slots.push("average");
  if (mixed) slots.push("half");
  const store = new ParameterStore(device, config, slots);
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
    const a = own[i % kept]!;
    if (!training || kept > 1 || i === 0) return a;
    return { ...a, stream: w.matrix(`layer ${i} residual stream`, rows, d) };
  });
  const buffers: ModelBuffers = {
    store,
    workspace: w,
    inputs,
    nll: w.words("losses", Math.ceil(rows / 4) * 4),
    result: w.words("step result", 128),
    layers,
    last: w.matrix("final stream", rows, d),
    hidden: w.matrix("hidden", rows, d, half),
    inverseRms: w.words("final inverse rms", rows),
    head: allocateHead(device, w, rows, config.paddedVocabSize, d, half),
  };
  if (training) {
    const gradients = gradientRegions(store, options);
    buffers.training = {
      scratch: layerScratch(device, w, config, shape, half),
      dstream: w.matrix("gradient of the residual stream", rows, d),
      squares: w.words("square sums", sumOfSquaresScratch({ device }, gradients)),
      lossScale: mixed
        ? {
          state: w.words("loss scale", LOSS_SCALE_BYTES / 4),
          scaled: w.words("scaled scale of the loss", 4),
        }
        : undefined,
    };
  }
  return buffers;
}

/** The gradients of what is trained. */
export const gradientRegions = (store: ParameterStore, options: MambaOptions): Region[] =>
  store.updateRanges(options.rate ?? (() => 1)).map((r) => r.regions.gradient!);

/** The rows and columns of a batch. */
export const shapeOf = (options: MambaOptions): BatchShape => ({
  batch: options.batchSize,
  length: options.sequenceLength,
});

/** What a model takes on a device, before anything is allocated. */
export interface MemoryPlan {
  /** Bytes by what they are for. */
  parts: { name: string; bytes: number }[];
  total: number;
  /** The largest buffer, and what it is. */
  largest: { name: string; bytes: number };
  recompute: boolean;
}

/** Counts a model's memory on a device of this variant. */
export function memoryPlan(
  device: Sizing,
  config: MambaConfig,
  options: MambaOptions,
): MemoryPlan {
  const parts = new Map<string, number>(), largest = { name: "", bytes: 0 };
  const count = (label: string, bytes: number) => {
    const name = label.startsWith("parameters")
      ? label.replace(/^parameters (\w+) \d+$/, (_, slot) => SLOT_NAMES[slot] ?? slot)
      : label.startsWith("layer ")
      ? "activations kept for the backward"
      : label.startsWith("logits") || label.startsWith("head ")
      ? "logits"
      : "scratch and inputs";
    parts.set(name, (parts.get(name) ?? 0) + bytes);
    if (bytes > largest.bytes) Object.assign(largest, { name: label, bytes });
  };
  allocateModel(
    {
      variant: device.variant,
      bindingLimit: device.bindingLimit,
      allocate(label, bytes) {
        count(label, bytes);
        return { buffer: undefined as unknown as GPUBuffer, offset: 0, size: bytes };
      },
      free() {},
    },
    config,
    options,
  );
  if (device.variant === "cpu-subgroup") {
    count("operand textures", operandTextureBytes(device, config, options));
  } else if (device.variant === "gpu-tiled") {
    count("parts of products", productPartBytes(device, config, options));
  }
  const list = [...parts].map(([name, bytes]) => ({ name, bytes }));
  return {
    parts: list,
    total: list.reduce((sum, p) => sum + p.bytes, 0),
    largest,
    recompute: options.recompute ?? false,
  };
}

const SLOT_NAMES: Record<string, string> = {
  value: "parameters",
  gradient: "gradients",
  m: "first moments",
  v: "second moments",
  average: "averages",
  half: "parameters in f16",
};

/** Bytes of the largest region that the scan binds; products cut theirs, and the rest binds less. */
function scanBytes(device: Sizing, config: MambaConfig, options: MambaOptions): number {
  const rows = options.batchSize * options.sequenceLength, { e } = storedSizes(config);
  const { checkpoints, dcheckpoints, sums, parts } = scanSizes(
    device,
    scanShape(config, shapeOf(options)),
  );
  const forward = [matrixFloats(rows, e), checkpoints, sums];
  return 4 * Math.max(...forward, ...(options.training ?? true ? [parts, dcheckpoints] : []));
}

/** The scratch of products whose K is cut: a buffer of each size in use. */
function productPartBytes(device: Sizing, config: MambaConfig, options: MambaOptions): number {
  const rows = options.batchSize * options.sequenceLength;
  const { chunkRows } = headChunk(device, rows, config.paddedVocabSize);
  const shapes = productShapes(config, rows, chunkRows)
    .filter(({ product }) => (options.training ?? true) || product === "NT");
  const sizes = shapes.map(({ m, n, k }) => splitBytes(m, n, k, device.bindingLimit));
  return [...new Set(sizes)].reduce((sum, bytes) => sum + bytes, 0);
}

/** Two textures of every power-of-two height up to the largest operand's; an upper bound. */
function operandTextureBytes(
  device: Sizing,
  config: MambaConfig,
  options: MambaOptions,
): number {
  const rows = options.batchSize * options.sequenceLength, { e } = storedSizes(config);
  const { hiddenSize: d, paddedVocabSize: vocabulary } = config;
  const weights = [matrixFloats(vocabulary, d), matrixFloats(2 * e, d)],
    wide = matrixFloats(rows, 2 * e);
  const bytes = (element: number, operands: number[]) =>
    2 * 2 * element * 2 ** Math.ceil(Math.log2(Math.max(...operands)));
  if (options.precision !== "mixed") return bytes(4, [...weights, wide]);
  const { chunkRows } = headChunk(device, rows, vocabulary);
  return bytes(2, [...weights, wide]) +
    bytes(4, [matrixFloats(chunkRows, vocabulary), matrixFloats(rows, e)]);
}

/**
 * Chooses whether to recompute, and refuses a model that cannot fit.
 * @param available bytes that the device may use.
 * @throws {DeviceError} that says what is needed and what there is.
 */
export function chooseMemoryPlan(
  device: Device,
  config: MambaConfig,
  options: MambaOptions,
  available: number,
): MemoryPlan {
  const training = options.training ?? true;
  let plan = memoryPlan(device, config, options);
  if (plan.total > available && training && options.recompute === undefined) {
    plan = memoryPlan(device, config, { ...options, recompute: true });
  }
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`;
  if (plan.total > available) {
    const parts = plan.parts.filter((p) => p.bytes > plan.total / 50)
      .map((p) => `${p.name} ${gb(p.bytes)}`).join(", ");
    throw new DeviceError(
      `The model does not fit: it needs ${gb(plan.total)} (${parts}) and ${gb(available)} are ` +
        `available on ${device.description}; use a smaller batch, sequence length or model`,
    );
  }
  const bound = scanBytes(device, config, options);
  if (bound > device.bindingLimit) {
    throw new DeviceError(
      `The model does not fit: the scan of ${options.batchSize} x ${options.sequenceLength} tokens ` +
        `needs bindings of ${gb(bound)} and ${device.description} allows ` +
        `${gb(device.bindingLimit)}; use a smaller batch, sequence length or model`,
    );
  }
  const { maxBufferSize } = device.gpu.limits;
  if (plan.largest.bytes > maxBufferSize) {
    throw new DeviceError(
      `The model does not fit: its ${plan.largest.name} needs a buffer of ` +
        `${gb(plan.largest.bytes)} and ${device.description} allows ${gb(maxBufferSize)}; ` +
        `use a smaller batch, sequence length or model`,
    );
  }
  return plan;
}
