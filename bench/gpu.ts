/**
 * `bench gpu`: all that a first look at a GPU should tell, in one command of under eight minutes
 * without arguments or network: the adapter, bandwidth and matrix-product peaks, every kernel, whole
 * training steps, generation, and PyTorch on the same device where it is installed.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { messageOf } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { type Device, isCpuDriver, openDevice } from "../kernels/device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { selfTest } from "../kernels/self_test.ts";
import { type MambaConfig, presetConfig } from "../model/config.ts";
import type { Precision } from "../model/gpu/buffers.ts";
import { initialParameters } from "../model/initialize.ts";
import { createRecurrentMamba } from "../model/recurrent.ts";
import { type KernelFigure, kernelTable, measureKernels } from "./kernels.ts";
import { measureStep, type StepFigures } from "./training_step.ts";
import { measureTorch } from "./torch_peer.ts";

/** Seconds after which no further section is begun. */
const BUDGET_SECONDS = 400;

/** What is measured: the real sizes on a GPU, small ones on a CPU driver to prove the command. */
interface Scale {
  name: string;
  kernels: { config: MambaConfig; batch: number; length: number };
  kernelMs: number;
  steps: {
    name: string;
    config: MambaConfig;
    batch: number;
    length: number;
    precision: Precision;
  }[];
  generation: { config: MambaConfig; rows: number[]; tokens: number };
  torch: { preset: string; batch: number; length: number };
}

function scaleOf(device: Device): Scale {
  const m130 = presetConfig("mamba-130m"), m370 = presetConfig("mamba-370m");
  const tiny = presetConfig("tiny", { vocabSize: 2048, endOfText: 0 });
  const half = device.features.has("shader-f16");
  const precisions: Precision[] = half ? ["f32", "mixed"] : ["f32"];
  if (isCpuDriver(device.adapter)) {
    return {
      name: "small sizes, because this adapter is a CPU driver",
      kernels: { config: tiny, batch: 2, length: 64 },
      kernelMs: 5,
      steps: precisions.map((precision) => ({
        name: "tiny",
        config: tiny,
        batch: 2,
        length: 64,
        precision,
      })),
      generation: { config: tiny, rows: [1, 8], tokens: 8 },
      torch: { preset: "tiny", batch: 2, length: 64 },
    };
  }
  const at = (batch: number) =>
    precisions.map((precision) => ({
      name: "mamba-130m",
      config: m130,
      batch,
      length: 1024,
      precision,
    }));
  const large = { name: "mamba-370m", config: m370, batch: 8, length: 1024 };
  return {
    name: "full sizes",
    kernels: { config: m130, batch: 8, length: 1024 },
    kernelMs: 60,
    steps: [...at(8), ...at(32), { ...large, precision: half ? "mixed" : "f32" }],
    generation: { config: m130, rows: [1, 64], tokens: 64 },
    torch: { preset: "mamba-130m", batch: 8, length: 1024 },
  };
}

/** Runs every section; one that fails is reported and does not end the rest. */
export async function benchGpu(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation, began = performance.now();
  const open = () =>
    openDevice({
      variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
      provider: invocation.string("provider") as ProviderName | undefined,
    });
  let device = await open();
  const scale = scaleOf(device), out: Record<string, unknown> = {};
  const elapsed = () => (performance.now() - began) / 1000;
  const section = async (name: string, run: () => Promise<unknown>) => {
    if (elapsed() > BUDGET_SECONDS) {
      reporter.line(`\n${name}: left out, the time is up`);
      return;
    }
    reporter.line(`\n${name}`);
    try {
      out[name.replaceAll(" ", "_")] = await run();
    } catch (error) {
      reporter.line(`failed: ${messageOf(error)}`);
      out[name.replaceAll(" ", "_")] = { error: messageOf(error) };
      device.destroy(); // a device that has failed keeps failing
      device = await open();
    }
  };
  try {
    reporter.line(`${device.description}, variant ${device.variant}, ${scale.name}`);
    await section("adapter", () => Promise.resolve(describe(device, invocation)));
    await section("self test", async () => {
      const results = await selfTest(device), right = results.filter((r) => r.ok).length;
      reporter.line(`${right} of ${results.length} kernels right`);
      return results;
    });
    await section("kernels", async () => {
      const figures: KernelFigure[] = [];
      await measureKernels(device, scale.kernels, (f) => figures.push(f), scale.kernelMs);
      reporter.line(kernelTable(figures));
      return figures;
    });
    const steps: StepFigures[] = [];
    for (const { precision, ...c } of scale.steps) {
      await section(`step ${c.name} ${c.batch} x ${c.length} ${precision}`, async () => {
        const f = await measureStep(device, c, 5, reporter, { precision, autotune: "quick" });
        steps.push(f);
        reporter.line(
          `${Math.round(f.tokens_per_second).toLocaleString("en")} tokens/s, ` +
            `${f.step_ms.toFixed(1)} ms a step, ${(f.gflops / 1000).toFixed(2)} TFLOP/s in ` +
            `matrix products, ${formatBytes(f.device_bytes)} on the device`,
        );
        return f;
      });
    }
    for (const rows of scale.generation.rows) {
      await section(`generation at batch ${rows}`, async () => {
        const rate = await measureGeneration(device, scale, rows);
        reporter.line(`${rate.toFixed(1)} tokens/s`);
        return { tokens_per_second: rate };
      });
    }
    await section("PyTorch", async () => {
      const { preset, batch, length } = scale.torch;
      const peer = await measureTorch(presetConfig(preset), batch, length);
      if (!peer) {
        reporter.line("left out: python3 with torch and transformers is not here");
        return {};
      }
      const ours = steps.filter((s) => s.model === preset && s.batch === batch);
      const best = Math.max(...ours.map((s) => s.tokens_per_second));
      reporter.line(formatTable(
        ["transformers", "tokens/s", "this program is"],
        peer.map((p) => [
          p.mode,
          p.tokens_per_second.toFixed(0),
          `${(best / p.tokens_per_second).toFixed(2)}x`,
        ]),
      ));
      return peer;
    });
    out.peak_device_bytes = device.peakBytes;
    out.seconds = elapsed();
    reporter.line(
      `\nPeak device memory ${formatBytes(device.peakBytes)}, ${elapsed().toFixed(0)} s`,
    );
    const file = invocation.string("output");
    if (file) writeAtomic(file, JSON.stringify(out, null, 1) + "\n");
    return out;
  } finally {
    device.destroy();
  }
}

function describe(device: Device, { reporter }: Invocation): Record<string, unknown> {
  const { limits } = device.gpu,
    names = [
      "maxBufferSize",
      "maxStorageBufferBindingSize",
      "maxStorageBuffersPerShaderStage",
      "maxComputeWorkgroupStorageSize",
      "maxComputeInvocationsPerWorkgroup",
    ] as const;
  const features = [...device.features].sort();
  reporter.line(`features ${features.join(", ")}; subgroups of ${device.subgroupSize}`);
  reporter.line(names.map((n) => `${n} ${limits[n]}`).join(", "));
  return {
    description: device.description,
    variant: device.variant,
    provider: device.provider,
    features,
    subgroup_size: device.subgroupSize,
    limits: Object.fromEntries(names.map((n) => [n, limits[n]])),
  };
}

/** Tokens a second over all rows, logits read back each time. */
async function measureGeneration(device: Device, scale: Scale, rows: number): Promise<number> {
  const { config, tokens } = scale.generation;
  const model = await createRecurrentMamba(device, config, initialParameters(config, 1), {
    rows,
  });
  try {
    const ids = Array.from({ length: rows }, (_, i) => i % config.vocabSize);
    for (let i = 0; i < 3; i++) await model.stepRows(ids);
    const start = performance.now();
    for (let i = 0; i < tokens; i++) await model.stepRows(ids);
    return rows * tokens / (performance.now() - start) * 1000;
  } finally {
    model.destroy();
  }
}
