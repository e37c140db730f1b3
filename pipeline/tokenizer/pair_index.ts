/**
 * Every pair of neighbouring tokens, how often it occurs, and the pretokens it occurs in; plus a
 * queue that gives the most frequent pair. All in typed arrays: there are millions of pairs.
 * @module
 */
import { float64At, int32At, uint32At } from "../../core/nth.ts";

/** Pairs are numbered from 0 as they appear. */
export class PairIndex {
  /** Open addressing from left << 16 | right to the pair's number + 1; 0 where free. */
  #slots = new Int32Array(1 << 18);
  #keys = new Uint32Array(1 << 16);
  /** How often each pair occurs now. */
  #counts = new Float64Array(1 << 16);
  /** The count under which the pair stands in the queue; 0 where it does not. */
  #queued = new Float64Array(1 << 16);
  /** The head of each pair's list of pretokens, an index into #words and #next; -1 for the end. */
  #heads = new Int32Array(1 << 16);
  #words = new Int32Array(1 << 18);
  #next = new Int32Array(1 << 18);
  #listed = 0;
  #size = 0;
  readonly #queue = new PairQueue();

  #numberOf(left: number, right: number): number {
    const key = (left << 16 | right) >>> 0;
    const mask = this.#slots.length - 1;
    let slot = this.#slotOf(key, mask);
    for (;; slot = (slot + 1) & mask) {
      const found = int32At(this.#slots, slot);
      if (found === 0) break;
      if (this.#keys[found - 1] === key) return found - 1;
    }
    const n = this.#size++;
    if (n >= this.#keys.length) this.#grow();
    this.#keys[n] = key;
    this.#heads[n] = -1;
    this.#slots[slot] = n + 1;
    if (this.#size * 2 > this.#slots.length) this.#rehash();
    return n;
  }

  #slotOf(key: number, mask: number): number {
    const h = Math.imul(key ^ key >>> 15, 0x9e3779b1);
    return (h ^ h >>> 15) & mask;
  }

  /** Adds `count` to a pair that occurs in pretoken `word` from now on. */
  add(left: number, right: number, count: number, word: number): void {
    const n = this.#numberOf(left, right);
    const head = int32At(this.#heads, n);
    this.#counts[n] = float64At(this.#counts, n) + count;
    if (head >= 0 && this.#words[head] === word) return; // twice in the same pretoken
    if (this.#listed >= this.#words.length) {
      const words = new Int32Array(this.#words.length * 2);
      const next = new Int32Array(words.length);
      words.set(this.#words);
      next.set(this.#next);
      this.#words = words;
      this.#next = next;
    }
    this.#words[this.#listed] = word;
    this.#next[this.#listed] = head;
    this.#heads[n] = this.#listed++;
  }

  /** Takes `count` from a pair. Its pretokens stay listed: whoever walks them looks again. */
  subtract(left: number, right: number, count: number): void {
    const n = this.#numberOf(left, right);
    this.#counts[n] = float64At(this.#counts, n) - count;
  }

  /** Sets a pair's count to nothing, once all of its occurrences are merged. */
  forget(left: number, right: number): void {
    this.#counts[this.#numberOf(left, right)] = 0;
  }

  /** Puts a pair into the queue under its present count, where that has grown. */
  enqueue(left: number, right: number): void {
    const n = this.#numberOf(left, right);
    if (float64At(this.#counts, n) > float64At(this.#queued, n)) {
      this.#queue.push(this.#queued[n] = float64At(this.#counts, n), uint32At(this.#keys, n), n);
    }
  }

  /** Puts every pair into the queue. */
  enqueueAll(): void {
    for (let n = 0; n < this.#size; n++) {
      this.#queue.push(this.#queued[n] = float64At(this.#counts, n), uint32At(this.#keys, n), n);
    }
  }

  /**
   * Takes the pair of the highest count out of the index; of equals, that of the smaller left id,
   * then the smaller right id. Null when none occurs at least `minimum` times.
   * @returns the ids, the count, and the pretokens it may occur in, in the order they were listed
   */
  take(minimum: number): { left: number; right: number; count: number; words: Int32Array } | null {
    for (let top = this.#queue.pop(); top; top = this.#queue.pop()) {
      const { number: n } = top;
      const count = float64At(this.#counts, n);
      if (top.count !== this.#queued[n]) continue; // a newer entry stands for this pair
      if (top.count < minimum) return null; // counts only fall until they are queued anew
      this.#queued[n] = 0;
      if (count !== top.count) {
        if (count >= minimum) this.#queue.push(this.#queued[n] = count, uint32At(this.#keys, n), n);
        continue;
      }
      const words: number[] = [];
      for (let i = int32At(this.#heads, n); i >= 0; i = int32At(this.#next, i)) {
        words.push(int32At(this.#words, i));
      }
      this.#heads[n] = -1;
      this.#counts[n] = 0;
      const key = uint32At(this.#keys, n);
      return { left: key >>> 16, right: key & 0xffff, count, words: Int32Array.from(words) };
    }
    return null;
  }

  #grow(): void {
    const size = this.#keys.length * 2;
    const keys = new Uint32Array(size);
    const heads = new Int32Array(size);
    const counts = new Float64Array(size);
    const queued = new Float64Array(size);
    keys.set(this.#keys);
    heads.set(this.#heads);
    counts.set(this.#counts);
    queued.set(this.#queued);
    this.#keys = keys;
    this.#heads = heads;
    this.#counts = counts;
    this.#queued = queued;
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    for (let n = 0; n < this.#size; n++) {
      let slot = this.#slotOf(uint32At(this.#keys, n), mask);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = n + 1;
    }
  }
}

/** A binary heap: highest count first, then the smallest key. */
class PairQueue {
  #counts = new Float64Array(1 << 16);
  #keys = new Uint32Array(1 << 16);
  #numbers = new Int32Array(1 << 16);
  #size = 0;

  #before(count: number, key: number, i: number): boolean {
    return count > float64At(this.#counts, i) ||
      count === this.#counts[i] && key < uint32At(this.#keys, i);
  }

  #place(i: number, count: number, key: number, number: number): void {
    this.#counts[i] = count;
    this.#keys[i] = key;
    this.#numbers[i] = number;
  }

  #move(from: number, to: number): void {
    const count = float64At(this.#counts, from);
    this.#place(to, count, uint32At(this.#keys, from), int32At(this.#numbers, from));
  }

  push(count: number, key: number, number: number): void {
    if (this.#size >= this.#counts.length) {
      const counts = new Float64Array(this.#size * 2);
      const keys = new Uint32Array(this.#size * 2);
      const numbers = new Int32Array(this.#size * 2);
      counts.set(this.#counts);
      keys.set(this.#keys);
      numbers.set(this.#numbers);
      this.#counts = counts;
      this.#keys = keys;
      this.#numbers = numbers;
    }
    let i = this.#size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(count, key, parent)) break;
      this.#move(parent, i);
      i = parent;
    }
    this.#place(i, count, key, number);
  }

  pop(): { count: number; number: number } | undefined {
    if (this.#size === 0) return undefined;
    const top = { count: float64At(this.#counts, 0), number: int32At(this.#numbers, 0) };
    const n = --this.#size;
    const count = float64At(this.#counts, n);
    const key = uint32At(this.#keys, n);
    const number = int32At(this.#numbers, n);
    let i = 0;
    for (let child = 1; child < n; child = 2 * i + 1) {
      const other = child + 1;
      if (
        other < n &&
        this.#before(float64At(this.#counts, other), uint32At(this.#keys, other), child)
      ) child = other;
      if (!this.#before(float64At(this.#counts, child), uint32At(this.#keys, child), n)) break;
      this.#move(child, i);
      i = child;
    }
    this.#place(i, count, key, number);
    return top;
  }
}
