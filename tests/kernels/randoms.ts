/** Seeded numbers for tests. @module */

/** `n` numbers from -1 to 1, exact in float32; the same for the same seed (mulberry32). */
export function randoms(n: number, seed: number): Float64Array {
  let state = Math.imul(seed, 0x9e3779b9) >>> 0;
  return Float64Array.from({ length: n }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return Math.fround(((t ^ t >>> 14) >>> 0) / 2 ** 31 - 1);
  });
}
