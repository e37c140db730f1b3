/** A recurrent model for programs, with a device of its own. @module */
import { openDevice } from "../../kernels/open_device.ts";
import type { MambaConfig } from "./config.ts";
import { createRecurrentMamba, type RecurrentOptions } from "./recurrent.ts";
import type { ReadParameter, RecurrentModel } from "./types.ts";

/**
 * A model in its recurrent form, which generates token by token in constant memory, on a device that
 * is opened for it and closed when the model is destroyed.
 * @param read returns the values of one parameter, such as those of a model folder.
 * @throws {DeviceError} where there is no device, it is too small, or it lacks f16 that is asked for.
 */
export async function recurrentModel(
  config: MambaConfig,
  read: ReadParameter,
  options: RecurrentOptions = {},
): Promise<RecurrentModel> {
  const device = await openDevice();
  try {
    const model: RecurrentModel = await createRecurrentMamba(device, config, read, options);
    const destroy = model.destroy.bind(model);
    model.destroy = () => {
      destroy();
      device.destroy();
    };
    return model;
  } catch (error) {
    device.destroy();
    throw error;
  }
}
