/** The WebGPU model as the trainer and the evaluator ask for it. @module */
import { openDevice } from "../kernels/device.ts";
import { createMamba } from "./mamba.ts";
import type { MakeModel } from "./train_run.ts";

/** What {@linkcode deviceModel} takes. */
export interface DeviceModelOptions {
  /** Forces a kernel variant; by default the adapter decides. */
  variant?: string;
  /** Bytes of device memory that may be allocated. */
  memoryLimit?: number;
}

/**
 * A maker of models on the default device.
 * @throws {DeviceError} from the maker, where there is no device or it is too small.
 */
export function deviceModel(options: DeviceModelOptions = {}): MakeModel {
  return async (config, shape) => {
    const device = await openDevice(options);
    try {
      const model = await createMamba(device, config, shape);
      let lost = false;
      device.gpu.lost.then(({ reason }) => lost = reason !== "destroyed");
      return {
        model,
        device: `${device.description} (${device.variant})`,
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
