/**
 * Dropout (Srivastava et al. 2014) whose mask is a function of a seed and of an element's place, so that
 * forward and backward need not keep it: an element stays where a hash of both, as a number in [0, 1), is
 * not below the rate, and is then divided by 1 - rate.
 *
 * The hash is PCG's output function over one step of its generator (O'Neill 2014; Jarzynski and Olano
 * 2020, "Hash Functions for GPU Rendering").
 * @module
 */

/** A well-mixed 32-bit number of a 32-bit number. */
function pcgHash(value: number): number {
  const state = (Math.imul(value, 747796405) + 2891336453) >>> 0;
  const word = Math.imul(((state >>> ((state >>> 28) + 4)) ^ state) >>> 0, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

/** What element `index` is multiplied with: 0, or 1 / (1 - rate). */
function dropoutFactor(seed: number, index: number, rate: number): number {
  const uniform = (pcgHash((index ^ pcgHash(seed)) >>> 0) >>> 8) / 2 ** 24;
  return uniform < rate ? 0 : 1 / (1 - rate);
}

/** Told apart from the seed of elements. */
const ROWS = 0x9e3779b9;

/** Whether a whole row is dropped: what is left is not divided, as a text without a word is a text. */
function isRowDropped(seed: number, row: number, rate: number): boolean {
  return pcgHash((row ^ pcgHash((seed ^ ROWS) >>> 0)) >>> 0) >>> 8 < rate * 2 ** 24;
}

/**
 * The elements of a (rows, columns) matrix with those that are dropped at 0.
 * @param rowRate the share of rows that are dropped as a whole
 */
export function dropout(
  values: Float64Array,
  seed: number,
  rate: number,
  { rowRate = 0, columns = values.length }: { rowRate?: number; columns?: number } = {},
): Float64Array {
  return values.map((value, index) =>
    isRowDropped(seed, Math.floor(index / columns), rowRate)
      ? 0
      : value * dropoutFactor(seed, index, rate)
  );
}
