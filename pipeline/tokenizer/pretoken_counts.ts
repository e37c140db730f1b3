/** How often each pretoken occurs in a text collection: all that training needs of it. @module */
import { byteAt, float64At, int32At, uint32At } from "../../core/nth.ts";
import { Scanner } from "./scanner.ts";
import { MergeTable } from "./merges.ts";

/** Distinct pretokens as bytes, with their counts. */
export interface PretokenTable {
  /** All bytes, one pretoken after the other. */
  bytes: Uint8Array;
  /** Where each begins in `bytes`; one more entry at the end. */
  starts: Uint32Array;
  /** How often each occurs. */
  counts: Float64Array;
}

/** Counts the pretokens of texts. */
export class PretokenCounter {
  readonly #scanner = new Scanner(new MergeTable(new Uint16Array(0), new Uint16Array(256)));
  readonly #utf8 = new TextEncoder();
  #text = new Uint8Array(1 << 16);
  // Open addressing over the pretokens' numbers, -1 where free.
  #slots = new Int32Array(1 << 16).fill(-1);
  #hashes = new Int32Array(1 << 15);
  #counts = new Float64Array(1 << 15);
  #starts = new Uint32Array(1 << 15);
  #bytes = new Uint8Array(1 << 20);
  #size = 0;
  /** UTF-8 bytes of text counted. */
  textBytes = 0;

  /** Begins with nothing counted; `nfc` says whether texts are put into NFC first. */
  constructor(readonly nfc = true) {}

  /** Counts one text. */
  add(text: string): void {
    const normal = this.nfc ? text.normalize("NFC") : text;
    if (this.#text.length < normal.length * 3 + 8) {
      this.#text = new Uint8Array(normal.length * 6 + 8);
    }
    const bytes = this.#text;
    const length = this.#utf8.encodeInto(normal, bytes).written;
    bytes[length] = 0;
    this.textBytes += length;
    for (let first = 0; first < length;) {
      const end = this.#scanner.pretokenEnd(bytes, first, length);
      this.#count(bytes, first, end);
      first = end;
    }
  }

  #count(bytes: Uint8Array, first: number, end: number): void {
    let hash = 0x811c9dc5 | 0;
    for (let i = first; i < end; i++) hash = Math.imul(hash ^ byteAt(bytes, i), 0x01000193);
    const mask = this.#slots.length - 1;
    const length = end - first;
    let slot = (hash ^ hash >>> 15) & mask;
    for (;; slot = (slot + 1) & mask) {
      const n = int32At(this.#slots, slot);
      if (n < 0) break;
      if (this.#hashes[n] !== hash) continue;
      let a = uint32At(this.#starts, n);
      if (uint32At(this.#starts, n + 1) - a !== length) continue;
      let b = first;
      while (b < end && this.#bytes[a] === bytes[b]) {
        a++;
        b++;
      }
      if (b === end) {
        this.#counts[n] = float64At(this.#counts, n) + 1;
        return;
      }
    }
    const n = this.#size++;
    const start = uint32At(this.#starts, n);
    if (n + 2 >= this.#starts.length) this.#grow();
    if (start + length > this.#bytes.length) {
      const larger = new Uint8Array((start + length) * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes.subarray(first, end), start);
    this.#starts[n + 1] = start + length;
    this.#hashes[n] = hash;
    this.#counts[n] = 1;
    this.#slots[slot] = n;
    if (this.#size * 2 > this.#slots.length) this.#rehash();
  }

  #grow(): void {
    const size = this.#starts.length * 2;
    const hashes = new Int32Array(size);
    const counts = new Float64Array(size);
    const starts = new Uint32Array(size);
    hashes.set(this.#hashes);
    counts.set(this.#counts);
    starts.set(this.#starts);
    this.#hashes = hashes;
    this.#counts = counts;
    this.#starts = starts;
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2).fill(-1);
    const mask = this.#slots.length - 1;
    for (let n = 0; n < this.#size; n++) {
      const hash = int32At(this.#hashes, n);
      let slot = (hash ^ hash >>> 15) & mask;
      while (int32At(this.#slots, slot) >= 0) slot = (slot + 1) & mask;
      this.#slots[slot] = n;
    }
  }

  /** What has been counted, in order of first occurrence. */
  table(): PretokenTable {
    return {
      bytes: this.#bytes.slice(0, uint32At(this.#starts, this.#size)),
      starts: this.#starts.slice(0, this.#size + 1),
      counts: this.#counts.slice(0, this.#size),
    };
  }
}
