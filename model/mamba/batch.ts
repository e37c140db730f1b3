/** Micro-batches from packed rows. @module */
import { nth } from "../../core/nth.ts";
import { type Batch, IGNORED_TARGET } from "./types.ts";

/** A micro-batch, and how many of its positions are scored. */
export interface CountedBatch extends Batch {
  /** How many. */
  scored: number;
}

/** How many positions of a row {@linkcode makeBatch} scores. */
export function scoredPositions(row: ArrayLike<number>, endOfText: number): number {
  let scored = 0;
  for (let t = 0; t + 1 < row.length; t++) {
    if (row[t] !== endOfText || row[t + 1] !== endOfText) scored++;
  }
  return scored;
}

/**
 * A micro-batch of packed rows, each of `length` tokens; `rows` may be fewer than `batchSize`, then
 * the rest is padding that is not scored. In a row x with end-of-text id e:
 * a document starts at column 0 and where x[t] = e; position t predicts x[t + 1], except the last
 * one, and padding (x[t] = e and x[t + 1] = e).
 * @throws {RangeError} for a row of another length, or too many rows.
 */
export function makeBatch(
  rows: readonly ArrayLike<number>[],
  batchSize: number,
  length: number,
  endOfText: number,
): CountedBatch {
  if (rows.length > batchSize) throw new RangeError(`${rows.length} rows for ${batchSize}`);
  const tokens = new Uint32Array(batchSize * length).fill(endOfText);
  const starts = new Uint8Array(batchSize * length).fill(1);
  const targets = new Int32Array(batchSize * length).fill(IGNORED_TARGET);
  let scored = 0;
  rows.forEach((row, r) => {
    if (row.length !== length) throw new RangeError(`A row of ${row.length} tokens, not ${length}`);
    const base = r * length;
    for (let t = 0; t < length; t++) {
      const token = tokens[base + t] = nth(row, t);
      starts[base + t] = Number(t === 0 || token === endOfText);
      if (t + 1 === length || token === endOfText && row[t + 1] === endOfText) continue;
      targets[base + t] = nth(row, t + 1);
      scored++;
    }
  });
  return { tokens, starts, targets, scored };
}
