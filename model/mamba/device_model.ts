/** The WebGPU model as the trainer and the evaluator ask for it. @module */
import { isCpuDriver, openDevice } from "../../kernels/open_device.ts";
import { measureRoofs } from "../../kernels/peaks.ts";
import type { ProviderName } from "../../kernels/providers.ts";
import { requireSelfTest } from "../../kernels/self_test.ts";
import { fail } from "../../core/errors.ts";
import { kindOf } from "./kinds.ts";
import { type MambaConfig, withoutLora } from "./config.ts";
import type { AutotuneMode } from "./gpu/autotune.ts";
import { type MemoryPlan, memoryPlan } from "./gpu/memory_plan.ts";
import { adapterNames, merged, weightName } from "./lora.ts";
import type { PlannedOptions } from "./gpu/buffers.ts";
import { availableBytes, createMamba, type Mamba } from "./mamba.ts";
import { parameterList } from "./parameters.ts";
import { createRecurrentMamba, type RecurrentMamba } from "./recurrent.ts";
import type { MakeModel } from "./types.ts";

/** What {@linkcode deviceModel} takes. */
export interface DeviceModelOptions {
  /** Forces a kernel variant; by default the adapter decides. */
  variant?: string;
  /** Bytes of device memory that may be allocated. */
  memoryLimit?: number;
  /** Where WebGPU comes from; Deno's own by default. */
  provider?: ProviderName;
  /** Tensor cores in mixed precision, where the provider offers them (auto, by default), or never. */
  matrixUnits?: "auto" | "off";
  /** Measure which of several equal programs is fastest; "off" by default. */
  autotune?: AutotuneMode;
  /** Compute activations again in the backward; by default where they would not fit. */
  recompute?: boolean;
}

/**
 * A maker of models on the default device.
 * @throws {DeviceError} from the maker, where there is no device or it is too small.
 */
export function deviceModel(options: DeviceModelOptions = {}): MakeModel {
  return async (config, shape) => {
    const device = await openDevice(options);
    try {
      await requireSelfTest(device, kindOf(config).recurrence);
      const { autotune, recompute } = options;
      const model = await createMamba(device, config, { autotune, recompute, ...shape });
      let lost = false;
      device.gpu.lost.then(({ reason }) => lost = reason !== "destroyed");
      return {
        model,
        device: device.arithmetic(shape.precision),
        cpu: isCpuDriver(device.adapter),
        recurrent: () => recurrentForm(model),
        branching: (rows) => recurrentForm(model, rows),
        timeline: () => model.timeline(),
        peaks: () => measureRoofs(device, shape.precision === "mixed"),
        memory: () => device.allocatedBytes,
        lost: () => lost,
        close() {
          model.destroy();
          device.destroy();
        },
      };
    } catch (error) {
      device.destroy();
      throw error;
    }
  };
}

/** The recurrent form of a model on its weights as they are, its adapters merged. */
async function recurrentForm(model: Mamba, rows = 1): Promise<RecurrentMamba> {
  const { device, config } = model;
  return config.lora
    ? await createRecurrentMamba(device, withoutLora(config), await mergedValues(model), { rows })
    : await createRecurrentMamba(device, config, model.store, { rows });
}

/** The weights of a model as they are, with its adapters in them. */
async function mergedValues(model: Mamba): Promise<(name: string) => Float32Array> {
  const values = await model.readParameters();
  const read = (name: string) => values.get(name) ?? fail(`no parameter is named ${name}`);
  const { lora } = model.config;
  const shapes = new Map(parameterList(model.config).map(({ name, shape }) => [name, shape]));
  for (const module of lora?.modules ?? []) {
    const name = weightName(module);
    const { a, b } = adapterNames(module);
    const shape = shapes.get(name) ?? [];
    if (lora) values.set(name, merged(lora, module, shape, read(name), read(a), read(b)));
  }
  return read;
}

/** What a model would take on the default device. */
interface PlannedMemory {
  device: string;
  /** Bytes that may be allocated; Infinity where the device does not say. */
  available: number;
  /** The largest buffer that the device allows. */
  maxBufferSize: number;
  /** With every activation kept, and with those of a layer computed again in the backward. */
  keep: MemoryPlan;
  recompute: MemoryPlan;
}

/**
 * Counts a model's memory on the default device; nothing is allocated.
 * @throws {DeviceError} where there is no device.
 */
export async function planMemory(
  options: DeviceModelOptions,
  config: MambaConfig,
  shape: PlannedOptions,
): Promise<PlannedMemory> {
  const device = await openDevice(options);
  try {
    if (shape.precision === "mixed") device.requireHalf();
    return {
      device: device.arithmetic(shape.precision),
      available: availableBytes(device),
      maxBufferSize: device.gpu.limits.maxBufferSize,
      keep: memoryPlan(device, config, { ...shape, recompute: false }),
      recompute: memoryPlan(device, config, { ...shape, recompute: true }),
    };
  } finally {
    device.destroy();
  }
}
