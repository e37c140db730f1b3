/** Choices that a seed decides, so that a history can be played again. @module */
import { random } from "../pipeline/faults.ts";

/** A stream of choices. */
export class Chance {
  readonly #next: () => number;

  constructor(readonly seed: number) {
    this.#next = random(seed);
    // Seeds that follow each other begin alike.
    for (let i = 0; i < 8; i++) this.#next();
  }

  /** A number from 0 to 1. */
  number(): number {
    return this.#next();
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  /** A whole number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True in `share` of all cases. */
  happens(share: number): boolean {
    return this.#next() < share;
  }

  /** One of `items`. */
  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("There is nothing to choose from");
    return item;
  }
}
