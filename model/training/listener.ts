/** Who hears of a run as it goes on. @module */
import type { StepMetrics } from "./metrics.ts";
import type { RunSample } from "./samples.ts";

/** Called between steps: whatever takes time must happen elsewhere. */
export interface RunListener {
  /** Training begins after `step` of `steps`; again where it went back to a checkpoint. */
  began?(step: number, steps: number): void;
  /** A step came in, and is in the run folder's metrics. */
  step?(metrics: StepMetrics): void;
  /** The model wrote samples; they are in the run folder. */
  sampled?(samples: RunSample[]): void;
}
