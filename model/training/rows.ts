/** Which rows a step trains on: in a run of one process, or on one of several ranks. @module */
import { rankPlaces, sampleRow } from "../../pipeline/selection/sampler.ts";
import { type CountedBatch, makeBatch, scoredPositions } from "../mamba/mod.ts";
import { ALONE } from "./job.ts";
import { shareOf, type StepShare } from "./share.ts";
import type { RowSource } from "./corpus.ts";
import type { TrainConfig } from "./configuration.ts";

/** What a process computes of a step. */
export interface StepBatches {
  /** Its micro-batches. */
  batches: CountedBatch[];
  /** Scored targets of the whole step. */
  scored: number;
}

/**
 * The micro-batches of a step that a process computes: of the rows from place `first` of the training
 * order, which follows from the seed alone. Every process reads the whole step's rows, which is little
 * beside computing them, and so knows without asking how many targets are scored in all.
 */
export function sharedBatches(
  source: RowSource,
  first: number,
  { seed, share }: { seed: number; share: StepShare },
  { sequenceLength, endOfText }: { sequenceLength: number; endOfText: number },
): StepBatches {
  const { rows: size, all } = share;
  const batches: CountedBatch[] = [];
  let scored = 0;
  for (let micro = 0; micro < all; micro++) {
    const rows = Array.from({ length: size }, (_, r) => {
      const place = first + micro * size + r;
      return source.draw?.(seed, place) ?? source.row(sampleRow(source.rows, seed, place));
    });
    if (micro >= share.first && micro < share.first + share.count) {
      const batch = makeBatch(rows, size, sequenceLength, endOfText);
      batches.push(batch);
      scored += batch.scored;
    } else {
      for (const row of rows) scored += scoredPositions(row, endOfText);
    }
  }
  return { batches, scored };
}

/** The micro-batches of a step, of a process that computes all of them. */
export function stepBatches(
  source: RowSource,
  first: number,
  { seed, batch }: { seed: number; batch: Pick<TrainConfig["batch"], "rows" | "accumulate"> },
  lengths: { sequenceLength: number; endOfText: number },
): CountedBatch[] {
  const share = shareOf({ lanes: 1, ...batch }, ALONE);
  return sharedBatches(source, first, { seed, share }, lengths).batches;
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
