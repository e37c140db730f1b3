/** Supervised examples, and batches of them. @module */
import type { CountedBatch } from "../../mamba/batch.ts";
import { IGNORED_TARGET } from "../../mamba/types.ts";
import { firstFit } from "./first_fit.ts";

/** An item as positions of an example's tokens. */
export interface ReadItem {
  /** By slot: positions in the example's tokens, or where `backward` in the reversed ones. */
  slots: readonly { positions: readonly number[]; backward: boolean }[];
  target: number | readonly number[];
  weight: number;
  /** Its sparse features, where the head has such. */
  sparse?: Uint32Array;
}

/** A document, which begins with the boundary token, and what is learned from it. */
export interface SupervisedExample {
  tokens: number[];
  /** What to predict at each position; {@linkcode IGNORED_TARGET} where nothing is learned. */
  targets: number[];
  /** Tokens that were cut from its context to make it fit. */
  cut?: number;
  /** What a head of labels learns from it, in place of the targets. */
  items?: readonly ReadItem[];
}

/** A prompt whose answer is learned. The answer's last token is only predicted, never read. */
export function answerExample(prompt: number[], answer: number[]): SupervisedExample {
  const ignored = new Array<number>(prompt.length - 1).fill(IGNORED_TARGET);
  return { tokens: [...prompt, ...answer.slice(0, -1)], targets: [...ignored, ...answer] };
}

/**
 * Packs examples into as few rows as first-fit takes, and rows into micro-batches. Each example
 * begins a document, so that rows may hold several.
 * @throws {RangeError} for an example that is longer than a row.
 */
export function packExamples(
  examples: readonly SupervisedExample[],
  batchSize: number,
  length: number,
  endOfText: number,
): CountedBatch[] {
  const rows = firstFit(examples, length);
  const batches: CountedBatch[] = [];
  for (let at = 0; at < rows.length; at += batchSize) {
    const batch: CountedBatch = {
      tokens: new Uint32Array(batchSize * length).fill(endOfText),
      starts: new Uint8Array(batchSize * length).fill(1),
      targets: new Int32Array(batchSize * length).fill(IGNORED_TARGET),
      scored: 0,
    };
    rows.slice(at, at + batchSize).forEach((row, r) => {
      let base = r * length;
      for (const { tokens, targets } of row) {
        batch.tokens.set(tokens, base);
        batch.starts.fill(0, base + 1, base + tokens.length);
        batch.targets.set(targets, base);
        batch.scored += targets.filter((target) => target >= 0).length;
        base += tokens.length;
      }
    });
    batches.push(batch);
  }
  return batches;
}
