/** Watching for outliers in a run's loss and gradient norm. @module */

/** A running mean and deviation over a window of values. */
export class SpikeDetector {
  readonly #window: number;
  readonly #threshold: number;
  readonly #values: number[] = [];

  /** @param threshold in standard deviations; 0 switches the detector off. */
  constructor(threshold: number, window: number) {
    this.#threshold = threshold;
    this.#window = window;
  }

  /**
   * Takes one value; returns how many standard deviations it lies above the mean of those before,
   * where that exceeds the threshold. Needs a quarter of the window before it says anything.
   */
  observe(value: number): number | undefined {
    const seen = this.#values, count = seen.length;
    let score: number | undefined;
    if (this.#threshold > 0 && count >= Math.max(2, this.#window / 4)) {
      const mean = seen.reduce((a, b) => a + b, 0) / count;
      const variance = seen.reduce((a, b) => a + (b - mean) ** 2, 0) / (count - 1);
      const z = (value - mean) / (Math.sqrt(variance) + 1e-12 * Math.abs(mean));
      if (z > this.#threshold) score = z;
    }
    seen.push(value);
    if (seen.length > this.#window) seen.shift();
    return score;
  }
}
