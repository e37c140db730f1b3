/**
 * `bench train`: whole training steps (forward, backward, AdamW) on random weights and tokens,
 * beside the matrix-product peak measured in the same run.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { fail } from "../core/errors.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { openDevice } from "../kernels/open_device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { configOfSizes, mamba2OfSizes, presetConfig } from "../model/mamba/config.ts";
import type { Precision } from "../model/mamba/gpu/buffers.ts";
import { measureMatmul } from "./matmul_peak.ts";
import { measureStep, type StepCase, type StepFigures } from "./training_step.ts";

const CASES: StepCase[] = [
  {
    name: "small",
    config: configOfSizes({ hiddenSize: 256, layers: 8, vocabSize: 4096 }),
    batch: 8,
    length: 256,
  },
  {
    name: "small2",
    config: mamba2OfSizes({ hiddenSize: 256, layers: 8, vocabSize: 4096 }),
    batch: 8,
    length: 256,
  },
  { name: "mamba-130m", config: presetConfig("mamba-130m"), batch: 1, length: 512 },
  { name: "mamba2-130m", config: presetConfig("mamba2-130m"), batch: 1, length: 512 },
];

/** Runs the benchmark; figures by case, the best step of each. */
export async function benchTrain(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const only = invocation.string("model");
  const device = await openDevice({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
  });
  const cases = CASES.filter((c) => !only || c.name === only);
  if (only && !cases.length) {
    cases.push({ name: only, config: presetConfig(only), batch: 8, length: 1024 });
  }
  try {
    const precision = invocation.string("precision") as Precision | undefined;
    const products = await measureMatmul(device);
    const peak = Math.max(...products.map((p) => p.gflops));
    reporter.line(
      `${device.description}, variant ${device.variant}, precision ${precision ?? "f32"}`,
    );
    reporter.line(
      "Matrix products: " +
        products.map((p) => `${p.product} ${p.gflops.toFixed(1)} GFLOP/s`).join(", "),
    );
    const figures: (StepFigures & { fraction_of_peak: number })[] = [];
    const steps = invocation.number("steps") ?? fail("there is no number of steps");
    for (const c of cases) {
      const show = invocation.boolean("profile")
        ? (shares: { label: string; calls: number; ms: number; flop: number }[]) =>
          reporter.line(formatTable(
            [`${c.name}, kernel`, "calls", "ms", "GFLOP/s"],
            shares.filter((r) => r.ms >= 0.5).map((r) => [
              r.label,
              String(r.calls),
              r.ms.toFixed(1),
              r.flop ? (r.flop / r.ms / 1e6).toFixed(1) : "",
            ]),
          ))
        : undefined;
      const figure = await measureStep(device, c, steps, reporter, { precision }, show);
      figures.push({ ...figure, fraction_of_peak: figure.gflops / peak });
    }
    reporter.line(formatTable(
      ["model", "batch", "tokens/s", "step ms", "matmul GFLOP/s", "of peak", "device", "resident"],
      figures.map((f) => [
        f.model,
        `${f.batch} x ${f.length}`,
        f.tokens_per_second.toFixed(0),
        f.step_ms.toFixed(0),
        f.gflops.toFixed(1),
        `${(100 * f.fraction_of_peak).toFixed(0)} %`,
        formatBytes(f.device_bytes),
        formatBytes(f.resident_bytes),
      ]),
    ));
    return {
      device: device.description,
      variant: device.variant,
      precision: precision ?? "f32",
      products,
      cases: figures,
    };
  } finally {
    device.destroy();
  }
}
