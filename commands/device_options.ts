/** The options of every command that computes on the device. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import type { MakeModel } from "../model/train_run.ts";

/** Spread into a command's options. */
export const deviceOptions = {
  variant: {
    type: "string",
    help: "forces a kernel variant; by default the adapter decides",
    choices: ["cpu-subgroup", "cpu-plain", "gpu-tiled"],
  },
  "memory-limit": {
    type: "number",
    placeholder: "GB",
    help: "device memory that may be used, in GB",
    min: 0.001,
  },
} satisfies Record<string, OptionSpec>;

/** The maker of models that the options ask for; loads the kernels only now. */
export async function makeModelOf(invocation: Invocation): Promise<MakeModel> {
  const { deviceModel } = await import("../model/device_model.ts");
  const limit = invocation.number("memory-limit");
  return deviceModel({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    memoryLimit: limit === undefined ? undefined : limit * 1e9,
  });
}
