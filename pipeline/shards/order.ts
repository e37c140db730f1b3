/**
 * Where a document belongs: its place in the shuffled order and its split, from its PMID alone.
 * @module
 */

/** The finisher of MurmurHash3: a bijection of 32 bits in which every bit depends on every bit. */
function finish(value: number): number {
  let h = value ^ value >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35);
  return (h ^ h >>> 16) >>> 0;
}

/** A bijection of 32-bit numbers, chosen by two keys. */
function keyed(value: number, a: number, b: number): number {
  return finish(finish((value ^ a) + 0x9e3779b9 | 0) ^ b);
}

/**
 * The key that documents are sorted by, 32 bits: a seeded permutation, so that PMIDs never collide
 * and the order looks random.
 */
export function orderKey(seed: number, pmid: number): number {
  const low = finish(seed | 0);
  const high = finish(Math.floor(seed / 2 ** 32) + 1 | 0);
  return keyed(pmid, low, high);
}

/** The parts of a corpus. */
export type Split = "train" | "validation" | "test";
/** In the order of the manifest. */
export const SPLITS: readonly Split[] = ["train", "validation", "test"];

/**
 * The split of a citation: a function of its PMID and the two shares, never of the seed, of the
 * other documents or of time. Test takes one end of the hash's range and validation the other, so
 * that changing one leaves the other as it is.
 * @param validation share of all documents, 0 to 1
 * @param test likewise
 */
export function splitOf(pmid: number, validation: number, test: number): Split {
  const place = keyed(pmid, 0x5eed_5911, 0x7e57_7e57) / 2 ** 32;
  return place < test ? "test" : place >= 1 - validation ? "validation" : "train";
}
