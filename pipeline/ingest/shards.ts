/**
 * The second half of a run: tokens of files that lack them, then shards.
 * @module
 */
import { exists, hashFile, removeIfExists, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import type { Corpus } from "../corpus.ts";
import { readHeldOut, withoutHeldOut } from "../overlap/contamination.ts";
import { type PackingSettings, recordPackingSettings } from "../corpus_settings.ts";
import { type CorpusRecord, forgetFile, recordFile, stateOfRecorded } from "../recorded_files.ts";
import type { RunOptions } from "../run.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/mod.ts";
import {
  buildShards,
  type Manifest,
  manifestPath,
  readManifest,
  shardsFolder,
  tokenizerPath,
} from "../shards/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { checkDocuments } from "./check_documents.ts";
import { compareNewFiles } from "./compare_later.ts";
import type { Policies } from "./policy.ts";
import { corpusPaths } from "../corpus_paths.ts";
import type { WorkerPool } from "./worker_pool.ts";
import type { TokenSettings } from "./worker_protocol.ts";

/** What the shards hold. */
export interface ShardSummary {
  /** False where they were up to date. */
  written: boolean;
  /** Counts, by name. */
  figures: {
    tokens: number;
    rows: number;
    shards: number;
    validation_rows: number;
    test_rows: number;
  };
}

/** How a corpus is tokenized and packed. */
export interface ShardSettings extends TokenSettings, PackingSettings {
  seed: number;
  tokenizerSha256: string;
}

/** The longest rows: longer ones than any recipe uses, short enough to hold a window in memory. */
const MAX_SEQUENCE_LENGTH = 1 << 20;

/** @throws {UserError} where a row cannot have so many tokens. */
export function checkSequenceLength(length: number | undefined): void {
  if (length === undefined || length >= 2 && length <= MAX_SEQUENCE_LENGTH) return;
  throw new UserError(
    `Cannot pack rows of ${length} tokens: --sequence-length must be from 2 to ${MAX_SEQUENCE_LENGTH}`,
  );
}

/**
 * How the corpus is tokenized and packed, which is recorded in it with its tokenizer; undefined
 * where no tokenizer was ever given.
 * @param given a `tokenizer.json`; the corpus's own where it is left out
 * @throws {UserError} where the tokenizer is another than the corpus was made with.
 */
export function shardSettings(
  corpus: Corpus,
  settings: PackingSettings,
  given?: string,
): ShardSettings | undefined {
  const { catalogue, folder } = corpus;
  const recorded = catalogue.get("tokenizer_sha256");
  if (given === undefined && recorded === undefined) return undefined;
  const own = tokenizerPath(folder);
  if (given === undefined && (!exists(own) || hashFile(own) !== recorded)) {
    throw new UserError(
      `Cannot go on with the corpus ${folder}: ${own} is ${
        exists(own) ? "not the tokenizer it was made with" : "missing"
      }; put the one with SHA-256 ${recorded} there, or name it with --tokenizer`,
    );
  }
  const tokenizer = loadTokenizer(given ?? own);
  if (recorded !== undefined && tokenizer.sha256 !== recorded) {
    throw new UserError(
      `Cannot use the tokenizer ${tokenizer.path}: the corpus ${folder} was tokenized with another ` +
        `(SHA-256 ${recorded.slice(0, 12)}..., not ${tokenizer.sha256.slice(0, 12)}...); leave ` +
        "--tokenizer away, or make another corpus",
    );
  }
  if (recorded === undefined && exists(own) && hashFile(own) !== tokenizer.sha256) {
    throw new UserError(
      `Cannot keep the tokenizer ${tokenizer.path} in the corpus: ${own} is there already and is ` +
        "another; move it elsewhere, or name it with --tokenizer",
    );
  }
  keepTokenizer(tokenizer, own);
  catalogue.transaction(() => recordPackingSettings(catalogue, settings, tokenizer.sha256));
  const { sequenceLength, packing, seed, validation, test } = settings;
  return {
    sequenceLength,
    packing,
    seed,
    validation,
    test,
    tokenizer: own,
    tokenizerSha256: tokenizer.sha256,
  };
}

/** The tokenizer's file stays with the corpus, so that later runs need no --tokenizer. */
function keepTokenizer(tokenizer: Tokenizer, path: string): void {
  if (exists(path) && hashFile(path) === tokenizer.sha256) return;
  writeAtomic(path, Deno.readFileSync(tokenizer.path));
}

/**
 * Makes what is missing of tokens and shards.
 * @throws {Interrupted} where the signal fires; what is done stays.
 */
export async function buildTokensAndShards(
  corpus: Corpus,
  pool: WorkerPool,
  settings: ShardSettings,
  policies: Policies,
  options: Pick<RunOptions, "signal" | "onProgress" | "log">,
): Promise<ShardSummary> {
  const { catalogue, folder } = corpus;
  const { signal, onProgress } = options;
  const { sequenceLength, packing, seed, validation, test } = settings;
  await makeTokens(corpus, pool, settings, policies, options);
  await compareNewFiles(corpus, signal);
  const heldOut = readHeldOut(folder, catalogue);
  const stateNow = () =>
    JSON.stringify([
      catalogue.generation,
      settings.tokenizerSha256,
      sequenceLength,
      seed,
      validation,
      test,
      heldOut.digest,
      packing,
    ]);
  const present = presentShards(folder, catalogue);
  if (catalogue.get("shards") === stateNow() && present) {
    pool.release();
    return { written: false, figures: figuresOf(present) };
  }
  await renewDamagedTokens(corpus, pool, settings, policies, options);
  pool.release();
  beginShards(folder, catalogue);
  const files = catalogue.files();
  const manifest = await buildShards({
    corpus: folder,
    tokenFiles: files.map((f) => ({
      source: f.name,
      path: corpusPaths.tokens(folder, f.name),
      sha256: f.tokens_sha256 ?? "",
    })),
    live: withoutHeldOut(new LiveBits(catalogue), heldOut),
    tokenizer: loadTokenizer(settings.tokenizer),
    sequenceLength,
    packing,
    seed,
    validation,
    test,
    sourceFiles: files.map((f) => ({ name: f.name, md5: f.md5 })),
    onProgress: (done, total) => onProgress?.("shards", done, total),
    ...(signal ? { signal } : {}),
  });
  recordFile(catalogue, "manifest", manifestPath(folder));
  catalogue.set("shards", stateNow());
  return { written: true, figures: figuresOf(manifest) };
}

/** The manifest of shards that are all there as it says; undefined where anything is not. */
function presentShards(folder: string, record: CorpusRecord): Manifest | undefined {
  if (stateOfRecorded(record, "manifest", manifestPath(folder)) !== "whole") return undefined;
  const manifest = readManifest(folder);
  const files = Object.values(manifest.splits).flatMap(({ shards }) =>
    shards.flatMap((shard) => [shard.tokens_file, shard.documents_file])
  );
  const isWhole = ({ path, bytes }: { path: string; bytes: number }) => {
    const file = join(shardsFolder(folder), path);
    return exists(file) && Deno.statSync(file).size === bytes;
  };
  return files.every(isWhole) ? manifest : undefined;
}

/**
 * Notes that shards are being built, until their manifest is recorded. A manifest that is damaged is
 * removed, for it says which shards need not be written again.
 */
export function beginShards(folder: string, record: CorpusRecord): void {
  const path = manifestPath(folder);
  if (stateOfRecorded(record, "manifest", path) === "changed") removeIfExists(path);
  record.unset("shards");
  forgetFile(record, "manifest");
}

/** Makes token files again that are not what was written, before anything is built from them. */
async function renewDamagedTokens(
  corpus: Corpus,
  pool: WorkerPool,
  settings: ShardSettings,
  policies: Policies,
  options: Pick<RunOptions, "signal" | "onProgress" | "log">,
): Promise<void> {
  const { catalogue, folder } = corpus;
  let damaged = 0;
  for (const file of catalogue.files()) {
    if (options.signal?.aborted) throw stopped();
    await breathe();
    const path = corpusPaths.tokens(folder, file.name);
    if (hashFile(path) === file.tokens_sha256) continue;
    options.log?.(`${path} is not what was written; making it again`);
    catalogue.forgetTokens(file.number);
    damaged++;
  }
  if (damaged > 0) await makeTokens(corpus, pool, settings, policies, options);
}

const stopped = () => new Interrupted("Stopped; the same command goes on from here");

async function makeTokens(
  corpus: Corpus,
  pool: WorkerPool,
  { tokenizer, seed }: ShardSettings,
  policies: Policies,
  { signal, onProgress }: Pick<RunOptions, "signal" | "onProgress">,
): Promise<void> {
  const { catalogue, folder } = corpus;
  const waiting = catalogue.files().filter((f) =>
    f.state !== "tokens" || !exists(corpusPaths.tokens(folder, f.name))
  );
  for (const file of waiting) {
    if (signal?.aborted) throw stopped();
    await breathe();
    checkDocuments(folder, file);
  }
  let done = 0;
  let failure: unknown;
  await Promise.all(waiting.map(async (file) => {
    try {
      const tokens = { tokenizer, seed };
      const task = { kind: "tokens" as const, corpus: folder, source: file.name, policies, tokens };
      const outcome = await pool.run(task);
      catalogue.setTokens(file.number, outcome.tokens!.tokens, outcome.tokens!.sha256);
      onProgress?.("tokens", ++done, waiting.length);
    } catch (error) {
      failure ??= error;
    }
  }));
  if (signal?.aborted) throw stopped();
  if (failure !== undefined) throw failure;
}

/** What a manifest says of shards, in short. */
export function figuresOf({ splits }: Manifest): ShardSummary["figures"] {
  const all = Object.values(splits);
  return {
    tokens: all.reduce((n, s) => n + s.tokens, 0),
    rows: all.reduce((n, s) => n + s.rows, 0),
    shards: all.reduce((n, s) => n + s.shards.length, 0),
    validation_rows: splits.validation.rows,
    test_rows: splits.test.rows,
  };
}
