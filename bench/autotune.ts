/**
 * `bench autotune`: every program that could compute a model's matrix products here, timed.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";
import { openDevice } from "../kernels/device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { tuneMatmul } from "../kernels/matmul/tune.ts";
import { presetConfig } from "../model/config.ts";
import { productShapes } from "../model/gpu/autotune.ts";
import { headChunk } from "../model/gpu/head.ts";

/** Times every choice for the preset of `--model` (small by default) at 512 tokens. */
export async function benchAutotune(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation, name = invocation.string("model") ?? "small", tokens = 512;
  const device = await openDevice({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
  });
  try {
    const config = presetConfig(name);
    const { chunkRows } = headChunk(device, tokens, config.paddedVocabSize);
    reporter.line(`${device.description}, variant ${device.variant}, ${name}, ${tokens} tokens`);
    const rows: string[][] = [], figures: Record<string, unknown>[] = [];
    for (const shape of productShapes(config, tokens, chunkRows)) {
      const { product, m, n, k } = shape, timed = await tuneMatmul(device, shape);
      timed.forEach(({ choice, ms }, i) => {
        const { order, tile, depth, half = false } = choice, gflops = 2 * m * n * k / ms / 1e6;
        figures.push({ product, m, n, k, order, tile, depth, half, ms, gflops });
        rows.push([
          i ? "" : `${product} ${m} x ${n} x ${k}`,
          `${device.variant === "gpu-tiled" ? `${tile}x${depth}, ` : ""}along ${order}`,
          ms.toFixed(2),
          gflops.toFixed(1),
          `${(timed[0]!.ms / ms * 100).toFixed(0)} %`,
        ]);
      });
    }
    reporter.line(formatTable(["product", "tiles", "ms", "GFLOP/s", "of the best"], rows));
    return { device: device.description, variant: device.variant, model: name, tokens, figures };
  } finally {
    device.destroy();
  }
}
