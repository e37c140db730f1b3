/** What the trainer and the evaluator ask of a corpus. @module */
import { UserError } from "../core/errors.ts";

/** A part of a corpus that is held apart from the others. */
export type Split = "train" | "validation" | "test";

/** Packed rows of one split. */
export interface RowSource {
  readonly rows: number;
  /** Row `index`: sequenceLength token ids. */
  row(index: number): Uint16Array;
  /** The row at a place in the training order, where that is not `sampleRow`'s: a mix's. */
  draw?(seed: number, index: number): Uint16Array;
}

/** A tokenized, packed corpus. */
export interface TrainingCorpus {
  readonly path: string;
  readonly manifestSha256: string;
  /** SHA-256 of the tokenizer.json it was tokenized with. */
  readonly tokenizerSha256: string;
  readonly vocabularySize: number;
  readonly endOfText: number;
  readonly sequenceLength: number;
  /** The bytes of its tokenizer.json. */
  tokenizer(): Uint8Array;
  split(name: Split): RowSource;
}

/** @throws {UserError} where a split has no rows, or rows have no length. */
export function requireRows(corpus: TrainingCorpus, split: Split): RowSource {
  if (!(corpus.sequenceLength >= 2)) {
    throw new UserError(
      `Cannot use the corpus ${corpus.path}: its sequence length is ${corpus.sequenceLength}, ` +
        `at least 2 is needed; build it again with --sequence-length`,
    );
  }
  const source = corpus.split(split);
  if (source.rows === 0) {
    throw new UserError(
      `Cannot use the corpus ${corpus.path}: its ${split} split is empty; add source files` +
        (split === "train" ? "" : ` or build it with a larger ${split} share`),
    );
  }
  return source;
}
