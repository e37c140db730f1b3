/**
 * A cache from a pretoken's bytes to its ids: an open-addressing table in typed arrays, made for
 * the scanner's inner loop. When full it starts again from empty, so that memory stays bounded.
 * @module
 */
import { byteAt, uint16At } from "../../core/nth.ts";

/** Slots; a slot is four 32-bit words, so 16 MiB. */
const SLOTS = 1 << 20;
/** At most half the slots are taken: probes stay short. */
const MAX_ENTRIES = 1 << 19;
const KEY_BYTES = 8 << 20;
const ID_ROOM = 2 << 20;

/** Longer pretokens are rare and are merged anew each time. */
export const LONGEST_CACHED = 48;

/**
 * Slot layout: word 0 the hash; word 1 where the bytes begin in {@linkcode keys}; word 2 the first
 * id << 16 | count of ids << 8 | count of bytes (0 where free); word 3 where the ids after the
 * first begin in {@linkcode ids}.
 */
export class PretokenCache {
  readonly slots = new Int32Array(SLOTS * 4);
  readonly keys = new Uint8Array(KEY_BYTES);
  readonly ids = new Uint16Array(ID_ROOM);
  /** Applied to a word index, keeps it in the table. */
  static readonly WORD_MASK = SLOTS * 4 - 1;
  #entries = 0;
  #keyEnd = 0;
  #idEnd = 0;

  /** The word index where the search for a hash begins. */
  static firstWord(hash: number): number {
    return ((hash ^ (hash >>> 15)) & (SLOTS - 1)) << 2;
  }

  /**
   * Stores a pretoken in the free slot at `word`. Its 7 parameters are plain numbers and arrays: an
   * object for each pretoken would cost more than the cache saves.
   */
  insert(
    word: number,
    hash: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    ids: Uint16Array,
    count: number,
  ): void {
    const length = end - start;
    if (
      this.#entries >= MAX_ENTRIES || this.#keyEnd + length > KEY_BYTES ||
      this.#idEnd + count > ID_ROOM
    ) {
      this.clear();
      return;
    }
    this.#entries++;
    this.slots[word] = hash;
    this.slots[word + 1] = this.#keyEnd;
    this.slots[word + 2] = uint16At(ids, 0) << 16 | count << 8 | length;
    this.slots[word + 3] = this.#idEnd;
    for (let i = start; i < end; i++) this.keys[this.#keyEnd++] = byteAt(bytes, i);
    for (let i = 1; i < count; i++) this.ids[this.#idEnd++] = uint16At(ids, i);
  }

  /** Forgets everything. */
  clear(): void {
    this.slots.fill(0);
    this.#entries = this.#keyEnd = this.#idEnd = 0;
  }
}
