/** Repeatable whole numbers for tests. @module */
import { linearCongruential } from "../kernels/random.ts";

/** A generator of whole numbers from 0 to `n` - 1, the same for the same seed. */
export function integers(seed: number): (n: number) => number {
  const next = linearCongruential(seed);
  return (n) => Math.floor(next() / 2 ** 32 * n);
}
