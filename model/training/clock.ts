/** The times of a training loop, and the pauses that it owes to the rest of the process. @module */
import { collectGarbage } from "../../core/collect.ts";

/** Milliseconds between pauses for the event loop. */
const PAUSE_EVERY = 50;

/** Milliseconds between collections of garbage, each of which takes a tenth of a second. */
const COLLECT_EVERY = 60_000;

/** Measures a loop from its construction on. */
export class LoopClock {
  readonly #began = performance.now();
  #stepBegan = performance.now();
  #paused = performance.now();
  #collected = performance.now();
  #reading = 0;

  /** Seconds since the loop began. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** Seconds since {@linkcode startStep} was last called. */
  get stepSeconds(): number {
    return (performance.now() - this.#stepBegan) / 1000;
  }

  /** Seconds that were spent within {@linkcode reading}. */
  get readingSeconds(): number {
    return this.#reading / 1000;
  }

  /** From here on the time belongs to the next step. */
  startStep(): void {
    this.#stepBegan = performance.now();
  }

  /** Calls `read` and counts its time as time spent on reading data. */
  reading<T>(read: () => T): T {
    const began = performance.now();
    const result = read();
    this.#reading += performance.now() - began;
    return result;
  }

  /** Whether so many hours have passed; never, for 0 hours. */
  hasPassed(hours: number): boolean {
    return hours > 0 && this.seconds >= hours * 3600;
  }

  /**
   * Lets the event loop turn, so that signals come in: a model that computes on this thread would
   * otherwise never give way to them.
   */
  async letSignalsIn(): Promise<void> {
    if (performance.now() - this.#paused < PAUSE_EVERY) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (performance.now() - this.#collected >= COLLECT_EVERY) {
      // What the steps leave behind outside of JavaScript's heap would otherwise wait for days.
      collectGarbage();
      this.#collected = performance.now();
    }
    this.#paused = performance.now();
  }
}
