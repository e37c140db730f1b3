/**
 * `bench autotune`: every program that could compute a model's matrix products here, timed.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { nth } from "../core/nth.ts";
import { formatTable } from "../core/reporter.ts";
import { type Variant } from "../kernels/device.ts";
import { isCpuDriver, openDevice } from "../kernels/open_device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import type { MatmulChoice } from "../kernels/matmul/choice.ts";
import { tuneMatmul } from "../kernels/matmul/tune.ts";
import { presetConfig } from "../model/mamba/config.ts";
import { productShapes } from "../model/mamba/gpu/autotune.ts";
import { headChunk } from "../model/mamba/gpu/head.ts";

/** Seconds for a shape, after which no further choice is begun. */
const GPU_SECONDS = 10;
const CPU_SECONDS = 3;

/**
 * Times the choices for the preset of `--model` (small by default) in `--precision`, at 512 tokens on
 * a CPU driver and 8 x 1,024 on a GPU; the likeliest first, as many as there is time for.
 */
export async function benchAutotune(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const name = invocation.string("model") ?? "small";
  const precision = invocation.string("precision") === "mixed" ? "mixed" : "f32";
  const device = await openDevice({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
  });
  try {
    if (precision === "mixed") device.requireHalf();
    const config = presetConfig(name);
    const slow = isCpuDriver(device.adapter);
    const tokens = slow ? 512 : 8192;
    const seconds = slow ? CPU_SECONDS : GPU_SECONDS;
    const { chunkRows } = headChunk(device, tokens, config.paddedVocabSize);
    const about = { variant: device.variant, model: name, precision, tokens };
    reporter.line(
      `${device.description}, variant ${device.variant}, ${name}, ${precision}, ${tokens} tokens`,
    );
    const rows: string[][] = [];
    const figures: Record<string, unknown>[] = [];
    for (const shape of productShapes(config, tokens, chunkRows, precision)) {
      const { product, m, n, k } = shape;
      const until = performance.now() + 1000 * seconds;
      const timed = await tuneMatmul(device, shape, 3, until);
      timed.forEach(({ choice, ms, isDefault }, i) => {
        const gflops = 2 * m * n * k / ms / 1e6;
        figures.push({ product, m, n, k, ...choice, isDefault, ms, gflops });
        rows.push([
          i ? "" : `${product} ${m} x ${n} x ${k}`,
          describe(device.variant, choice) + (isDefault ? " (default)" : ""),
          ms.toFixed(2),
          gflops.toFixed(1),
          `${(nth(timed, 0).ms / ms * 100).toFixed(0)} %`,
        ]);
      });
    }
    reporter.line(formatTable(["product", "tiles", "ms", "GFLOP/s", "of the best"], rows));
    return { device: device.description, ...about, figures };
  } finally {
    device.destroy();
  }
}

function describe(
  variant: Variant,
  { order, tile, depth, half, stages }: MatmulChoice,
): string {
  if (variant !== "gpu-tiled") return `along ${order}`;
  const more = [half ? "f16 slabs" : "", stages ? `${stages} stages` : ""].filter(Boolean);
  return [`${tile}x${depth}`, `along ${order}`, ...more].join(", ");
}
