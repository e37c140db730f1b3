/**
 * The inner loop: UTF-8 bytes are cut into pretokens by the GPT-2 pattern
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * hashed on the way, and each is looked up or merged. Written by hand because a regular expression
 * costs more than all the rest together.
 * @module
 */
import { byteAt, int32At, uint16At } from "../../core/nth.ts";
import { characterClasses, SPACE } from "./characters.ts";
import { LONGEST_CACHED, PretokenCache } from "./cache.ts";
import type { MergeTable } from "./merges.ts";

/** FNV-1a, 32 bits. */
const HASH_START = 0x811c9dc5 | 0;
const HASH_PRIME = 0x01000193;
const APOSTROPHE = 39;
const BLANK = 32;
/** The class of a byte that begins no ASCII character, in the byte table. */
const MULTI_BYTE = 4;
/** Which classes make pretokens of their own in ASCII; white space and longer characters do not. */
const RUNS = [true, true, true, false, false];

/** Cuts bytes into pretokens and pretokens into ids. Not shared between threads. */
export class Scanner {
  readonly #classes = characterClasses();
  /** The class of each ASCII character, by byte. */
  readonly #ascii = new Uint8Array(256).fill(MULTI_BYTE);
  readonly #cache = new PretokenCache();
  /** The width in bytes of the character last classified. */
  #width = 1;

  constructor(readonly merges: MergeTable) {
    this.#ascii.set(this.#classes.subarray(0, 128));
  }

  /** Forgets the cached pretokens. */
  clearCache(): void {
    this.#cache.clear();
  }

  /**
   * Encodes `bytes[start, end)`, whole UTF-8 characters, into `out` from `at` on; returns where it
   * stopped. `out` needs room for one id per byte; `bytes` goes on past `end`.
   */
  encode(bytes: Uint8Array, start: number, end: number, out: Uint16Array, at: number): number {
    const ascii = this.#ascii;
    const { slots, keys, ids } = this.#cache;
    for (let first = start, i = start; first < end; first = i) {
      let hash = HASH_START;
      let byte = byteAt(bytes, i);
      if (byte === BLANK && i + 1 < end) {
        hash = Math.imul(hash ^ BLANK, HASH_PRIME);
        byte = byteAt(bytes, ++i);
      }
      // The common case: ASCII characters of one class, with or without a space before them.
      const kind = byteAt(ascii, byte);
      if (RUNS[kind] && (byte !== APOSTROPHE || i > first)) {
        do {
          hash = Math.imul(hash ^ byte, HASH_PRIME);
          byte = byteAt(bytes, ++i);
        } while (ascii[byte] === kind && i < end);
      }
      if (byte >= 0x80 && i < end || !RUNS[kind] || i === first) {
        const passed = i;
        i = this.#pretokenEnd(bytes, first, end, passed, kind);
        for (let k = passed; k < i; k++) hash = Math.imul(hash ^ byteAt(bytes, k), HASH_PRIME);
      }
      const length = i - first;
      if (length > LONGEST_CACHED) {
        at = this.#mergeInto(bytes, first, i, out, at);
        continue;
      }
      let word = PretokenCache.firstWord(hash);
      let entry = int32At(slots, word + 2);
      for (; entry !== 0; entry = int32At(slots, word + 2)) {
        if (slots[word] === hash && (entry & 255) === length) {
          let a = int32At(slots, word + 1);
          let b = first;
          while (b < i && keys[a] === bytes[b]) {
            a++;
            b++;
          }
          if (b === i) break;
        }
        word = (word + 4) & PretokenCache.WORD_MASK;
      }
      if (entry === 0) {
        at = this.#mergeInto(bytes, first, i, out, at);
        const { merges } = this;
        this.#cache.insert(word, hash, bytes, first, i, merges.ids, merges.length);
        continue;
      }
      out[at++] = entry >>> 16;
      const count = entry >>> 8 & 255;
      for (let k = 1, from = int32At(slots, word + 3); k < count; k++) {
        out[at++] = uint16At(ids, from++);
      }
    }
    return at;
  }

  /** Where the pretoken that begins at `first` ends; `bytes` as in {@linkcode encode}. */
  pretokenEnd(bytes: Uint8Array, first: number, end: number): number {
    const lead = bytes[first] === BLANK && first + 1 < end ? 1 : 0;
    return this.#pretokenEnd(bytes, first, end, first + lead, MULTI_BYTE);
  }

  #mergeInto(bytes: Uint8Array, start: number, end: number, out: Uint16Array, at: number): number {
    const n = this.merges.merge(bytes, start, end);
    const ids = this.merges.ids;
    for (let k = 0; k < n; k++) out[at++] = uint16At(ids, k);
    return at;
  }

  /** The class of the character at `i`; its width goes to #width. */
  #classAt(bytes: Uint8Array, i: number): number {
    const b = byteAt(bytes, i);
    let character = b;
    if (b < 0x80) {
      this.#width = 1;
    } else if (b < 0xe0) {
      character = (b & 31) << 6 | byteAt(bytes, i + 1) & 63;
      this.#width = 2;
    } else if (b < 0xf0) {
      character = (b & 15) << 12 | (byteAt(bytes, i + 1) & 63) << 6 | byteAt(bytes, i + 2) & 63;
      this.#width = 3;
    } else {
      character = (b & 7) << 18 | (byteAt(bytes, i + 1) & 63) << 12 |
        (byteAt(bytes, i + 2) & 63) << 6 |
        byteAt(bytes, i + 3) & 63;
      this.#width = 4;
    }
    return byteAt(this.#classes, character);
  }

  /**
   * Where the pretoken that begins at `first` ends, by the whole pattern. What is before `passed`
   * is an optional space and characters of the class `kind`, which may go on beyond ASCII.
   */
  #pretokenEnd(
    bytes: Uint8Array,
    first: number,
    end: number,
    passed: number,
    kind: number,
  ): number {
    if (bytes[first] === APOSTROPHE) {
      const width = contraction(bytes, first, end);
      if (width) return first + width;
    }
    if (RUNS[kind] && passed > first) return this.#runEnd(bytes, passed, end, kind);
    const begin = this.#classAt(bytes, passed);
    if (begin !== SPACE) return this.#runEnd(bytes, passed, end, begin);
    let last = first;
    let i = first;
    while (i < end && this.#classAt(bytes, i) === SPACE) {
      last = i;
      i += this.#width;
    }
    // \s+(?!\S): before anything else the run leaves its last space to what follows.
    return i < end && last > first ? last : i;
  }

  #runEnd(bytes: Uint8Array, from: number, end: number, kind: number): number {
    let i = from;
    while (i < end && this.#classAt(bytes, i) === kind) i += this.#width;
    return i;
  }
}

/** The width of the English contraction at `i`, 0 where there is none. */
function contraction(bytes: Uint8Array, i: number, end: number): number {
  if (i + 1 >= end) return 0;
  const a = String.fromCharCode(byteAt(bytes, i + 1));
  if ("stmd".includes(a)) return 2;
  if (i + 2 >= end) return 0;
  const b = String.fromCharCode(byteAt(bytes, i + 2));
  return ["re", "ve", "ll"].includes(a + b) ? 3 : 0;
}
