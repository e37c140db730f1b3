/** The options of every command that computes on the device. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import type { ProviderName } from "../kernels/providers.ts";
import type { AutotuneMode } from "../model/mamba/gpu/autotune.ts";
import type { DeviceModelOptions } from "../model/mamba/device_model.ts";
import type { MakeModel } from "../model/mamba/types.ts";

/** Spread into a command's options. */
export const deviceOptions = {
  autotune: {
    type: "string",
    help: "measure which of several equal programs is fastest here, once per adapter: nothing, " +
      "large products within two seconds, or every kernel; results do not depend on it",
    choices: ["off", "quick", "full"],
    default: "quick",
  },
  variant: {
    type: "string",
    help: "forces a kernel variant; by default the adapter decides",
    choices: ["cpu-subgroup", "cpu-plain", "gpu-tiled"],
  },
  provider: {
    type: "string",
    help:
      "where WebGPU comes from: Deno's own, or Dawn, an npm package that is fetched when asked " +
      "for and needs deno run --allow-all --no-lock main.ts",
    choices: ["deno", "dawn"],
    default: "deno",
  },
  "matrix-units": {
    type: "string",
    help: "in mixed precision, multiply on tensor cores where the provider offers them (Dawn, on " +
      "some GPUs), or never",
    choices: ["auto", "off"],
    default: "auto",
  },
  "memory-limit": {
    type: "number",
    placeholder: "GB",
    help: "device memory that may be used, in GB",
    min: 0.001,
  },
} satisfies Record<string, OptionSpec>;

/** Other ways of writing the kernels than the default, in commands that show or measure kernels. */
export const alternativeOption = {
  type: "list",
  placeholder: "NAME=VALUE",
  help: "write the kernels for GPUs in another way, such as norm-threads=32; may be repeated",
} satisfies OptionSpec;

/** Spread into the options of commands that train. */
export const trainingDeviceOptions = {
  ...deviceOptions,
  recompute: {
    type: "string",
    help: "keep every layer's activations for the backward, or compute them again: a third more " +
      "work for a fraction of the memory; by default where they would not fit",
    choices: ["auto", "on", "off"],
    default: "auto",
  },
} satisfies Record<string, OptionSpec>;

/** The device that the options and the environment ask for. */
export function deviceChoice(invocation: Invocation): DeviceModelOptions {
  const limit = invocation.number("memory-limit");
  const recompute = invocation.string("recompute");
  return {
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
    matrixUnits: invocation.string("matrix-units") as DeviceModelOptions["matrixUnits"],
    memoryLimit: limit === undefined ? undefined : limit * 1e9,
    autotune: invocation.string("autotune") as AutotuneMode | undefined,
    recompute: recompute === "on" ? true : recompute === "off" ? false : undefined,
  };
}

/** The maker of models that the options ask for; loads the kernels only now. */
export async function makeModelOf(invocation: Invocation): Promise<MakeModel> {
  const { deviceModel } = await import("../model/mamba/device_model.ts");
  return deviceModel(deviceChoice(invocation));
}
