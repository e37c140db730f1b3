/**
 * The second half of a run: tokens of files that lack them, then shards.
 * @module
 */
import { exists, hashFile } from "../../core/files.ts";
import { fail, Interrupted, UserError } from "../../core/errors.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import type { Corpus } from "../corpus.ts";
import { readHeldOut, withoutHeldOut } from "../overlap/contamination.ts";
import { type PackingSettings, recordPackingSettings } from "../corpus_settings.ts";
import { recordFile } from "../recorded_files.ts";
import type { RunOptions } from "./run_options.ts";
import { loadTokenizer } from "../tokenizer/mod.ts";
import {
  beginShards,
  buildShards,
  corpusTokenizer,
  figuresOf,
  keepTokenizer,
  manifestPath,
  presentShards,
  type ShardSummary,
  tokenizerPath,
} from "../shards/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { checkDocuments } from "./check_documents.ts";
import { compareNewFiles } from "./compare_later.ts";
import type { Policies } from "./policy.ts";
import { corpusPaths } from "../corpus_paths.ts";
import type { WorkerPool } from "./worker_pool.ts";
import type { TokenSettings } from "./worker_protocol.ts";

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
  const tokenizer = corpusTokenizer(folder, recorded, given);
  keepTokenizer(folder, tokenizer);
  catalogue.transaction(() => recordPackingSettings(catalogue, settings, tokenizer.sha256));
  const { sequenceLength, packing, seed, validation, test } = settings;
  return {
    sequenceLength,
    packing,
    seed,
    validation,
    test,
    tokenizer: tokenizerPath(folder),
    tokenizerSha256: tokenizer.sha256,
  };
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
      const made = outcome.tokens ?? fail(`the worker made no tokens of ${file.name}`);
      catalogue.setTokens(file.number, made.tokens, made.sha256);
      onProgress?.("tokens", ++done, waiting.length);
    } catch (error) {
      failure ??= error;
    }
  }));
  if (signal?.aborted) throw stopped();
  if (failure !== undefined) throw failure;
}
