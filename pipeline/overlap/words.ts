/**
 * Text as a list of hashed words, for comparing texts: lower case, letters and digits only, so that
 * punctuation, case and layout make no difference.
 * @module
 */
import { byteAt, int32At } from "../../core/nth.ts";
import { characterClasses, LETTER, NUMBER } from "../tokenizer/mod.ts";

/** The words of one text; the arrays are used again by the next call of the same scanner. */
interface Words {
  count: number;
  /** A 32-bit hash of each word. */
  hashes: Int32Array;
  /** Where each begins and ends in the text, in UTF-16 units. */
  starts: Int32Array;
  ends: Int32Array;
}

/** Finds words. Not shared between threads. */
export class WordScanner {
  readonly #classes = characterClasses();
  #words: Words = words(1024);

  /** The words of `text`, in order. */
  scan(text: string): Words {
    const lower = text.toLowerCase();
    const classes = this.#classes;
    // Lower case keeps the length but for a few characters; positions then are those of the text.
    const source = lower.length === text.length ? lower : text;
    let count = 0;
    let hash = 0;
    let start = -1;
    for (let i = 0; i <= source.length; i++) {
      const unit = i < source.length ? source.charCodeAt(i) : 32;
      // Surrogates belong to no class but to the word: letters beyond the first plane are many.
      const kind = unit >= 0xd800 && unit < 0xe000 ? LETTER : byteAt(classes, unit);
      if (kind === LETTER || kind === NUMBER) {
        if (start < 0) {
          start = i;
          hash = 0x811c9dc5;
        }
        hash = Math.imul(hash ^ unit, 0x01000193);
      } else if (start >= 0) {
        if (count === this.#words.hashes.length) this.#words = words(count * 2, this.#words);
        this.#words.hashes[count] = hash ^ hash >>> 15;
        this.#words.starts[count] = start;
        this.#words.ends[count++] = i;
        start = -1;
      }
    }
    this.#words.count = count;
    return this.#words;
  }
}

function words(size: number, old?: Words): Words {
  const made: Words = {
    count: 0,
    hashes: new Int32Array(size),
    starts: new Int32Array(size),
    ends: new Int32Array(size),
  };
  if (old) {
    made.hashes.set(old.hashes);
    made.starts.set(old.starts);
    made.ends.set(old.ends);
  }
  return made;
}

/** Hashes every run of `n` words into two 32-bit halves; returns how many runs there are. */
export function hashNgrams(
  { count, hashes }: Words,
  n: number,
  first: Int32Array,
  second: Int32Array,
): number {
  const runs = Math.max(0, count - n + 1);
  for (let i = 0; i < runs; i++) {
    let a = 0x2545f491;
    let b = 0x9e3779b9 | 0;
    for (let k = i; k < i + n; k++) {
      const word = int32At(hashes, k);
      a = Math.imul(a ^ word, 0x85ebca6b);
      a ^= a >>> 13;
      b = Math.imul(b, 0x01000193) ^ word;
      b = Math.imul(b ^ b >>> 16, 0xc2b2ae35);
    }
    first[i] = a;
    second[i] = b;
  }
  return runs;
}
