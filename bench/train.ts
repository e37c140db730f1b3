/**
 * `bench train`: whole training steps (forward, backward, AdamW) on random weights and tokens,
 * beside the matrix-product peak measured in the same run.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { type Device, openDevice } from "../kernels/device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { configOfSizes, type MambaConfig, presetConfig } from "../model/config.ts";
import { initialParameters } from "../model/initialize.ts";
import { createMamba, type Precision } from "../model/mamba.ts";
import { Random } from "../model/random.ts";
import type { Batch } from "../model/types.ts";
import { measureMatmul } from "./matmul_peak.ts";

interface Case {
  name: string;
  config: MambaConfig;
  batch: number;
  length: number;
}

const CASES: Case[] = [
  {
    name: "small",
    config: configOfSizes({ hiddenSize: 256, layers: 8, vocabSize: 4096 }),
    batch: 8,
    length: 256,
  },
  { name: "mamba-130m", config: presetConfig("mamba-130m"), batch: 1, length: 512 },
];

/** Random tokens in documents of 170. */
function randomBatch({ config, batch, length }: Case, random: Random): Batch {
  const rows = batch * length, id = () => random.integer(config.vocabSize);
  return {
    tokens: Uint32Array.from({ length: rows }, id),
    starts: Uint8Array.from({ length: rows }, (_, i) => Number(i % length % 170 === 0)),
    targets: Int32Array.from({ length: rows }, id),
  };
}

/** What one case reached. */
interface CaseFigures {
  model: string;
  batch: number;
  length: number;
  tokens_per_second: number;
  step_ms: number;
  gflops: number;
  fraction_of_peak: number;
  device_bytes: number;
  resident_bytes: number;
}

async function measureCase(
  device: Device,
  c: Case,
  steps: number,
  peak: number,
  invocation: Invocation,
): Promise<CaseFigures> {
  const { reporter } = invocation, shape = { batchSize: c.batch, sequenceLength: c.length };
  const precision = invocation.string("precision") as Precision | undefined;
  const model = await createMamba(device, c.config, { ...shape, precision });
  model.writeParameters(initialParameters(c.config, 1));
  const random = new Random(1, "bench"), rows = c.batch * c.length;
  let best = Infinity;
  for (let step = 0; step <= steps; step++) {
    const batch = randomBatch(c, random), start = performance.now();
    model.accumulate(batch, 1 / rows);
    model.update({
      step: step + 1,
      learningRate: 1e-4,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      maxGradNorm: 1,
    });
    const { loss } = await model.report(), ms = performance.now() - start;
    if (step > 0) best = Math.min(best, ms); // the first step compiles
    reporter.log(`${c.name} step ${step}: loss ${loss.toFixed(3)}, ${ms.toFixed(0)} ms`);
  }
  const resident = Deno.memoryUsage().rss;
  if (invocation.boolean("profile")) {
    const rows = (await model.profile()).filter((r) => r.ms >= 0.5).map((r) => [
      r.label,
      String(r.calls),
      r.ms.toFixed(1),
      r.flop ? (r.flop / r.ms / 1e6).toFixed(1) : "",
    ]);
    reporter.line(formatTable([`${c.name}, kernel`, "calls", "ms", "GFLOP/s"], rows) + "\n");
  }
  const gflops = model.matmulFlop / best / 1e6, bytes = device.allocatedBytes;
  model.destroy();
  return {
    model: c.name,
    batch: c.batch,
    length: c.length,
    tokens_per_second: rows / best * 1000,
    step_ms: best,
    gflops,
    fraction_of_peak: gflops / peak,
    device_bytes: bytes,
    resident_bytes: resident,
  };
}

/** Runs the benchmark; figures by case, the best step of each. */
export async function benchTrain(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation, only = invocation.string("model");
  const device = await openDevice({
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    provider: invocation.string("provider") as ProviderName | undefined,
  });
  const cases = CASES.filter((c) => !only || c.name === only);
  if (only && !cases.length) {
    const config = presetConfig(only), batch = 8, length = 1024;
    cases.push({ name: only, config, batch, length });
  }
  try {
    const products = await measureMatmul(device);
    const peak = Math.max(...products.map((p) => p.gflops));
    const precision = invocation.string("precision") ?? "f32";
    reporter.line(`${device.description}, variant ${device.variant}, precision ${precision}`);
    reporter.line(
      "Matrix products: " +
        products.map((p) => `${p.product} ${p.gflops.toFixed(1)} GFLOP/s`).join(", "),
    );
    const figures: CaseFigures[] = [];
    for (const c of cases) {
      figures.push(await measureCase(device, c, invocation.number("steps")!, peak, invocation));
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
      ...{ device: device.description, variant: device.variant, precision },
      ...{ products, cases: figures },
    };
  } finally {
    device.destroy();
  }
}
