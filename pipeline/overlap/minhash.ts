/**
 * MinHash signatures (Broder 1997) of runs of five words, in 14 bands of 8: two texts that share
 * three quarters of their runs agree in a band nearly surely, two that share half hardly ever.
 * @module
 */
import { int32At, uint32At } from "../../core/nth.ts";
import { hashNgrams, WordScanner } from "./words.ts";

/** Words in a run. */
const SHINGLE_WORDS = 5;
/** Bands, and hashes in each. */
export const BANDS = 14;
const BAND_HASHES = 8;
const HASHES = BANDS * BAND_HASHES;

/** Makes signatures. Not shared between threads. */
export class MinHash {
  readonly #scanner = new WordScanner();
  readonly #multipliers = new Int32Array(HASHES);
  readonly #addends = new Int32Array(HASHES);
  readonly #minima = new Uint32Array(HASHES);
  #runs = new Int32Array(4096);
  #others = new Int32Array(4096);

  constructor() {
    let state = 1;
    const next = () => state = Math.imul(state, 1664525) + 1013904223 | 0;
    for (let k = 0; k < HASHES; k++) {
      this.#multipliers[k] = next() | 1;
      this.#addends[k] = next();
    }
  }

  /** Hashes the runs of words of a text into #runs; returns how many there are. */
  #shingle(text: string): number {
    const words = this.#scanner.scan(text);
    if (words.count > this.#runs.length) {
      this.#runs = new Int32Array(words.count * 2);
      this.#others = new Int32Array(words.count * 2);
    }
    return hashNgrams(words, SHINGLE_WORDS, this.#runs, this.#others);
  }

  /**
   * Writes one hash for each band into `out` at `at`.
   * @returns false for a text of fewer than five words, which has no signature
   */
  bands(text: string, out: Uint32Array, at = 0): boolean {
    const count = this.#shingle(text);
    const minima = this.#minima.fill(0xffffffff);
    const runs = this.#runs;
    if (count === 0) return false;
    for (let k = 0; k < HASHES; k++) {
      // One hash over all runs, not all hashes over one run: the minimum stays in a register.
      const multiplier = int32At(this.#multipliers, k);
      const addend = int32At(this.#addends, k);
      let least = 0xffffffff;
      for (let i = 0; i < count; i++) {
        const h = Math.imul(int32At(runs, i), multiplier) + addend | 0;
        const mixed = (h ^ h >>> 16) >>> 0;
        if (mixed < least) least = mixed;
      }
      minima[k] = least;
    }
    for (let band = 0; band < BANDS; band++) {
      let hash = band + 1;
      for (let k = band * BAND_HASHES; k < (band + 1) * BAND_HASHES; k++) {
        hash = Math.imul(hash ^ uint32At(minima, k), 0x9e3779b1);
        hash ^= hash >>> 15;
      }
      out[at + band] = hash;
    }
    return true;
  }

  /** The distinct runs of words of a text, by hash. */
  shingles(text: string): Set<number> {
    const count = this.#shingle(text);
    return new Set(this.#runs.subarray(0, count));
  }
}

/** The share of all runs that two texts have in common, 0 to 1. */
export function jaccard(a: ReadonlySet<number>, b: ReadonlySet<number>): number {
  let common = 0;
  for (const run of a) if (b.has(run)) common++;
  const all = a.size + b.size - common;
  return all === 0 ? 0 : common / all;
}
