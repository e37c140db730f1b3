/** What a model takes of a device, counted before anything is allocated. @module */
import { nth } from "../../../core/nth.ts";
import type { Device, Sizing } from "../../../kernels/device.ts";
import { DeviceError } from "../../../kernels/errors.ts";
import { matrixFloats } from "../../../kernels/layout.ts";
import { featureColumns } from "../../../kernels/readout/readout.ts";
import type { MambaConfig } from "../config.ts";
import { kindOf } from "../kinds.ts";
import { splitBytes } from "../../../kernels/matmul/split.ts";
import { productShapes } from "./autotune.ts";
import { headChunk } from "./head.ts";
import { EMBEDDING_MODULE, weightName } from "../lora.ts";
import { matrixForm, nameInLayer } from "./placement.ts";
import { allocateModel, type MambaOptions, type PlannedOptions, shapeOf } from "./buffers.ts";

/** What a model takes on a device, before anything is allocated. */
export interface MemoryPlan {
  /** Bytes by what they are for. */
  parts: { name: string; bytes: number }[];
  /** Tensor by tensor, those of all layers together; a parameter with its gradient and moments. */
  tensors: { name: string; count: number; bytes: number }[];
  /** Bytes in all. */
  total: number;
  /** The largest buffer, and what it is. */
  largest: { name: string; bytes: number };
  /** Whether activations are computed again in the backward. */
  recompute: boolean;
}

/** Counts a model's memory on a device of this variant. */
export function memoryPlan(
  device: Sizing,
  config: MambaConfig,
  options: PlannedOptions,
): MemoryPlan {
  const parts = new Map<string, number>();
  const largest = { name: "", bytes: 0 };
  const tensors = new Map<string, { count: number; bytes: number }>();
  const add = (name: string, count: number, bytes: number) => {
    const known = tensors.get(name) ?? { count: 0, bytes: 0 };
    tensors.set(name, { count: known.count + count, bytes: known.bytes + bytes });
  };
  let parameters = 0;
  const count = (label: string, bytes: number) => {
    if (label.startsWith("parameters")) parameters += bytes;
    else if (label.startsWith(SLICE)) add("rank's slice of moments and averages", 1, bytes);
    else add(label.replace(/^layer \d+ /, "layers: "), 1, bytes);
    const name = label.startsWith("parameters")
      ? label.replace(/^parameters (\w+) \d+$/, (_, slot) => slotName(slot))
      : label.startsWith(SLICE)
      ? label.slice(SLICE.length).replace(/^(\w+) \d+$/, (_, slot) => slotName(slot))
      : label.startsWith("exchange: ")
      ? "exchange between ranks"
      : label.startsWith("layer ")
      ? "activations kept for the backward"
      : label.startsWith("logits") || label.startsWith("head ")
      ? "logits"
      : "scratch and inputs";
    parts.set(name, (parts.get(name) ?? 0) + bytes);
    if (bytes > largest.bytes) Object.assign(largest, { name: label, bytes });
  };
  const { store } = allocateModel(
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
    const how = { training: options.training ?? true, half: options.precision === "mixed" };
    const own = kindOf(config).device.textureBytes(device, config, shapeOf(options), how);
    count("operand textures", operandTextureBytes(device, config, options) + own);
  } else if (device.variant === "gpu-tiled") {
    count("parts of products", productPartBytes(device, config, options));
  }
  for (const { parameter, arena, floats } of store.placements) {
    const bytes = Object.keys(nth(store.arenas, arena).regions)
      .reduce((sum, slot) => sum + (slot === "half" ? 2 : 4) * floats, 0);
    add(nameInLayer(parameter.name), 1, bytes);
    parameters -= bytes;
  }
  if (parameters) add("between parameters", 1, parameters);
  const list = [...parts].map(([name, bytes]) => ({ name, bytes }));
  return {
    parts: list,
    tensors: [...tensors].map(([name, all]) => ({ name, ...all })).sort((a, b) =>
      b.bytes - a.bytes
    ),
    total: list.reduce((sum, p) => sum + p.bytes, 0),
    largest,
    recompute: options.recompute ?? false,
  };
}

/** How the labels of what a rank keeps of sliced slots begin. */
const SLICE = "rank's slice of ";

const slotName = (slot: string) =>
  slot.startsWith("lane") ? "sums of lanes" : SLOT_NAMES[slot] ?? slot;

const SLOT_NAMES: Record<string, string> = {
  value: "parameters",
  gradient: "gradients",
  m: "first moments",
  v: "second moments",
  average: "averages",
  half: "parameters in f16",
};

/** Bytes of the largest region that a mixer binds; products cut theirs, and the rest binds less. */
function mixerBytes(device: Sizing, config: MambaConfig, options: PlannedOptions): number {
  const { device: mixer } = kindOf(config);
  return mixer.largestBinding(device, config, shapeOf(options), options.training ?? true);
}

/** The extents of adapters' products whose K may be long. */
function adapterShapes(
  config: MambaConfig,
  rows: number,
  headRows: number,
): { m: number; n: number; k: number }[] {
  const { lora } = config;
  if (!lora) return [];
  return lora.modules.flatMap((module) => {
    const k = module === EMBEDDING_MODULE ? Math.min(rows, headRows) : rows;
    const { rows: out = 0, cols: input = 0 } = matrixForm(config, weightName(module)) ?? {};
    const n = lora.rank;
    const gradients = [{ m: out, n, k }, { m: n, n: input, k }, { m: input, n, k }];
    return [...gradients, { m: k, n, k: out }, { m: k, n, k: input }];
  });
}

/** The scratch of products whose K is cut: a buffer of each size in use. */
function productPartBytes(device: Sizing, config: MambaConfig, options: PlannedOptions): number {
  const rows = options.batchSize * options.sequenceLength;
  const { chunkRows } = headChunk(device, rows, config.paddedVocabSize);
  const shapes = productShapes(config, rows, chunkRows, options.precision)
    .filter(({ product }) => (options.training ?? true) || product === "NT");
  const sizes = [...shapes, ...adapterShapes(config, rows, chunkRows)]
    .map(({ m, n, k }) => splitBytes(m, n, k, device.bindingLimit));
  return [...new Set(sizes)].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Textures of every power-of-two height up to the largest operand's, for first operands and for second
 * ones, by type; an upper bound. First ones are activations, gradients and logits, second ones are
 * weights and activations.
 */
function operandTextureBytes(
  device: Sizing,
  config: MambaConfig,
  options: PlannedOptions,
): number {
  const rows = options.batchSize * options.sequenceLength;
  const mixer = kindOf(config).device;
  const output = mixer.output(config);
  const { hiddenSize: d, paddedVocabSize: vocabulary } = config;
  const widest = mixer.widest(config);
  const weight = matrixFloats(widest, d);
  const wide = matrixFloats(rows, widest);
  const { chunkRows } = headChunk(device, rows, vocabulary);
  // A head of labels stands in the place of the embedding's products.
  const ofHead = config.head
    ? { first: matrixFloats(rows, featureColumns(config.head.slots, d)), second: 0 }
    : { first: matrixFloats(chunkRows, vocabulary), second: matrixFloats(vocabulary, d) };
  const bytes = (element: number, ...operands: number[]) =>
    2 * element * 2 ** Math.ceil(Math.log2(Math.max(...operands)));
  if (options.precision !== "mixed") {
    return bytes(4, wide, ofHead.first) +
      bytes(4, weight, wide, ofHead.second, config.head ? ofHead.first : 0);
  }
  const out = matrixFloats(rows, output.width);
  const half = bytes(2, wide) + bytes(2, weight, wide, ofHead.second);
  return half + bytes(4, ofHead.first, out) + bytes(4, out, config.head ? ofHead.first : 0);
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
  const bound = mixerBytes(device, config, options);
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
