/** A run's metrics in bounded memory, however many its steps. @module */
import { type StepMetrics } from "../training/mod.ts";
import { thinOut } from "../report/mod.ts";

/** Metrics of all steps so far; old ones as means of ever longer runs of steps. */
export class History {
  readonly #most: number;
  /** Each the mean of `#size` steps. */
  #points: StepMetrics[] = [];
  /** Steps that do not make a point yet. */
  #open: StepMetrics[] = [];
  #size = 1;

  /** @param most points that are kept. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Takes the next step. */
  add(metrics: StepMetrics): void {
    this.#open.push(metrics);
    if (this.#open.length < this.#size) return;
    this.#points.push(...thinOut(this.#open, 1));
    this.#open = [];
    if (this.#points.length <= this.#most || this.#points.length % 2) return;
    this.#points = thinOut(this.#points, this.#points.length / 2);
    this.#size *= 2;
  }

  /** What is kept, by ascending step. */
  get points(): StepMetrics[] {
    return this.#open.length ? [...this.#points, ...thinOut(this.#open, 1)] : [...this.#points];
  }

  /** Steps that a point stands for. */
  get stepsPerPoint(): number {
    return this.#size;
  }
}
