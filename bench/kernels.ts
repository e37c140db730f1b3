/**
 * `bench kernels`: how fast every kernel is, forward and backward, and what share that is of the
 * matrix product's arithmetic or of a plain copy's bandwidth measured in the same run.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import { parseAlternatives } from "../kernels/alternatives.ts";
import { type Device, type Variant, VARIANTS } from "../kernels/device.ts";
import { openDevice } from "../kernels/open_device.ts";
import { DeviceError } from "../kernels/errors.ts";
import { copyBytes, measureBandwidth } from "../kernels/peaks.ts";
import { Plan } from "../kernels/plan.ts";
import { timePlan } from "../kernels/plan_timing.ts";
import { Workbench } from "../kernels/workbench.ts";
import { configOfSizes, mamba2OfSizes, presetConfig } from "../model/mamba/config.ts";
import { type KernelShapes, kernelSubjects } from "../model/mamba/gpu/kernel_subjects.ts";

/** One measured kernel. */
export interface KernelFigure {
  variant: Variant;
  kernel: string;
  pass: string;
  milliseconds: number;
  /** Kernels that it is made of. */
  dispatches: number;
  /** Arithmetic, where it counts any. */
  gflops?: number;
  /** Bytes that must move, per second, where it counts them. */
  gigabytes?: number;
  /**
   * Of its roofline: the time that the best matrix product's GFLOP/s or the copy's GB/s of this
   * variant would take, whichever is longer, over the time that it took.
   */
  share: number;
}

/** Milliseconds that one figure is measured for, three times over. */
const MEASURE_MS = 120;

/** Measures every kernel on a device; `onFigure` sees each. A figure takes about 4 x `budgetMs`. */
export async function measureKernels(
  device: Device,
  options: KernelShapes,
  onFigure: (figure: KernelFigure) => void,
  budgetMs = MEASURE_MS,
): Promise<void> {
  const bench = new Workbench(device);
  const { variant } = device;
  const build = async (record: (plan: Plan) => void) => {
    const plan = new Plan(device);
    await device.guard("plan the benchmark", () => record(plan));
    return plan;
  };
  try {
    const copy = await measureBandwidth(device) / 1e9;
    const copyMs = 2 * copyBytes(device) / copy / 1e6;
    onFigure({
      variant,
      kernel: "copy",
      pass: "",
      milliseconds: copyMs,
      dispatches: 0,
      gigabytes: copy,
      share: 1,
    });
    const measured: Omit<KernelFigure, "share">[] = [];
    for (const { kernel, pass, plan: record } of kernelSubjects(bench, options)) {
      const plan = await build(record);
      const milliseconds = await timePlan(plan, budgetMs);
      const rate = (amount: number) => amount ? amount / milliseconds / 1e6 : undefined;
      measured.push({
        variant,
        kernel,
        pass,
        milliseconds,
        dispatches: plan.dispatches,
        gflops: rate(plan.flop()),
        gigabytes: rate(plan.bytes()),
      });
      plan.destroy();
    }
    const peak = Math.max(
      ...measured.map((m) => m.kernel.startsWith("matmul") ? m.gflops ?? 0 : 0),
    );
    for (const m of measured) {
      onFigure({ ...m, share: Math.max((m.gflops ?? 0) / peak, (m.gigabytes ?? 0) / copy) });
    }
  } finally {
    bench.clear();
  }
}

const SMALL = { hiddenSize: 256, layers: 8, vocabSize: 4096 };

/** What the benchmark runs at: a Mamba-1's shapes, a Mamba-2's of that size, and a batch of them. */
const CASES: Record<string, KernelShapes> = {
  "small": {
    config: configOfSizes(SMALL),
    mamba2: mamba2OfSizes(SMALL),
    batch: 8,
    length: 256,
  },
  "mamba-130m": {
    config: presetConfig("mamba-130m"),
    mamba2: mamba2OfSizes({ hiddenSize: 768, layers: 24, vocabSize: 50277 }),
    batch: 1,
    length: 512,
  },
};

/**
 * Measures every kernel at the shapes of `--model` (mamba-130m by default), in `--variant` or else in
 * every variant that the device can run.
 */
export async function benchKernels(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const model = invocation.string("model") ?? "mamba-130m";
  const shapes = Object.hasOwn(CASES, model) ? CASES[model] : undefined;
  if (!shapes) {
    throw new UsageError(
      `There are no kernel shapes "${model}": choose ${Object.keys(CASES).join(" or ")}`,
    );
  }
  const forced = invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT");
  const { batch, length } = shapes;
  const alternatives = parseAlternatives(invocation.list("alternative"));
  const figures: KernelFigure[] = [];
  let adapter = "";
  for (const variant of forced ? [forced] : VARIANTS) {
    let device: Device;
    try {
      device = await openDevice({ variant, alternatives });
    } catch (error) {
      if (forced || !(error instanceof DeviceError)) throw error;
      reporter.log(`${variant} left out: ${error.message}`);
      continue;
    }
    try {
      adapter = device.description;
      reporter.log(`${adapter}, variant ${variant}, ${model} at ${batch} x ${length}`);
      await measureKernels(device, shapes, (figure) => figures.push(figure));
    } finally {
      device.destroy();
    }
  }
  reporter.line(kernelTable(figures));
  reporter.line(
    "of roofline: the longer of its arithmetic at the best matmul's GFLOP/s and its bytes at the " +
      "copy's GB/s, of the same variant, over its time",
  );
  return { adapter, model, batch, length, kernels: figures };
}

/** The figures as a text table. */
export function kernelTable(figures: KernelFigure[], width?: number): string {
  const number = (x: number | undefined, digits: number) =>
    x === undefined ? "" : x.toFixed(digits);
  return formatTable(
    ["variant", "kernel", "pass", "dispatches", "ms", "GFLOP/s", "GB/s", "of roofline"],
    figures.map((f) => [
      f.variant,
      f.kernel,
      f.pass,
      f.dispatches ? String(f.dispatches) : "",
      number(f.milliseconds, 3),
      number(f.gflops, 1),
      number(f.gigabytes, 2),
      `${(100 * f.share).toFixed(0)}%`,
    ]),
    width,
  );
}
