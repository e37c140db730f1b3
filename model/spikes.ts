/** Watching for outliers in a run's loss and gradient norm. @module */

/** What is watched of a step. */
export interface StepFigures {
  loss: number;
  /** Before clipping. */
  gradNorm: number;
}

/** A figure that lies far above those before it. */
export interface Spike {
  what: "loss" | "gradient norm";
  value: number;
  /** How many standard deviations it lies above the mean. */
  deviations: number;
}

/** A spike as a line of a run's log. */
export function describeSpike(spike: Spike, step: number, window: number): string {
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

  /** Undefined until a quarter of the window is full. */
  get statistics(): { mean: number; deviation: number } | undefined {
    const count = this.#values.length;
    if (count < Math.max(2, this.size / 4)) return undefined;
    const mean = this.#values.reduce((a, b) => a + b, 0) / count;
    const squares = this.#values.reduce((a, b) => a + (b - mean) ** 2, 0);
    // A series that never moved has no scale: then any rise counts.
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
