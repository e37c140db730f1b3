/** What the trainer and the evaluator ask of a corpus. @module */
import { UserError } from "../../core/errors.ts";
import type { Reporter } from "../../core/reporter.ts";
import { type SelectionSpec, selects } from "../../pipeline/selection/selection.ts";

/** A part of a corpus that is held apart from the others. */
export type Split = "train" | "validation" | "test";

/** Packed rows of one split. */
export interface RowSource {
  /** How many rows there are. */
  readonly rows: number;
  /** Tokens in all rows, padding left out, where that is known. */
  readonly tokens?: number;
  /** Distinct documents, and documents with repetitions, where that is known. */
  readonly documents?: number;
  /** Rows that a pass draws, where they are drawn. */
  readonly drawn?: number;
  /** Of a mix: what there is of each corpus, or what was selected of it, and its share of tokens. */
  readonly parts?: readonly { name: string; source: RowSource; share?: number }[];
  /** Row `index`: sequenceLength token ids. */
  row(index: number): Uint16Array;
  /** The row at a place in the training order, where `sampleRow` does not decide it: of a mix or a selection. */
  draw?(seed: number, index: number): Uint16Array;
}

/** SHA-256 of the manifest of a corpus's shards; of a mix, one for each corpus, in its order. */
export type ShardsHash = string | readonly string[];

/** A tokenized, packed corpus. */
export interface TrainingCorpus {
  /** The corpus folder, or a mix as it was given. */
  readonly path: string;
  /** Hash of everything that the rows follow from: corpora with the same hash have the same rows. */
  readonly manifestSha256: string;
  /** The hash of its shards alone, whatever is selected of them; of a mix, one for each corpus. */
  readonly shardsSha256?: ShardsHash;
  /** SHA-256 of the tokenizer.json it was tokenized with. */
  readonly tokenizerSha256: string;
  /** Ids of the tokenizer. */
  readonly vocabularySize: number;
  /** The id that begins and ends documents. */
  readonly endOfText: number;
  /** Tokens of a row. */
  readonly sequenceLength: number;
  /** The bytes of its tokenizer.json. */
  tokenizer(): Uint8Array;
  /** The rows of a split. */
  split(name: Split): RowSource;
  /**
   * The same corpus with some of its training documents, and in another order. The rows are read
   * through this corpus, which stays open.
   */
  select?(spec: SelectionSpec): Promise<TrainingCorpus>;
  /** Shards of an earlier state that were kept for runs; undefined where they were not. */
  kept?(shardsSha256: ShardsHash): TrainingCorpus | undefined;
  /**
   * Notes that a run needs shards of these hashes, or, without any, that it needs none more.
   * @throws {UserError} where the shards that were opened are not there any more, and were not kept.
   */
  pin?(run: string, shardsSha256: readonly ShardsHash[]): void;
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

/**
 * The corpus with the documents that a configuration selects; itself where it selects none.
 * @throws {UserError} where the selection is malformed, leaves nothing, or the corpus has no documents.
 */
export async function selectedCorpus(
  corpus: TrainingCorpus,
  spec: SelectionSpec,
  reporter: Reporter,
): Promise<TrainingCorpus> {
  if (!selects(spec)) {
    if (spec.scores === "") return corpus;
    throw new UserError(
      `Cannot use the scores in ${spec.scores}: give a filter, an upsampling or a curriculum by them`,
    );
  }
  if (!corpus.select) {
    throw new UserError(
      `Cannot select documents of ${corpus.path}: nothing is known of its documents; leave the ` +
        "filter, the upsampling and the curriculum away",
    );
  }
  const selected = await corpus.select(spec);
  const train = selected.split("train");
  for (const { name, source } of train.parts ?? [{ name: "", source: train }]) {
    reporter.log(described(source, name, corpus.sequenceLength));
  }
  return selected;
}

/** What was selected, of one corpus of a mix or of all ("" for a name). */
function described(
  { documents, drawn, tokens = 0, rows }: RowSource,
  name: string,
  length: number,
): string {
  const of = name === "" ? "" : ` of ${name}`;
  if (documents === undefined) return `Selected all documents${of}: no rule is for them`;
  const number = (n = 0) => n.toLocaleString("en");
  return `Selected ${number(documents)} documents${of}, ${number(drawn)} with repetitions: ` +
    `${number(tokens)} tokens in ${number(rows)} rows per pass, ` +
    `${(100 - 100 * tokens / (rows * length)).toFixed(1)}% padding`;
}
