/**
 * The order in which rows are drawn: a fresh seeded permutation each epoch, computed and not stored,
 * so that any place in the order is found at once and resuming needs one number.
 * @module
 */

const ROUNDS = 6;

/** Mixes 32 bits with a key (the finisher of MurmurHash3). */
function mix(value: number, key: number): number {
  let h = Math.imul(value ^ key, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * The place of `index` in a permutation of [0, size): a balanced Feistel network over the smallest
 * even number of bits that holds `size`, walked on while it leaves the range (Black and Rogaway,
 * "Ciphers with arbitrary finite domains", 2002).
 */
function permute(index: number, size: number, key: number): number {
  let half = 1;
  while (4 ** half < size) half++;
  const width = 2 ** half;
  const mask = width - 1;
  let at = index;
  do {
    let left = Math.floor(at / width);
    let right = at % width;
    for (let round = 1, k = key; round <= ROUNDS; round++) {
      k = mix((k + 0x9e3779b9) | 0, round);
      [left, right] = [right, (left ^ (mix(right, k) & mask)) >>> 0];
    }
    at = left * width + right;
  } while (at >= size);
  return at;
}

/**
 * The row at position `index` of the training order, which runs on over epochs: each epoch visits
 * every row once, in an order of its own.
 * @param index global counter of drawn rows, from 0.
 */
export function sampleRow(rows: number, seed: number, index: number): number {
  const epoch = Math.floor(index / rows);
  const place = index % rows;
  // Both halves of a large seed count.
  const key = mix(mix(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0), epoch + 1);
  return permute(place, rows, key);
}

/**
 * The places in the training order that rank `rank` of `ranks` takes in a step, by counting alone:
 * each takes a stretch of its own, and together they read what one would.
 * @param first the step's first place; @param rows the step's rows, over all ranks
 * @throws {RangeError} where the ranks do not divide the rows, or there is no such rank.
 */
export function rankPlaces(first: number, rows: number, rank: number, ranks: number): number[] {
  if (!(ranks >= 1 && rank >= 0 && rank < ranks)) {
    throw new RangeError(`There is no rank ${rank} of ${ranks}`);
  }
  if (rows % ranks !== 0) {
    throw new RangeError(`${ranks} ranks cannot share ${rows} rows per step evenly`);
  }
  const share = rows / ranks;
  return Array.from({ length: share }, (_, i) => first + rank * share + i);
}
