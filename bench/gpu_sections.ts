/**
 * What `bench gpu` measures with one provider of WebGPU, section by section: the adapter, the kernels
 * against bandwidth and arithmetic, the model's matrix products, whole training steps, generation.
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { nth } from "../core/nth.ts";
import { formatBytes, formatTable, type Reporter } from "../core/reporter.ts";
import { type Device } from "../kernels/device.ts";
import { isCpuDriver, openDevice } from "../kernels/open_device.ts";
import { describeUnits, matrixConfigs } from "../kernels/matrix_units.ts";
import { openProvider, type ProviderName } from "../kernels/providers.ts";
import { ALTERNATIVE_NAMES, type AlternativeName } from "../kernels/alternatives.ts";
import { ALTERNATIVE_HEADINGS, alternativeRows, measureModelAlternatives } from "./alternatives.ts";
import { measureRoofs } from "../kernels/peaks.ts";
import type { KernelTime } from "../kernels/plan.ts";
import { selfTest } from "../kernels/self_test.ts";
import { kernelTotals, largestGaps, type StepGap } from "../kernels/step_times.ts";
import { type MambaConfig, presetConfig } from "../model/mamba/config.ts";
import type { Precision } from "../model/mamba/gpu/buffers.ts";
import { measureGeneration } from "./generate.ts";
import { type KernelFigure, kernelTable, measureKernels } from "./kernels.ts";
import { measurePeaks, PEAK_HEADINGS, peakRows } from "./product_peaks.ts";
import { measureScans, SCAN_HEADINGS, type ScanCase, scanRows } from "./scan_bandwidth.ts";
import { measureStep } from "./training_step.ts";

/** Toggles of Dawn that leave out what makes kernels safe to run unseen. */
const UNCHECKED = ["disable_robustness", "disable_workgroup_init"];

/** A training step to measure. */
interface StepPlan {
  name: string;
  config: MambaConfig;
  batch: number;
  length: number;
  precision: Precision;
  /** Without matrix units, to see what they bring. */
  plain?: boolean;
}

/** What is measured: the real sizes on a GPU, small ones on a CPU driver to prove the command. */
interface Scale {
  name: string;
  kernels: { config: MambaConfig; batch: number; length: number };
  kernelMs: number;
  /** Seconds for the products of one kind. */
  productSeconds: number;
  steps: StepPlan[];
  generation: { config: MambaConfig; rows: number[]; tokens: number };
  scans: ScanCase[];
  /** Alternatives of the kernels; a CPU driver takes long to compile the programs of some. */
  alternatives: readonly AlternativeName[];
  torch: { preset: string; batch: number; length: number };
}

/** The sizes for a device. */
function scaleOf(device: Device): Scale {
  const half = device.features.has("shader-f16");
  const units = device.matrixUnits !== undefined;
  const steps = (name: string, config: MambaConfig, batch: number, length: number): StepPlan[] => {
    const step = (precision: Precision, plain = false): StepPlan => ({
      name,
      config,
      batch,
      length,
      precision,
      ...(plain ? { plain } : {}),
    });
    return [step("f32"), ...half ? [step("mixed")] : [], ...units ? [step("mixed", true)] : []];
  };
  if (isCpuDriver(device.adapter)) {
    const tiny = presetConfig("tiny", { vocabSize: 2048, endOfText: 0 });
    return {
      name: "small sizes, because this adapter is a CPU driver",
      kernels: { config: tiny, batch: 2, length: 64 },
      kernelMs: 5,
      productSeconds: 1,
      steps: steps("tiny", tiny, 2, 64),
      generation: { config: tiny, rows: [1, 64], tokens: 8 },
      scans: [[2, 64]],
      alternatives: ["adamw-vectors", "embedding-loads", "matvec-rows"],
      torch: { preset: "tiny", batch: 2, length: 64 },
    };
  }
  const m130 = presetConfig("mamba-130m");
  const m370 = presetConfig("mamba-370m");
  const large = steps("mamba-370m", m370, 8, 1024);
  return {
    name: "full sizes",
    kernels: { config: m130, batch: 8, length: 1024 },
    kernelMs: 60,
    productSeconds: 20,
    steps: [
      ...steps("mamba-130m", m130, 8, 1024),
      ...steps("mamba-130m", m130, 32, 1024).filter((s) => !s.plain),
      large.find((s) => s.precision === "mixed") ?? nth(large, 0),
    ],
    generation: { config: m130, rows: [1, 64], tokens: 64 },
    scans: [[8, 1024], [32, 1024], [1, 512]],
    alternatives: ALTERNATIVE_NAMES,
    torch: { preset: "mamba-130m", batch: 8, length: 1024 },
  };
}

/** What {@linkcode measureProvider} takes. */
interface ProviderBench {
  provider: ProviderName;
  variant: string | undefined;
  reporter: Reporter;
  /** Seconds after which no further section is begun. */
  seconds: number;
  /** Sections to leave out: those that another process has done, or has failed at. */
  skip: ReadonlySet<string>;
  /** Only sections whose names hold one of these words; all where there are none. */
  only: readonly string[];
  /** Sees the name of a section when it begins, and undefined with all figures so far when it ends. */
  onSection(running: string | undefined, figures: Record<string, unknown>): void;
}

/**
 * Runs every section; one that fails is reported and does not end the rest. It is longer than 100
 * lines because it is the list of all sections, in their order.
 */
export async function measureProvider(bench: ProviderBench): Promise<void> {
  const { provider, variant, reporter } = bench;
  const began = performance.now();
  const open = (matrixUnits: "auto" | "off" = "auto") =>
    openDevice({ variant, provider, matrixUnits });
  let device = await open();
  const scale = scaleOf(device);
  const figures: Record<string, unknown> = { torch: scale.torch };
  const elapsed = () => (performance.now() - began) / 1000;
  const section = async (name: string, run: () => Promise<unknown>) => {
    const key = name.replaceAll(" ", "_");
    if (bench.skip.has(key)) return;
    if (bench.only.length > 0 && !bench.only.some((word) => key.includes(word))) return;
    if (elapsed() > bench.seconds) {
      reporter.line(`\n${name}: left out, the time is up`);
      return;
    }
    reporter.line(`\n${name}`);
    const start = elapsed();
    bench.onSection(key, figures);
    try {
      figures[key] = await run();
    } catch (error) {
      reporter.line(`failed: ${messageOf(error)}`);
      figures[key] = { error: messageOf(error) };
      seePeak(device);
      device.destroy(); // a device that has failed keeps failing
      device = await open();
    }
    reporter.log(`${name}: ${(elapsed() - start).toFixed(1)} s`);
    seePeak(device);
    bench.onSection(undefined, figures);
  };
  let peak = 0;
  const seePeak = (of: Device) => figures.peak_device_bytes = peak = Math.max(peak, of.peakBytes);
  /** Runs something on a device of its own, as the one in use differs. */
  const apart = async <T>(other: Promise<Device>, run: (device: Device) => Promise<T>) => {
    const own = await other;
    try {
      return await run(own);
    } finally {
      seePeak(own);
      own.destroy();
    }
  };
  const { config, batch, length } = scale.kernels;
  const products = async (on: Device, precision: Precision) => {
    const found = await measurePeaks(on, config, batch * length, precision, scale.productSeconds);
    reporter.line(formatTable(PEAK_HEADINGS, peakRows(found)));
    return found;
  };
  try {
    reporter.line(
      `${device.description}, WebGPU of ${provider}, variant ${device.variant}, ${scale.name}`,
    );
    await section("adapter", () => Promise.resolve(describe(device, reporter)));
    await section("self test", async () => {
      const results = await selfTest(device);
      const right = results.filter((r) => r.ok).length;
      reporter.line(`${right} of ${results.length} kernels right`);
      for (const { kernel, ok, error } of results) if (!ok) reporter.line(`${kernel}: ${error}`);
      return results;
    });
    await section("products f32", () => products(device, "f32"));
    if (device.features.has("shader-f16")) {
      const { matrixUnits } = device;
      if (matrixUnits) await section("products matrix units", () => products(device, "mixed"));
      await section(
        "products f16",
        () =>
          matrixUnits
            ? apart(open("off"), (own) => products(own, "mixed"))
            : products(device, "mixed"),
      );
    }
    await section("scan", async () => {
      const found = await measureScans(device, config, scale.scans, scale.kernelMs);
      const copy = found.copy_gigabytes_per_second;
      reporter.line(`A copy within the device: ${copy.toFixed(1)} GB/s read and written`);
      reporter.line(formatTable(SCAN_HEADINGS, scanRows(found.scans)));
      return found;
    });
    for (const { precision, plain, ...c } of scale.steps) {
      const name = `step ${c.name} ${c.batch} x ${c.length} ${precision}`;
      await section(plain ? `${name} without matrix units` : name, async () => {
        let gaps: StepGap[] = [];
        const run = async (on: Device) => {
          const peaks = await measureRoofs(on, precision === "mixed");
          const see = (times: KernelTime[]) => gaps = largestGaps(kernelTotals(times, peaks));
          const timed = on.features.has("timestamp-query") ? see : undefined;
          const options = { precision, autotune: "quick" } as const;
          return await measureStep(on, c, 5, reporter, options, undefined, timed);
        };
        const f = plain ? await apart(open("off"), run) : await run(device);
        reporter.line(
          `${Math.round(f.tokens_per_second).toLocaleString("en")} tokens/s, ` +
            `${f.step_ms.toFixed(1)} ms per step, ${(f.gflops / 1000).toFixed(2)} TFLOP/s in ` +
            `matrix products, ${formatBytes(f.device_bytes)} on the device`,
        );
        for (const { label, ms, lost, cause } of gaps) {
          reporter.line(
            `  ${label}: ${ms.toFixed(2)} ms, ${
              lost.toFixed(2)
            } ms more than its roofline (${cause}?)`,
          );
        }
        return { ...f, largest_gaps: gaps };
      });
    }
    await section("kernels", async () => {
      const found: KernelFigure[] = [];
      await measureKernels(device, scale.kernels, (f) => found.push(f), scale.kernelMs);
      reporter.line(kernelTable(found));
      return found;
    });
    if (device.variant === "gpu-tiled") {
      await section("alternatives", async () => {
        const { kernels, alternatives, kernelMs } = scale;
        const found = await measureModelAlternatives(device, kernels, alternatives, kernelMs);
        reporter.line(formatTable(ALTERNATIVE_HEADINGS, alternativeRows(found)));
        return found;
      });
    }
    for (const rows of scale.generation.rows) {
      await section(`generation at batch ${rows}`, async () => {
        const { config, tokens } = scale.generation;
        const weights = device.features.has("shader-f16") ? "f16" : "f32";
        const found = await measureGeneration(device, config, weights, rows, tokens);
        const rate = Math.round(found.tokens_per_second).toLocaleString("en");
        reporter.line(`${rate} tokens/s, greedy, weights read in ${weights}`);
        return found;
      });
    }
    if (provider === "dawn" && device.matrixUnits && !isCpuDriver(device.adapter)) {
      await section("products matrix units without bounds checks", async () => {
        const unchecked = openProvider("dawn", UNCHECKED);
        return await apart(
          unchecked.then((provider) => openDevice({ variant, provider })),
          (own) => products(own, "mixed"),
        );
      });
    }
    reporter.line(
      `\nPeak device memory ${formatBytes(peak)}, ${elapsed().toFixed(0)} s`,
    );
  } finally {
    device.destroy();
  }
}

function describe(device: Device, reporter: Reporter): Record<string, unknown> {
  const { limits } = device.gpu;
  const names = [
    "maxBufferSize",
    "maxStorageBufferBindingSize",
    "maxStorageBuffersPerShaderStage",
    "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup",
  ] as const;
  const features = [...device.features].sort();
  const configs = matrixConfigs(device.adapter);
  const units = device.matrixUnits && describeUnits(device.matrixUnits);
  reporter.line(`features ${features.join(", ")}; subgroups of ${device.subgroupSize}`);
  reporter.line(names.map((n) => `${n} ${limits[n]}`).join(", "));
  reporter.line(
    units ? `matrix units ${units}` : `no matrix units of use (${configs.length} offered)`,
  );
  return {
    description: device.description,
    variant: device.variant,
    provider: device.provider,
    features,
    subgroup_size: device.subgroupSize,
    matrix_units: units ?? null,
    matrix_configs: configs,
    limits: Object.fromEntries(names.map((n) => [n, limits[n]])),
  };
}
