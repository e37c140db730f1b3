/**
 * The second half of a run: tokens of files that lack them, then shards.
 * @module
 */
import { exists, hashFile, writeAtomic } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import type { Corpus } from "../corpus.ts";
import { readHeldOut, withoutHeldOut } from "../overlap/contamination.ts";
import type { RunOptions } from "../run.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/mod.ts";
import {
  buildShards,
  type Manifest,
  manifestPath,
  type PackingMethod,
  readManifest,
  tokenizerPath,
} from "../shards/mod.ts";
import { compareNewFiles } from "./compare_later.ts";
import type { Policies } from "./policy.ts";
import { corpusPaths } from "./process_file.ts";
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
export interface ShardSettings extends TokenSettings {
  tokenizer: string;
  sequenceLength: number;
  packing: PackingMethod;
  validation: number;
  test: number;
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
 * The settings for tokens and shards: the corpus's own, or those given; undefined where no
 * tokenizer was ever given.
 * @throws {UserError} where they differ from what the corpus was made with.
 */
export function shardSettings(corpus: Corpus, options: RunOptions): ShardSettings | undefined {
  const { catalogue, folder } = corpus, recorded = catalogue.get("tokenizer_sha256");
  if (options.tokenizer === undefined && recorded === undefined) return undefined;
  const own = tokenizerPath(folder);
  if (options.tokenizer === undefined && (!exists(own) || hashFile(own) !== recorded)) {
    throw new UserError(
      `Cannot go on with the corpus ${folder}: ${own} is ${
        exists(own) ? "not the tokenizer it was made with" : "missing"
      }; put the one with SHA-256 ${recorded} there, or name it with --tokenizer`,
    );
  }
  const tokenizer = loadTokenizer(options.tokenizer ?? own);
  if (recorded !== undefined && tokenizer.sha256 !== recorded) {
    throw new UserError(
      `Cannot use the tokenizer ${tokenizer.path}: the corpus ${folder} was tokenized with another ` +
        `(SHA-256 ${recorded.slice(0, 12)}..., not ${tokenizer.sha256.slice(0, 12)}...); leave ` +
        "--tokenizer away, or make another corpus",
    );
  }
  const number = (key: string, option: string, given: number | undefined, fallback: number) =>
    Number(corpus.setting(key, option, given?.toString(), String(fallback)));
  const settings = {
    seed: number("seed", "--seed", options.seed, 0),
    sequenceLength: number(
      "sequence_length",
      "--sequence-length",
      options.sequenceLength,
      1024,
    ),
    packing: corpus.setting("packing", "--packing", options.packing, "best-fit") as PackingMethod,
    validation: number("validation", "--validation", options.validation, 0.005),
    test: number("test", "--test", options.test, 0.005),
  };
  keepTokenizer(tokenizer, own);
  catalogue.transaction(() => {
    catalogue.set("tokenizer_sha256", tokenizer.sha256);
    catalogue.set("seed", String(settings.seed));
    catalogue.set("sequence_length", String(settings.sequenceLength));
    catalogue.set("packing", settings.packing);
    catalogue.set("validation", String(settings.validation));
    catalogue.set("test", String(settings.test));
  });
  return { ...settings, tokenizer: own, tokenizerSha256: tokenizer.sha256 };
}

/** The tokenizer's file stays with the corpus, so that later runs need no --tokenizer. */
function keepTokenizer(tokenizer: Tokenizer, path: string): void {
  if (tokenizer.path !== path) writeAtomic(path, Deno.readFileSync(tokenizer.path));
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
  options: Pick<RunOptions, "signal" | "onProgress">,
): Promise<ShardSummary> {
  const { catalogue, folder } = corpus, { signal, onProgress } = options;
  const { sequenceLength, packing, seed, validation, test } = settings;
  await makeTokens(corpus, pool, settings, policies, options);
  pool.release();
  const files = catalogue.files();
  await compareNewFiles(corpus, signal);
  const heldOut = readHeldOut(folder);
  const state = JSON.stringify([
    ...[catalogue.generation, sequenceLength, seed, validation, test],
    ...[heldOut.digest, packing],
  ]);
  if (catalogue.get("shards") === state && exists(manifestPath(folder))) {
    return { written: false, figures: figuresOf(readManifest(folder)) };
  }
  const manifest = await buildShards({
    corpus: folder,
    tokenFiles: files.map((f) => ({ source: f.name, path: corpusPaths.tokens(folder, f.name) })),
    live: withoutHeldOut(new LiveBits(catalogue), heldOut),
    tokenizer: loadTokenizer(settings.tokenizer),
    ...{ sequenceLength, packing, seed, validation, test },
    sourceFiles: files.map((f) => ({ name: f.name, md5: f.md5 })),
    onProgress: (done, total) => onProgress?.("shards", done, total),
    ...(signal ? { signal } : {}),
  });
  catalogue.set("shards", state);
  return { written: true, figures: figuresOf(manifest) };
}

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
  let done = 0, failure: unknown;
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
  if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
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
