/**
 * Byte-pair merging of one pretoken: the pair of lowest rank first, the leftmost of equals, until
 * no pair of neighbours is in the table.
 * @module
 */
import { byteAt, int32At, nth, uint16At } from "../../core/nth.ts";

/** Above this many bytes a heap finds the next merge; below, scanning is faster. */
const SCAN_LIMIT = 256;
/** Heap keys are rank * POSITIONS + position, exact in a double. */
const POSITIONS = 2 ** 32;

/** The merges of a tokenizer, and the scratch space to apply them. Not shared between threads. */
export class MergeTable {
  /** Open addressing: the pair (left << 16 | right), its rank (-1 free), and what it becomes. */
  readonly #keys: Uint32Array;
  readonly #ranks: Int32Array;
  readonly #merged: Uint16Array;
  readonly #mask: number;
  #pairs = new Int32Array(SCAN_LIMIT);
  /** The ids of the last pretoken merged; the first `length` count. */
  ids = new Uint16Array(1024);
  length = 0;

  /**
   * @param merges left id, right id, merged id, in order of rank
   * @param byteIds the id of each byte
   */
  constructor(merges: Uint16Array, readonly byteIds: Uint16Array) {
    const count = merges.length / 3;
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(16, count * 3)));
    this.#mask = capacity - 1;
    this.#keys = new Uint32Array(capacity);
    this.#ranks = new Int32Array(capacity).fill(-1);
    this.#merged = new Uint16Array(capacity);
    for (let rank = 0; rank < count; rank++) {
      const key = (uint16At(merges, rank * 3) << 16 | uint16At(merges, rank * 3 + 1)) >>> 0;
      let slot = this.#slotOf(key);
      while (int32At(this.#ranks, slot) >= 0 && this.#keys[slot] !== key) {
        slot = (slot + 1) & this.#mask;
      }
      this.#keys[slot] = key; // of a repeated merge the last counts, as in the reference
      this.#ranks[slot] = rank;
      this.#merged[slot] = uint16At(merges, rank * 3 + 2);
    }
  }

  #slotOf(key: number): number {
    return (Math.imul(key, 0x9e3779b1) >>> 9) & this.#mask;
  }

  /** The slot of a pair, or -1. */
  #find(left: number, right: number): number {
    const key = (left << 16 | right) >>> 0;
    let slot = this.#slotOf(key);
    while (int32At(this.#ranks, slot) >= 0) {
      if (this.#keys[slot] === key) return slot;
      slot = (slot + 1) & this.#mask;
    }
    return -1;
  }

  /** Merges `bytes[start, end)` into {@linkcode ids}; returns how many ids there are. */
  merge(bytes: Uint8Array, start: number, end: number): number {
    const n = end - start;
    if (n > this.ids.length) this.ids = new Uint16Array(n * 2);
    for (let i = 0; i < n; i++) this.ids[i] = uint16At(this.byteIds, byteAt(bytes, start + i));
    return this.length = n > SCAN_LIMIT ? this.#mergeByHeap(n) : this.#mergeByScan(n);
  }

  #mergeByScan(count: number): number {
    const ids = this.ids;
    const pairs = this.#pairs;
    const ranks = this.#ranks;
    let n = count;
    for (let i = 0; i + 1 < n; i++) pairs[i] = this.#find(uint16At(ids, i), uint16At(ids, i + 1));
    while (n > 1) {
      let best = 0x7fffffff;
      let at = -1;
      for (let i = 0; i < n - 1; i++) {
        const slot = int32At(pairs, i);
        if (slot >= 0 && int32At(ranks, slot) < best) {
          best = int32At(ranks, slot);
          at = i;
        }
      }
      if (at < 0) break;
      ids[at] = uint16At(this.#merged, int32At(pairs, at));
      for (let i = at + 1; i < n - 1; i++) {
        ids[i] = uint16At(ids, i + 1);
        pairs[i] = int32At(pairs, i + 1);
      }
      n--;
      if (at < n - 1) pairs[at] = this.#find(uint16At(ids, at), uint16At(ids, at + 1));
      if (at > 0) pairs[at - 1] = this.#find(uint16At(ids, at - 1), uint16At(ids, at));
    }
    return n;
  }

  /** O(n log n), for pretokens such as a page of dashes; the same order of merges. */
  #mergeByHeap(n: number): number {
    const ids = this.ids;
    const ranks = this.#ranks;
    const heap = new MinHeap();
    const next = new Int32Array(n);
    const previous = new Int32Array(n);
    const gone = new Uint8Array(n);
    const offer = (i: number) => {
      if (i < 0 || int32At(next, i) >= n) return;
      const slot = this.#find(uint16At(ids, i), uint16At(ids, int32At(next, i)));
      if (slot >= 0) heap.push(int32At(ranks, slot) * POSITIONS + i);
    };
    for (let i = 0; i < n; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (let i = 0; i + 1 < n; i++) offer(i);
    for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
      const rank = Math.floor(key / POSITIONS);
      const i = key - rank * POSITIONS;
      const j = int32At(next, i);
      if (gone[i] || j >= n) continue;
      const slot = this.#find(uint16At(ids, i), uint16At(ids, j));
      if (slot < 0 || ranks[slot] !== rank) continue; // the pair has changed since it was offered
      ids[i] = uint16At(this.#merged, slot);
      gone[j] = 1;
      next[i] = int32At(next, j);
      if (int32At(next, j) < n) previous[int32At(next, j)] = i;
      offer(i);
      offer(int32At(previous, i));
    }
    let kept = 0;
    for (let i = 0; i < n; i = int32At(next, i)) ids[kept++] = uint16At(ids, i);
    return kept;
  }
}

/** A binary heap of numbers, least first. */
class MinHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let i = items.push(item) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = nth(items, parent);
      if (above <= item) break;
      items[i] = above;
      i = parent;
    }
    items[i] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const item = items.pop();
    if (item === undefined || items.length === 0) return top;
    const n = items.length;
    let i = 0;
    for (let child = 1; child < n; child = 2 * i + 1) {
      if (child + 1 < n && nth(items, child + 1) < nth(items, child)) child++;
      const below = nth(items, child);
      if (below >= item) break;
      items[i] = below;
      i = child;
    }
    items[i] = item;
    return top;
  }
}
