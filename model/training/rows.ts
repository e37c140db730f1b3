/** Which rows a step trains on. @module */
import { sampleRow } from "../../pipeline/selection/sampler.ts";
import { type CountedBatch, makeBatch } from "../mamba/batch.ts";
import type { RowSource } from "./corpus.ts";
import type { TrainConfig } from "./configuration.ts";

/**
 * The micro-batches of a step: the rows from place `first` of the training order, which follows from
 * the seed alone.
 */
export function stepBatches(
  source: RowSource,
  first: number,
  { seed, batch }: Pick<TrainConfig, "seed" | "batch">,
  { sequenceLength, endOfText }: { sequenceLength: number; endOfText: number },
): CountedBatch[] {
  return Array.from({ length: batch.accumulate }, (_, micro) => {
    const rows = Array.from({ length: batch.rows }, (_, r) => {
      const place = first + micro * batch.rows + r;
      return source.draw?.(seed, place) ?? source.row(sampleRow(source.rows, seed, place));
    });
    return makeBatch(rows, batch.rows, sequenceLength, endOfText);
  });
}
