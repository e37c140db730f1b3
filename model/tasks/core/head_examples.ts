/**
 * Texts for a head of labels: which tokens its items read, in each way of reading, and batches of as
 * many texts as fit, each of which begins a document.
 * @module
 */
import type { CountedBatch } from "../../mamba/batch.ts";
import type { HeadConfig, HeadContext } from "../../mamba/head.ts";
import { IGNORED_TARGET, type ItemBatch } from "../../mamba/types.ts";
import type { SupervisedExample } from "./examples.ts";
import { firstFit } from "./first_fit.ts";

/**
 * What a slot of an item reads, by tokens of its text: a word, whose state is that of its last token
 * read forward and of its first token read backward; the mean of some tokens; or the whole text, whose
 * state is that of the last token in either way.
 */
export type Mark =
  | { kind: "word" | "mean"; from: number; to: number }
  | { kind: "text" };

/** An item of a text. */
export interface MarkedItem {
  marks: readonly Mark[];
  /** The label's number, K values of 0 and 1, or a value: by the head's loss. */
  target: number | readonly number[];
  /** What its loss is multiplied with; 1 by default. */
  weight?: number;
  /** Its sparse features, where the head has such: numbers below the head's F. */
  sparse?: Uint32Array;
}

/** A text, without the boundary token, and its items. */
export interface MarkedText {
  tokens: readonly number[];
  items: readonly MarkedItem[];
  /** Tokens that were cut from it to make it fit. */
  cut?: number;
}

/** Tokens of a text that fit rows of `maxTokens`. */
export const textLimit = (context: HeadContext, maxTokens: number): number =>
  context === "twice" ? Math.floor((maxTokens - 1) / 2) : maxTokens - 1;

/** Slots of an item of so many marks. */
export const slotsOf = (context: HeadContext, marks: number): number =>
  context === "both" ? 2 * marks : marks;

/** A text as an example: after the boundary token, once or twice. */
export function readText(
  { tokens, items, cut }: MarkedText,
  context: HeadContext,
  endOfText: number,
): SupervisedExample {
  const { length } = tokens;
  const first = context === "twice" ? 1 + length : 1;
  const range = (from: number, to: number) =>
    Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
  const forward = (mark: Mark) => {
    if (mark.kind === "text") return [first + length - 1];
    const all = range(first + mark.from, first + mark.to);
    return mark.kind === "word" ? all.slice(-1) : all;
  };
  // Token i of a reversed text stands at its length - i, after the boundary token.
  const backward = (mark: Mark) => {
    if (mark.kind === "text") return [length];
    if (mark.kind === "word") return [length - mark.from];
    return range(mark.from, mark.to).map((i) => length - i);
  };
  const read = context === "twice" ? [...tokens, ...tokens] : tokens;
  return {
    tokens: [endOfText, ...read],
    targets: [],
    cut,
    items: items.map(({ marks, target, weight = 1, sparse }) => ({
      target,
      weight,
      ...(sparse ? { sparse } : {}),
      slots: [
        ...marks.map((mark) => ({ positions: forward(mark), backward: false })),
        ...(context === "both"
          ? marks.map((mark) => ({ positions: backward(mark), backward: true }))
          : []),
      ],
    })),
  };
}

/** A batch of texts, and where each one's items are. */
export interface PackedTexts extends CountedBatch {
  items: ItemBatch;
  /** By text: its number among those that were packed, and its first item in the batch. */
  texts: { index: number; first: number; count: number }[];
}

/** Texts placed in rows by first fit: the rows, each with its texts' numbers. */
const placeTexts = (examples: readonly SupervisedExample[], length: number) =>
  firstFit(examples.map(({ tokens }, index) => ({ tokens, index })), length);

/**
 * Packs texts into as few rows as first fit takes, and rows into micro-batches. Where a head reads both
 * ways, the second half of a batch's rows holds the same texts in the same places, reversed.
 * @param batchSize rows of the model
 * @throws {RangeError} for a text that is longer than a row.
 */
export function packTexts(
  examples: readonly SupervisedExample[],
  head: HeadConfig,
  batchSize: number,
  length: number,
  endOfText: number,
): PackedTexts[] {
  const both = head.context === "both";
  const textRows = both ? batchSize / 2 : batchSize;
  const rows = placeTexts(examples, length);
  const batches: PackedTexts[] = [];
  for (let at = 0; at < rows.length; at += textRows) {
    const batch = new BatchBuilder(batchSize * length, endOfText, head);
    rows.slice(at, at + textRows).forEach((texts, r) => {
      let base = r * length;
      for (const { index } of texts) {
        const example = examples[index];
        if (!example) continue;
        batch.add(index, example, base, both ? textRows * length + base : undefined);
        base += example.tokens.length;
      }
    });
    batches.push(batch.finish());
  }
  return batches;
}

/** A batch under construction. */
class BatchBuilder {
  readonly #tokens: Uint32Array;
  readonly #starts: Uint8Array;
  readonly #entries: { item: number; slot: number; row: number; weight: number }[] = [];
  readonly #targets: number[] = [];
  readonly #weights: number[] = [];
  readonly #sparse: Uint32Array[] = [];
  readonly #sequences = [0];
  readonly #texts: PackedTexts["texts"] = [];
  readonly #endOfText: number;
  readonly #head: HeadConfig;

  constructor(size: number, endOfText: number, head: HeadConfig) {
    this.#tokens = new Uint32Array(size).fill(endOfText);
    this.#starts = new Uint8Array(size).fill(1);
    this.#endOfText = endOfText;
    this.#head = head;
  }

  /** Puts a text at row `base`, and reversed at row `backward`. */
  add(index: number, example: SupervisedExample, base: number, backward?: number): void {
    const { tokens, items = [] } = example;
    this.#put(tokens, base);
    if (backward !== undefined) {
      this.#put([this.#endOfText, ...tokens.slice(1).reverse()], backward);
    }
    const first = this.#weights.length;
    items.forEach(({ slots, target, weight, sparse }, i) => {
      if (slots.length !== this.#head.slots) {
        throw new RangeError(`An item of ${slots.length} slots for a head of ${this.#head.slots}`);
      }
      slots.forEach(({ positions, backward: reversed }, slot) => {
        const from = reversed ? backward ?? base : base;
        for (const position of positions) {
          const share = 1 / positions.length;
          this.#entries.push({ item: first + i, slot, row: from + position, weight: share });
        }
      });
      if (typeof target === "number") this.#targets.push(target);
      else this.#targets.push(...target);
      this.#weights.push(weight);
      if (this.#head.sparse) this.#sparse.push(sparse ?? new Uint32Array());
    });
    this.#texts.push({ index, first, count: items.length });
    if (items.length) this.#sequences.push(this.#weights.length);
  }

  #put(tokens: readonly number[], at: number): void {
    this.#tokens.set(tokens, at);
    this.#starts.fill(0, at + 1, at + tokens.length);
  }

  finish(): PackedTexts {
    const count = this.#weights.length;
    return {
      tokens: this.#tokens,
      starts: this.#starts,
      targets: new Int32Array(this.#tokens.length).fill(IGNORED_TARGET),
      scored: this.#weights.filter((weight) => weight !== 0).length,
      texts: this.#texts,
      items: {
        count,
        entries: this.#entries,
        targets: this.#targets,
        weights: this.#weights,
        sequences: this.#sequences,
        ...(this.#head.sparse ? { sparse: this.#sparse } : {}),
      },
    };
  }
}
