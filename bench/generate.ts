/**
 * `bench generate`: tokens per second of a model with random weights, one prompt and many, products
 * reading weights in f32 and f16, beside the copy bandwidth of the same run: a token costs at least
 * one reading of the weights.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";
import { type Device } from "../kernels/device.ts";
import { openDevice } from "../kernels/open_device.ts";
import { measureBandwidth } from "../kernels/peaks.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { type MambaConfig, presetConfig } from "../model/mamba/config.ts";
import { generateBatch } from "../model/mamba/generate.ts";
import { parameterList } from "../model/mamba/parameters.ts";
import { createRecurrentMamba } from "../model/mamba/recurrent.ts";
import { quickParameters } from "./quick_parameters.ts";

/** One measured case. */
interface GenerateFigures {
  /** Prompts at once. */
  rows: number;
  /** How products read the weights. */
  weights: "f32" | "f16";
  /** Of all rows together. */
  tokens_per_second: number;
  /** Bytes of weights read per second. */
  weight_bytes_per_second: number;
}

/** Runs the benchmark; the best of three rounds of each case. */
export async function benchGenerate(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const model = invocation.string("model") ?? "mamba-130m";
  const config = presetConfig(model);
  const device = await openDevice({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
  });
  try {
    const copy = await measureBandwidth(device);
    const figures: GenerateFigures[] = [];
    for (
      const weights of device.features.has("shader-f16")
        ? ["f32", "f16"] as const
        : ["f32"] as const
    ) {
      for (const rows of [1, 16]) {
        figures.push(await measureGeneration(device, config, weights, rows));
      }
    }
    reporter.line(`${device.description}, variant ${device.variant}, ${model}`);
    reporter.line(`Copies within the device: ${(copy / 1e9).toFixed(1)} GB/s read and written`);
    reporter.line(formatTable(
      ["prompts", "weights", "tokens/s", "weights read", "of copy bandwidth"],
      figures.map((f) => [
        String(f.rows),
        f.weights,
        f.tokens_per_second.toFixed(1),
        `${(f.weight_bytes_per_second / 1e9).toFixed(1)} GB/s`,
        `${(100 * f.weight_bytes_per_second / copy).toFixed(0)} %`,
      ]),
    ));
    return {
      device: device.description,
      variant: device.variant,
      model,
      copy_bytes_per_second: copy,
      cases: figures,
    };
  } finally {
    device.destroy();
  }
}

/** Greedy generation from random weights; the best of three rounds of `tokens` tokens. */
export async function measureGeneration(
  device: Device,
  config: MambaConfig,
  weights: "f32" | "f16",
  rows: number,
  tokens = 32,
): Promise<GenerateFigures> {
  const model = await createRecurrentMamba(device, config, quickParameters(config), {
    rows,
    half: weights === "f16",
  });
  const prompts = Array.from({ length: rows }, (_, i) => [config.endOfText, i + 1]);
  const run = (maxNewTokens: number) =>
    generateBatch(model, prompts, { maxNewTokens, ignoreEnd: true });
  await run(8); // compiles, and finds how many steps go together
  let best = 0;
  for (let round = 0; round < 3; round++) {
    const start = performance.now();
    await run(tokens);
    best = Math.max(best, rows * tokens / ((performance.now() - start) / 1000));
  }
  model.destroy();
  const matrices = parameterList(config).filter((p) => p.decayed && p.shape.length === 2);
  const bytes = matrices.reduce((sum, { size }) => sum + size, 0) * (weights === "f16" ? 2 : 4);
  return {
    rows,
    weights,
    tokens_per_second: best,
    weight_bytes_per_second: bytes * best / rows,
  };
}
