/** Timing whole training steps of a model on random weights and tokens. @module */
import type { Reporter } from "../core/reporter.ts";
import type { Device } from "../kernels/device.ts";
import type { MambaConfig } from "../model/config.ts";
import { initialParameters } from "../model/initialize.ts";
import { createMamba, type MambaOptions } from "../model/mamba.ts";
import { Random } from "../model/random.ts";
import type { Batch } from "../model/types.ts";

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
  /** Of the fastest step. */
  tokens_per_second: number;
  step_ms: number;
  /** Of the matrix products alone, over the whole step's time. */
  gflops: number;
  device_bytes: number;
  resident_bytes: number;
}

/** One kernel's part of a step. */
export type KernelShare = Awaited<
  ReturnType<Awaited<ReturnType<typeof createMamba>>["profile"]>
>[number];

/** Random tokens in documents of 170. */
function randomBatch({ config, batch, length }: StepCase, random: Random): Batch {
  const rows = batch * length, id = () => random.integer(config.vocabSize);
  return {
    tokens: Uint32Array.from({ length: rows }, id),
    starts: Uint8Array.from({ length: rows }, (_, i) => Number(i % length % 170 === 0)),
    targets: Int32Array.from({ length: rows }, id),
  };
}

/**
 * Times `steps` steps after one that compiles..
 * @param onProfile gets each kernel's time, where given.
 */
export async function measureStep(
  device: Device,
  c: StepCase,
  steps: number,
  reporter: Reporter,
  options: Partial<MambaOptions> = {},
  onProfile?: (shares: KernelShare[]) => void,
): Promise<StepFigures> {
  const shape = { batchSize: c.batch, sequenceLength: c.length };
  const model = await createMamba(device, c.config, { ...options, ...shape });
  try {
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
    if (onProfile) onProfile(await model.profile());
    return {
      model: c.name,
      batch: c.batch,
      length: c.length,
      precision: options.precision ?? "f32",
      recompute: model.memory.recompute,
      tokens_per_second: rows / best * 1000,
      step_ms: best,
      gflops: model.matmulFlop / best / 1e6,
      device_bytes: device.allocatedBytes,
      resident_bytes: resident,
    };
  } finally {
    model.destroy();
  }
}
