/** Which rows a step trains on: in a run of one process, or on one of several ranks. @module */
import { rankPlaces, sampleRow } from "../../pipeline/selection/sampler.ts";
import { type CountedBatch, makeBatch } from "../mamba/mod.ts";
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

/** A row that a rank reads. */
export interface RankRow {
  /** Its place in the training order, from 0 on over all steps and epochs. */
  place: number;
  /** Its number among the corpus's rows; a mix and a selection have none. */
  row?: number;
  /** (sequence length) token ids */
  tokens: Uint16Array;
}

/** Which rows. */
export interface RankRequest {
  /** The step, from 1. */
  step: number;
  /** Rows of a step, over all ranks. */
  rows: number;
  /** Of the order of rows: the seed of the run. */
  seed: number;
  /** This rank, from 0. */
  rank: number;
  /** How many processes share a step. */
  ranks: number;
}

/**
 * The rows of a step that a rank reads, in their order, by counting alone: ranks need not hear of each
 * other, and rank after rank they are what one rank would read, and what `train` reads with this seed
 * and as many rows per step.
 * @param source the training split of a corpus, a mix, or a selection of either
 * @throws {RangeError} where the ranks do not divide the rows, or there is no such rank
 * @throws {UserError} where a shard is missing or damaged
 */
export function* rankRows(
  source: RowSource,
  { step, rows, seed, rank, ranks }: RankRequest,
): Generator<RankRow> {
  for (const place of rankPlaces((step - 1) * rows, rows, rank, ranks)) {
    const tokens = source.draw?.(seed, place);
    if (tokens) yield { place, tokens };
    else {
      const row = sampleRow(source.rows, seed, place);
      yield { place, row, tokens: source.row(row) };
    }
  }
}
