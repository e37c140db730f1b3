/** Finds the runs of words that texts share with a set of evaluation items. @module */
import { int32At, nth } from "../../core/nth.ts";
import type { EvaluationItem } from "./evaluation_items.ts";
import { hashNgrams, WordScanner } from "./words.ts";

/** A stretch of a text that an item has too. */
interface Overlap {
  /** The item's number, in the order of adding. */
  item: number;
  /** Where the stretch begins and ends in the text, in UTF-16 units. */
  start: number;
  end: number;
  /** The numbers of the shared runs of words, each at most once in an index. */
  ngrams: number[];
}

/** Runs of `n` words of evaluation items, by hash. 64 bits, so that chance matches do not occur. */
export class NgramIndex {
  readonly #scanner = new WordScanner();
  // Open addressing: both halves of the hash, and the run's number + 1 (0 free).
  #first = new Int32Array(1 << 12);
  #second = new Int32Array(1 << 12);
  #numbers = new Int32Array(1 << 12);
  /** The item of each run. */
  readonly #items: number[] = [];
  #itemCount = 0;
  #a = new Int32Array(1024);
  #b = new Int32Array(1024);

  /** @param n words in a run */
  constructor(readonly n: number) {}

  /** Distinct runs. */
  get size(): number {
    return this.#items.length;
  }

  /** Adds an item's runs; those that an earlier item has stay with that. */
  add(item: EvaluationItem): void {
    for (const text of item.texts) {
      const runs = this.#hash(text);
      for (let i = 0; i < runs; i++) {
        this.#insert(int32At(this.#a, i), int32At(this.#b, i), this.#itemCount);
      }
    }
    this.#itemCount++;
  }

  #hash(text: string): number {
    const words = this.#scanner.scan(text);
    if (words.count > this.#a.length) {
      this.#a = new Int32Array(words.count * 2);
      this.#b = new Int32Array(words.count * 2);
    }
    this.#words = words;
    return hashNgrams(words, this.n, this.#a, this.#b);
  }
  #words = this.#scanner.scan("");

  /** The slot of a hash: its own, or the free one where it would go. */
  #slot(a: number, b: number): number {
    const mask = this.#first.length - 1;
    let slot = (a ^ a >>> 15) & mask;
    while (this.#numbers[slot] !== 0) {
      if (this.#first[slot] === a && this.#second[slot] === b) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #insert(a: number, b: number, item: number): void {
    const slot = this.#slot(a, b);
    if (this.#numbers[slot] !== 0) return;
    this.#first[slot] = a;
    this.#second[slot] = b;
    this.#numbers[slot] = this.#items.push(item);
    if (this.#items.length * 2 > this.#first.length) this.#grow();
  }

  #grow(): void {
    const first = this.#first;
    const second = this.#second;
    const numbers = this.#numbers;
    this.#first = new Int32Array(first.length * 2);
    this.#second = new Int32Array(first.length * 2);
    this.#numbers = new Int32Array(first.length * 2);
    for (let i = 0; i < numbers.length; i++) {
      if (numbers[i] === 0) continue;
      const a = int32At(first, i);
      const b = int32At(second, i);
      const slot = this.#slot(a, b);
      this.#first[slot] = a;
      this.#second[slot] = b;
      this.#numbers[slot] = int32At(numbers, i);
    }
  }

  /** The stretches that `text` shares with items; neighbouring runs of one item are one stretch. */
  overlaps(text: string): Overlap[] {
    const runs = this.#hash(text);
    const { starts, ends } = this.#words;
    const found: Overlap[] = [];
    let last: Overlap | undefined;
    let lastRun = -1;
    for (let i = 0; i < runs; i++) {
      const slot = this.#slot(int32At(this.#a, i), int32At(this.#b, i));
      const number = int32At(this.#numbers, slot) - 1;
      if (number < 0) continue;
      const item = nth(this.#items, number);
      const end = int32At(ends, i + this.n - 1);
      if (last?.item === item && i <= lastRun + this.n) {
        last.end = end;
        last.ngrams.push(number);
      } else found.push(last = { item, start: int32At(starts, i), end, ngrams: [number] });
      lastRun = i;
    }
    return found;
  }
}
