/** `shards/manifest.json`: what the shards hold and what they were made from. @module */
import { exists, readJson } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { manifestPath } from "../corpus_paths.ts";
import { type Split, SPLITS } from "./order.ts";
import type { PackingMethod } from "./packing.ts";

/** Raised when equal inputs would give other shards than before. */
export const PIPELINE_VERSION = 1;

/** A file of a shard. */
export interface ShardFile {
  /** Relative to `shards/`. */
  path: string;
  /** Its size. */
  bytes: number;
  /** Of its bytes. */
  sha256: string;
}

/** One shard. */
export interface ShardEntry {
  /** "train-00000". */
  name: string;
  /** Rows of packed tokens. */
  rows: number;
  /** Documents that lie in it, wholly or in part. */
  documents: number;
  /** Without padding. */
  tokens: number;
  /** Documents that lie in more than one row. */
  split_documents: number;
  /** SHA-256 of what the shard is made from: a shard whose digest stays is not written again. */
  digest: string;
  /** The rows. */
  tokens_file: ShardFile;
  /** Which document lies where. */
  documents_file: ShardFile;
}

/** The shards of a split, and their sums. */
export interface SplitEntry {
  /** Rows of packed tokens. */
  rows: number;
  /** Documents, each counted once. */
  documents: number;
  /** Without padding. */
  tokens: number;
  /** The share of all positions that hold padding. */
  padding_share: number;
  /** Documents that lie in more than one row. */
  split_documents: number;
  /** How many leading bits of a document's order key give the number of its shard. */
  shard_bits: number;
  /** In the order of their names. */
  shards: ShardEntry[];
}

/** The manifest, as the file has it. */
export interface Manifest {
  /** Of this file. */
  format: 1;
  /** Of the program's part that makes shards: another one makes other bytes. */
  pipeline_version: number;
  /** Tokens of a row. */
  sequence_length: number;
  /** Ids of the tokenizer. */
  vocabulary_size: number;
  /** The id that begins and ends documents. */
  end_of_text: number;
  /** Of the `tokenizer.json` in the corpus folder. */
  tokenizer_sha256: string;
  /** How documents became rows. */
  packing: { method: PackingMethod; seed: number; window: number };
  /** The shares of documents held out. */
  validation: number;
  /** See `validation`. */
  test: number;
  /** The source files, with their MD5 checksums. */
  sources: { name: string; md5: string }[];
  /** What each part of the corpus holds. */
  splits: Record<Split, SplitEntry>;
}

export { manifestPath, shardsFolder, tokenizerPath } from "../corpus_paths.ts";

/**
 * Reads a corpus's manifest.
 * @throws {UserError} where there are no shards, or another version of the program made them.
 */
export function readManifest(corpus: string): Manifest {
  const path = manifestPath(corpus);
  if (!exists(path)) {
    throw new UserError(
      `Cannot find shards in the corpus ${corpus}: there is no ${path}; ` +
        (holdsTexts(corpus)
          ? `it is a folder of texts, of which "pipeline run --source ${corpus} --corpus DIR ` +
            '--tokenizer FILE" makes a corpus'
          : 'make them with "pipeline run"'),
    );
  }
  const manifest = readJson<Manifest>(path, "manifest");
  if (manifest?.format !== 1 || SPLITS.some((s) => !Array.isArray(manifest.splits?.[s]?.shards))) {
    throw new UserError(
      `Cannot use the manifest ${path}: its format is ${manifest?.format}, not 1; make the shards again`,
    );
  }
  return manifest;
}

/** True for a folder of what `pipeline run` can make a corpus of. */
function holdsTexts(folder: string): boolean {
  try {
    return [...Deno.readDirSync(folder)].some(({ name }) =>
      /\.(jsonl|ndjson|txt|parquet)$/.test(name)
    );
  } catch {
    return false;
  }
}

/** The sums over the shards of a split. */
export function sumShards(
  shards: ShardEntry[],
  sequenceLength: number,
  shardBits: number,
): SplitEntry {
  const sum = (of: (s: ShardEntry) => number) => shards.reduce((a, s) => a + of(s), 0);
  const rows = sum((s) => s.rows);
  const tokens = sum((s) => s.tokens);
  return {
    rows,
    documents: sum((s) => s.documents),
    tokens,
    padding_share: rows === 0 ? 0 : 1 - tokens / (rows * sequenceLength),
    split_documents: sum((s) => s.split_documents),
    shard_bits: shardBits,
    shards,
  };
}

/** Of all rows, the share that cutting documents would save before a notice says so. */
const MUCH_PADDING = 0.15;

/**
 * What is to be said where much of the rows is padding that cutting documents would save; undefined
 * where little is. Documents that stay whole fill rows badly where a row holds only one or two of them.
 */
export function paddingNotice(
  { splits, packing, sequence_length }: Pick<Manifest, "splits" | "packing" | "sequence_length">,
): string | undefined {
  let rows = 0;
  let cut = 0;
  for (const split of Object.values(splits)) {
    rows += split.rows;
    // A split's last row is seldom full in any way of packing.
    cut += Math.ceil(split.tokens / sequence_length);
  }
  const share = rows === 0 ? 0 : 1 - cut / rows;
  if (share <= MUCH_PADDING || packing.method === "concatenate") return undefined;
  return `${
    (100 * share).toFixed(0)
  } % of the rows is padding, as documents stay whole in rows of ` +
    `${sequence_length} tokens: "pipeline pack" takes a longer --sequence-length, or ` +
    "--packing concatenate";
}
