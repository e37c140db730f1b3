/** Learning rates over a run. @module */
import type { ScheduleConfig, TrainConfig } from "./configuration.ts";

/**
 * The share of the peak learning rate at `step`, counted from 1 to `steps`. Warm-up rises linearly
 * and reaches the peak at its last step; a decay ends at `final` with the last step of the run. wsd
 * (warm-up, stable, decay) stays at the peak for its share of the steps and then falls by a cosine.
 */
export function scheduleFactor(schedule: ScheduleConfig, step: number, steps: number): number {
  const { kind, final, stable } = schedule;
  const warmup = warmupSteps(schedule, steps);
  if (step <= warmup) return step / warmup;
  const from = kind === "wsd" ? Math.min(steps, warmup + Math.round(stable * steps)) : warmup;
  if (kind === "constant" || step <= from) return 1;
  const done = (step - from) / (steps - from);
  const falling = kind === "linear" ? 1 - done : (1 + Math.cos(Math.PI * done)) / 2;
  return final + (1 - final) * falling;
}

/** Warm-up in steps; a share below 1 is of all steps. */
function warmupSteps({ warmup }: ScheduleConfig, steps: number): number {
  return warmup < 1 ? Math.round(warmup * steps) : warmup;
}

/** Updates of a run: as many as configured, or as many as its configured tokens need. */
export function totalSteps(config: TrainConfig, sequenceLength: number): number {
  if (!config.tokens) return config.steps;
  return Math.ceil(config.tokens / (config.batch.rows * config.batch.accumulate * sequenceLength));
}
