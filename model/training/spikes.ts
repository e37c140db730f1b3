/** Watching for outliers in a run's loss and gradient norm, and what follows them. @module */
import type { StepReport } from "../mamba/mod.ts";

/** What is watched of a step. */
interface StepFigures {
  /** Mean over the step's real tokens, in nats. */
  loss: number;
  /** Norm of all gradients, before clipping. */
  gradNorm: number;
}

/** A figure that lies far above those before it. */
interface Spike {
  /** Which of a step's figures. */
  what: "loss" | "gradient norm";
  /** What it was. */
  value: number;
  /** How many standard deviations it lies above the mean. */
  deviations: number;
}

/** A spike as a line of a run's log. */
function describeSpike(spike: Spike, step: number, window: number): string {
  const { what, value, deviations } = spike;
  return `Step ${step}: the ${what} ${value.toPrecision(4)} is ${deviations.toFixed(1)} standard ` +
    `deviations above its last ${window} steps`;
}

/** Mean and deviation of the last values of a series. */
class RunningWindow {
  readonly #values: number[] = [];

  constructor(readonly size: number) {}

  push(value: number): void {
    this.#values.push(value);
    if (this.#values.length > this.size) this.#values.shift();
  }

  /** Mean and deviation; undefined until a quarter of the window is full. */
  get statistics(): { mean: number; deviation: number } | undefined {
    const count = this.#values.length;
    if (count < Math.max(2, this.size / 4)) return undefined;
    const mean = this.#values.reduce((a, b) => a + b, 0) / count;
    const squares = this.#values.reduce((a, b) => a + (b - mean) ** 2, 0);
    // A series that never changed has a deviation of 0: then any rise counts as a spike.
    return { mean, deviation: Math.sqrt(squares / (count - 1)) + 1e-12 * Math.abs(mean) };
  }
}

/** Finds steps whose loss or gradient norm lies far above those before. */
export class SpikeWatch {
  readonly #threshold: number;
  readonly #loss: RunningWindow;
  readonly #norm: RunningWindow;

  /**
   * @param threshold in standard deviations; 0 switches the watch off.
   * @param window steps over which mean and deviation run.
   * @param past the run's steps so far, so that a resumed run judges as an undisturbed one.
   */
  constructor(threshold: number, window: number, past: readonly StepFigures[] = []) {
    this.#threshold = threshold;
    this.#loss = new RunningWindow(window);
    this.#norm = new RunningWindow(window);
    for (const step of past.slice(-window)) this.#take(step);
  }

  #take({ loss, gradNorm }: StepFigures): void {
    this.#loss.push(loss);
    this.#norm.push(gradNorm);
  }

  /** Above these the next step is a spike; Infinity where that cannot be said yet. */
  get limits(): StepFigures {
    const above = (seen: RunningWindow) => {
      const known = this.#threshold > 0 ? seen.statistics : undefined;
      return known ? known.mean + this.#threshold * known.deviation : Infinity;
    };
    return { loss: above(this.#loss), gradNorm: above(this.#norm) };
  }

  /** Takes in a step; returns which of its figures are spikes. */
  observe(step: StepFigures): Spike[] {
    const spikes: Spike[] = [];
    for (
      const [what, value, seen] of [
        ["loss", step.loss, this.#loss],
        ["gradient norm", step.gradNorm, this.#norm],
      ] as const
    ) {
      const known = seen.statistics;
      const deviations = known ? (value - known.mean) / known.deviation : 0;
      if (this.#threshold > 0 && deviations > this.#threshold) {
        spikes.push({ what, value, deviations });
      }
    }
    this.#take(step);
    return spikes;
  }
}

/** A step whose update was left out, or that the run went back from, as run.json keeps it. */
export interface SpikeEvent {
  /** The update. */
  step: number;
  /** What was done about it. */
  action: "skip" | "rollback";
  /** Which of its figures were spikes, or not finite. */
  what: Spike["what"][];
  /** Null where it was not finite. */
  loss: number | null;
  /** Before clipping; null where it was not finite. */
  grad_norm: number | null;
  /** Of a rollback: the step of the checkpoint. */
  back_to?: number;
  /** Of a rollback: how many rows of the training order. */
  rows_left_out?: number;
}

/** A step's figures as the run's record keeps them. */
export function spikeEvent(
  step: number,
  { loss, gradNorm }: StepFigures,
  { what }: Verdict,
  action: SpikeEvent["action"],
): SpikeEvent {
  return {
    step,
    what,
    loss: Number.isFinite(loss) ? loss : null,
    grad_norm: Number.isFinite(gradNorm) ? gradNorm : null,
    action,
  };
}

/** What is to be done about a step. */
export interface Verdict {
  action: "go on" | "skip" | "rollback" | "fail";
  what: Spike["what"][];
  /** Lines for the run's log. */
  lines: string[];
}

/** Judges a step's report by what the run is configured to do; `watch` takes the step in. */
export function judge(
  step: number,
  report: StepReport,
  watch: SpikeWatch,
  { action, window }: { action: "log" | "skip" | "rollback"; window: number },
): Verdict {
  const { loss, gradNorm, skipped, overflow, lossScale } = report;
  if (overflow && Number.isFinite(loss)) {
    // A gradient beyond the range of f16 is no failure: the device has halved its loss scale.
    const line = `Step ${step}: a gradient overflowed f16; its update was left out, and the loss ` +
      `scale is ${lossScale} now`;
    return { action: "go on", what: [], lines: [line] };
  }
  const after = (leftOut: boolean) => leftOut ? "; the update was left out" : "";
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    const bad = Number.isFinite(loss) ? "gradient norm" : "loss";
    const line = `Step ${step}: the ${bad} is ${bad === "loss" ? loss : gradNorm}`;
    if (action === "log") return { action: "fail", what: [bad], lines: [] };
    return { action, what: [bad], lines: [line + after(action === "skip")] };
  }
  const spikes = watch.observe({ loss, gradNorm });
  const what = spikes.map((spike) => spike.what);
  const lines = spikes.map((spike) => describeSpike(spike, step, window) + after(!!skipped));
  if (skipped) return { action: "skip", what, lines };
  return { action: action === "rollback" && spikes.length ? "rollback" : "go on", what, lines };
}

/** How many steps right before `step` were left out, one after the other. */
export function skipsInARow(events: readonly SpikeEvent[], step: number): number {
  let count = 0;
  for (const event of events.toReversed()) {
    if (event.action !== "skip" || event.step !== step - 1 - count) break;
    count++;
  }
  return count;
}

/** How often the run came back to step `back`, or to one before it, from beyond it. */
export function returnsPast(events: readonly SpikeEvent[], back: number): number {
  return events.filter((event) => event.action === "rollback" && event.step > back).length;
}
