/** Timing whole training steps of a model on random weights and tokens. @module */
import type { Reporter } from "../core/reporter.ts";
import type { Device } from "../kernels/device.ts";
import type { KernelTime } from "../kernels/plan.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import { createMamba, type MambaOptions } from "../model/mamba/mamba.ts";
import { Random } from "../model/mamba/random.ts";
import type { Batch, StepReport } from "../model/mamba/types.ts";
import { quickParameters } from "./quick_parameters.ts";

/** A model and a batch. */
export interface StepCase {
  name: string;
  config: MambaConfig;
  batch: number;
  length: number;
}

/** What one case reached. */
export interface StepFigures {
  model: string;
  batch: number;
  length: number;
  precision: string;
  recompute: boolean;
  /** Over the measured steps, one following the other without a pause, as in training. */
  tokens_per_second: number;
  step_ms: number;
  /** Of the matrix products alone, over the whole step's time. */
  gflops: number;
  device_bytes: number;
  resident_bytes: number;
}

/** Steps before those that count: the first compiles. */
const WARM_UP = 2;

/** One kernel's part of a step. */
type KernelShare = Awaited<
  ReturnType<Awaited<ReturnType<typeof createMamba>>["profile"]>
>[number];

/** Random tokens in documents of 170. */
export function randomBatch({ config, batch, length }: StepCase, random: Random): Batch {
  const rows = batch * length;
  const id = () => random.integer(config.vocabSize);
  return {
    tokens: Uint32Array.from({ length: rows }, id),
    starts: Uint8Array.from({ length: rows }, (_, i) => Number(i % length % 170 === 0)),
    targets: Int32Array.from({ length: rows }, id),
  };
}

/**
 * Times `steps` steps after two that compile and settle: as the trainer does, each step is prepared
 * while the device is at the one before, whose report is read meanwhile.
 * Its two listeners make it 7 parameters: benchmarks give one, the other, or none.
 * @param onProfile gets each kernel's time, where given.
 * @param onTimeline gets when each kernel of a step ran, where the device has timestamps.
 */
export async function measureStep(
  device: Device,
  c: StepCase,
  steps: number,
  reporter: Reporter,
  options: Partial<MambaOptions> = {},
  onProfile?: (shares: KernelShare[]) => void,
  onTimeline?: (times: KernelTime[]) => void,
): Promise<StepFigures> {
  const shape = { batchSize: c.batch, sequenceLength: c.length };
  const model = await createMamba(device, c.config, { ...options, ...shape });
  try {
    model.writeParameters(quickParameters(c.config));
    const random = new Random(1, "bench");
    const rows = c.batch * c.length;
    let last = performance.now();
    let total = 0;
    let report: Promise<StepReport> | undefined;
    /** Takes in the report of `step`, which began when the step before it was done. */
    const took = async (step: number, pending: Promise<StepReport>) => {
      const { loss } = await pending;
      const now = performance.now();
      const ms = now - last;
      last = now;
      if (step >= WARM_UP) total += ms;
      reporter.log(`${c.name} step ${step}: loss ${loss.toFixed(3)}, ${ms.toFixed(0)} ms`);
    };
    const count = WARM_UP + steps;
    for (let step = 0; step < count; step++) {
      const batch = randomBatch(c, random);
      model.accumulate(batch, 1 / rows, () => report = step ? model.report() : undefined);
      if (report) await took(step - 1, report);
      model.update({
        step: step + 1,
        learningRate: 1e-4,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weightDecay: 0.1,
        maxGradNorm: 1,
      });
    }
    await took(count - 1, model.report());
    const mean = total / steps;
    const resident = Deno.memoryUsage().rss;
    if (onProfile) onProfile(await model.profile());
    if (onTimeline) onTimeline(await model.timeline());
    return {
      model: c.name,
      batch: c.batch,
      length: c.length,
      precision: options.precision ?? "f32",
      recompute: model.memory.recompute,
      tokens_per_second: rows / mean * 1000,
      step_ms: mean,
      gflops: model.matmulFlop / mean / 1e6,
      device_bytes: device.allocatedBytes,
      resident_bytes: resident,
    };
  } finally {
    model.destroy();
  }
}
