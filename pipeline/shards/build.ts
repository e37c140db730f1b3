/**
 * Builds the shards of a corpus from its token files. A shard depends only on which documents are
 * live, never on the order in which they came: a refreshed corpus equals one made from nothing.
 * @module
 */
import { join } from "../../core/std.ts";
import {
  exists,
  hashFile,
  readJson,
  removeIfExists,
  sha256,
  writeAtomic,
} from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { breathe } from "../../core/breathe.ts";
import {
  type Manifest,
  manifestPath,
  PIPELINE_VERSION,
  type ShardEntry,
  shardsFolder,
  sumShards,
  tokenizerPath,
} from "./manifest.ts";
import { keepPinned } from "./kept.ts";
import { contaminationPath, unfinishedPath } from "../corpus_paths.ts";
import { type Split, SPLITS } from "./order.ts";
import type { PackingMethod } from "./packing.ts";
import { DocumentIndex, type LiveSet, MAX_SHARD_BITS, type SplitSize } from "./shard_documents.ts";
import { writeShard } from "./shard_writer.ts";

/** How many documents are packed together: more of them leave less padding and take more memory. */
const PACKING_WINDOW = 65_536;
/** The most bytes of a shard's file of tokens. */
const MAX_SHARD_BYTES = 256 * 2 ** 20;
/** Shards are planned this much smaller than the limit, because their sizes vary. */
const SIZE_MARGIN = 1.1;

/** What to build shards from, and how. */
export interface ShardOptions {
  /** The corpus folder. */
  corpus: string;
  /** Their hashes are part of the shards' digests; they are computed where they are not given. */
  tokenFiles: { source: string; path: string; sha256?: string }[];
  live: LiveSet;
  tokenizer: Tokenizer;
  sequenceLength: number;
  seed: number;
  /** The share of documents held out for validation, 0 to 1. */
  validation: number;
  /** The share of documents held out for testing. */
  test: number;
  sourceFiles: { name: string; md5: string }[];
  /** Best fit by default. */
  packing?: PackingMethod;
  /** Documents packed together; {@linkcode PACKING_WINDOW} by default. */
  window?: number;
  /** The size in bytes that a shard's tokens stay under; 256 MiB by default. */
  maxShardBytes?: number;
  /** Told of documents done, of all. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Builds or brings up to date `shards/` and the copy of the tokenizer in the corpus folder. Shards
 * whose documents are what they were are left alone; a stopped build goes on where it stopped.
 * @throws {UserError} where options make no sense, no document is live, or a token file is of
 *   another tokenizer.
 * @throws {Interrupted} where the signal fires.
 */
export async function buildShards(options: ShardOptions): Promise<Manifest> {
  checkOptions(options);
  keepPinned(options.corpus);
  const { corpus, tokenizer, sequenceLength, seed, validation, test } = options;
  const packing = {
    method: options.packing ?? "best-fit" as const,
    seed,
    window: options.window ?? PACKING_WINDOW,
  };
  const tokenFiles = [...options.tokenFiles].sort((a, b) => a.source < b.source ? -1 : 1);
  const sources = [...options.sourceFiles].sort((a, b) => a.name < b.name ? -1 : 1);
  const md5s = new Map(sources.map((s) => [s.name, s.md5]));
  // What a shard is made from: the source file, and the very bytes of its tokens.
  const origins = new Map(tokenFiles.map(({ source, path, sha256 }) => [
    source,
    `${md5s.get(source) ?? ""} ${sha256 ?? hashFile(path)}`,
  ]));
  const selection = {
    tokenFiles,
    live: options.live,
    tokenizerSha256: tokenizer.sha256,
    seed,
    validation,
    test,
  };
  const index = new DocumentIndex(selection, sequenceLength);
  if (index.sizes.train.documents === 0) {
    throw new UserError(
      `Cannot make shards of the corpus ${corpus}: it has no documents to train on; ` +
        (exists(contaminationPath(corpus))
          ? "contamination.json says which of them are held out for evaluation"
          : exists(join(corpus, "rejected"))
          ? "look into rejected/ for what was dropped, and why"
          : "give texts that are not empty, or hold out less of them"),
    );
  }
  const folder = shardsFolder(corpus);
  const ledger = new Ledger(corpus);
  const settings = JSON.stringify([
    PIPELINE_VERSION,
    sequenceLength,
    tokenizer.sha256,
    tokenizer.endOfText,
    packing,
  ]);
  const total = SPLITS.reduce((sum, s) => sum + index.sizes[s].documents, 0);
  const splits = {} as Manifest["splits"];
  let done = 0;
  for (const split of SPLITS) {
    const size = index.sizes[split];
    const shards: ShardEntry[] = [];
    const bits = shardBits(
      expectedRows(size, sequenceLength, packing.method) * sequenceLength * 2,
      options.maxShardBytes ?? MAX_SHARD_BYTES,
    );
    for (let shard = 0; shard < 2 ** bits && size.documents > 0; shard++) {
      await breathe();
      if (options.signal?.aborted) {
        throw new Interrupted("Stopped while packing; run again to go on");
      }
      const name = `${split}-${String(shard).padStart(5, "0")}`;
      const documents = index.documents(split, shard, bits);
      const digest = documents.digest(settings, (source) => origins.get(source) ?? "");
      let entry = ledger.unchanged(name, digest);
      if (!entry && documents.count > 0) {
        ledger.record(name, null);
        entry = await writeShard(documents, digest, {
          folder,
          stem: `${split}/${name}`,
          sequenceLength,
          endOfText: tokenizer.endOfText,
          window: packing.window,
          method: packing.method,
          signal: options.signal,
        });
        ledger.record(name, entry);
      }
      if (entry) shards.push(entry);
      options.onProgress?.(done += documents.count, total);
    }
    splits[split] = sumShards(shards, sequenceLength, bits);
  }
  const manifest: Manifest = {
    format: 1,
    pipeline_version: PIPELINE_VERSION,
    sequence_length: sequenceLength,
    vocabulary_size: tokenizer.vocabularySize,
    end_of_text: tokenizer.endOfText,
    tokenizer_sha256: tokenizer.sha256,
    packing,
    validation,
    test,
    sources,
    splits,
  };
  copyTokenizer(tokenizer, corpus);
  writeIfChanged(manifestPath(corpus), JSON.stringify(manifest, null, 1) + "\n");
  ledger.close(manifest);
  return manifest;
}

function checkOptions({ corpus, sequenceLength, validation, test, window }: ShardOptions): void {
  const fail = (what: string): never => {
    throw new UserError(`Cannot make shards of the corpus ${corpus}: ${what}`);
  };
  if (!Number.isInteger(sequenceLength) || sequenceLength < 2) {
    fail(`the sequence length is ${sequenceLength}; it must be a whole number of at least 2`);
  }
  if (!(validation >= 0 && test >= 0 && validation + test < 1)) {
    fail(
      `the shares held out are ${validation} for validation and ${test} for test; ` +
        "each must be 0 or more and their sum under 1",
    );
  }
  if (window !== undefined && !(window >= 1)) fail(`the packing window is ${window} documents`);
}

/** A good guess at the number of rows, a function of the live documents alone. */
function expectedRows(size: SplitSize, rowLength: number, method: PackingMethod): number {
  if (method === "one-per-row") return size.pieces;
  return Math.max(size.tokens / rowLength, method === "best-fit" ? size.large : 0);
}

/** The least b such that 2^b shards of these bytes in all stay under the limit each. */
export function shardBits(bytes: number, limit: number): number {
  let bits = 0;
  while (bits < MAX_SHARD_BITS && bytes * SIZE_MARGIN / 2 ** bits > limit) bits++;
  return bits;
}

/** The tokenizer's file travels with the corpus, so that a model can be shipped with it. */
function copyTokenizer(tokenizer: Tokenizer, corpus: string): void {
  if (tokenizer.path === "" || tokenizer.path === tokenizerPath(corpus)) return;
  writeIfChanged(tokenizerPath(corpus), Deno.readFileSync(tokenizer.path));
}

function writeIfChanged(path: string, data: Uint8Array | string): void {
  if (!exists(path) || hashFile(path) !== sha256(data)) writeAtomic(path, data);
}

/**
 * Which shards on disk are known to be whole, and made from what: the last manifest's, and those
 * of a build that was stopped.
 */
class Ledger {
  readonly #folder: string;
  readonly #path: string;
  readonly #entries = new Map<string, ShardEntry>();
  #unfinished: Record<string, ShardEntry | null> = {};

  constructor(corpus: string) {
    this.#folder = shardsFolder(corpus);
    this.#path = unfinishedPath(corpus);
    if (exists(manifestPath(corpus))) {
      const last = readJson<Partial<Manifest>>(manifestPath(corpus), "manifest");
      for (const split of Object.values(last.splits ?? {})) {
        for (const entry of split.shards) this.#entries.set(entry.name, entry);
      }
    }
    if (exists(this.#path)) this.#unfinished = readJson(this.#path, "list of shards");
    for (const [name, entry] of Object.entries(this.#unfinished)) {
      if (entry) this.#entries.set(name, entry);
      else this.#entries.delete(name);
    }
  }

  /** The entry of a shard that need not be written; null where it must be. */
  unchanged(name: string, digest: string): ShardEntry | null {
    const entry = this.#entries.get(name);
    if (entry?.digest !== digest) return null;
    const whole = [entry.tokens_file, entry.documents_file].every(({ path, bytes }) => {
      const file = join(this.#folder, path);
      return exists(file) && Deno.statSync(file).size === bytes;
    });
    return whole ? entry : null;
  }

  /** Notes that a shard is being written (null), or has been. */
  record(name: string, entry: ShardEntry | null): void {
    this.#unfinished[name] = entry;
    writeAtomic(this.#path, JSON.stringify(this.#unfinished));
  }

  /** Ends the build: removes what the manifest does not name. */
  close(manifest: Manifest): void {
    for (const split of SPLITS) {
      const folder = join(this.#folder, split);
      if (!exists(folder)) continue;
      const named = new Set(
        manifest.splits[split].shards.flatMap((s) => [s.tokens_file.path, s.documents_file.path]),
      );
      for (const { name } of Deno.readDirSync(folder)) {
        if (isShardFile(name, split) && !named.has(`${split}/${name}`)) {
          removeIfExists(join(folder, name));
        }
      }
    }
    removeIfExists(this.#path);
  }
}

/** True for names that this program gives; whatever else lies in the folder is not ours. */
function isShardFile(name: string, split: Split): boolean {
  return new RegExp(`^${split}-\\d{5}\\.(tokens\\.npy|documents\\.parquet)(\\.partial)?$`).test(
    name,
  );
}
