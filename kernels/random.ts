/** Reproducible numbers for self-tests and tests; not for anything that needs good randomness. @module */

/**
 * A generator of integers from 0 to 2^32 - 1, the same for the same seed. Linear congruential, with the
 * constants of Press et al., "Numerical Recipes"; its low bits have short periods.
 */
export function linearCongruential(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}

/** `count` numbers from -1 to 1 that any float32 holds exactly. */
export function numbers(count: number, seed: number): Float64Array {
  const next = linearCongruential(seed);
  return Float64Array.from({ length: count }, () => (next() >>> 8) / 2 ** 23 - 1);
}
