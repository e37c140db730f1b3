/**
 * A run whose corpus was refreshed: it goes on with the shards that it began with, or takes the new ones
 * from the next epoch on. Which shards each place of the training order reads is kept in run.json.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { sampleRow } from "../../pipeline/selection/sampler.ts";
import type { RowSource, ShardsHash, TrainingCorpus } from "./corpus.ts";

/** From where on a run reads other shards. */
export interface FollowedCorpus {
  /** When it was decided. */
  at: string;
  /** The first place of the training order that is read from them. */
  from_row: number;
  /** The epoch that begins there, from 0. */
  epoch: number;
  manifest_sha256: string;
  /** Of the shards alone, where documents of them are selected too. */
  shards_sha256?: ShardsHash;
}

/** Shards with the places that are read from them. */
export interface CorpusSegment {
  corpus: TrainingCorpus;
  /** The first place. */
  from: number;
  /** The epoch that begins there. */
  epoch: number;
}

/** The next beginning of an epoch at or after a place, and its number. */
export function nextEpoch(
  { corpus, from, epoch }: CorpusSegment,
  place: number,
): { from: number; epoch: number } {
  const { rows } = corpus.split("train");
  const passes = Math.ceil(Math.max(0, place - from) / rows);
  return { from: from + passes * rows, epoch: epoch + passes };
}

/**
 * One corpus of several, whose training rows come from each in turn; everything else is the last one's.
 * @throws {UserError} where the shards do not belong to the same tokenizer and length of rows
 */
export function followingCorpus(segments: readonly CorpusSegment[]): TrainingCorpus {
  const last = segments.at(-1);
  const first = segments[0];
  if (!last || !first) throw new RangeError("There are no shards to follow");
  if (segments.length === 1 && first.from === 0) return first.corpus;
  const { corpus } = last;
  const differs = segments.find(({ corpus: other }) =>
    other.tokenizerSha256 !== corpus.tokenizerSha256 ||
    other.sequenceLength !== corpus.sequenceLength
  );
  if (differs) {
    throw new UserError(
      `Cannot follow the corpus ${corpus.path}: it has another tokenizer or other rows now; go on ` +
        "without --follow",
    );
  }
  const sources = segments.map(({ corpus: own }) => own.split("train"));
  const own = corpus.split("train");
  const train: RowSource = {
    rows: own.rows,
    tokens: own.tokens,
    documents: own.documents,
    drawn: own.drawn,
    parts: own.parts,
    row: (index) => own.row(index),
    draw(seed, place) {
      const at = segments.findLastIndex(({ from }) => from <= place);
      const segment = segments[at];
      const source = sources[at];
      if (!segment || !source) throw new RangeError(`Place ${place} is before the first shards`);
      // Epochs are counted on, so that none repeats the order of another.
      const index = place - segment.from + segment.epoch * source.rows;
      return source.draw?.(seed, index) ?? source.row(sampleRow(source.rows, seed, index));
    },
  };
  return {
    path: corpus.path,
    manifestSha256: corpus.manifestSha256,
    tokenizerSha256: corpus.tokenizerSha256,
    vocabularySize: corpus.vocabularySize,
    endOfText: corpus.endOfText,
    sequenceLength: corpus.sequenceLength,
    tokenizer: () => corpus.tokenizer(),
    split: (name) => name === "train" ? train : corpus.split(name),
  };
}
