/**
 * Corpora of texts that are not PubMed's: a folder of JSON lines, Parquet or text files becomes
 * shards as PubMed's do, to be mixed in training. Documents are numbered in the place of PMIDs.
 * @module
 */
import { join } from "../core/std.ts";
import { exists, hashFile, readJson, removeIfExists, writeAtomic } from "../core/files.ts";
import { Interrupted, UserError } from "../core/errors.ts";
import { ParquetReader } from "./documents/parquet_file.ts";
import { loadTokenizer } from "./tokenizer/mod.ts";
import {
  buildShards,
  type Manifest,
  type PackingMethod,
  TokenFileWriter,
  tokenizerPath,
} from "./tokens/mod.ts";
import { breathe } from "./tokens/breathe.ts";
import { readTextInput } from "./tokens/text_input.ts";

const TEXT_FILE = /\.(jsonl|ndjson|txt|parquet)$/;

/** What to make a corpus of, and how. TextCorpusSettings left out are the corpus's own, or defaults. */
export interface TextCorpusOptions {
  corpus: string;
  /** The folder of texts. */
  source: string;
  tokenizer?: string;
  sequenceLength?: number;
  packing?: PackingMethod;
  seed?: number;
  validation?: number;
  test?: number;
  signal?: AbortSignal;
  onProgress?: (stage: "tokens" | "shards", done: number, total: number) => void;
}

/** TextCorpusSettings that hold for the whole corpus. */
export interface TextCorpusSettings {
  sequence_length: number;
  packing: PackingMethod;
  seed: number;
  validation: number;
  test: number;
}

/** A file that was tokenized; its documents have the numbers from `first` on. */
export interface TextFile {
  name: string;
  md5: string;
  first: number;
  documents: number;
  tokens: number;
  /** SHA-256 of its token file. */
  tokens_sha256: string;
}

/** `texts.json` in the corpus folder. */
export interface TextCorpusState {
  format: 1;
  tokenizer_sha256: string;
  settings: TextCorpusSettings;
  /** The number of the next new document. */
  next: number;
  files: TextFile[];
}

/** The text files of a folder that has no PubMed files; none where it is another source. */
export function textFiles(source: string): string[] {
  let names: string[];
  try {
    names = [...Deno.readDirSync(source)].map((entry) => entry.name);
  } catch {
    return []; // a URL, or no folder
  }
  if (names.some((n) => /^(baseline|updatefiles|pubmed\d+n\d+\.xml\.gz)$/.test(n))) return [];
  return names.filter((n) => TEXT_FILE.test(n)).sort();
}

/**
 * Tokenizes the files that are new or changed and builds the shards.
 * @throws {UserError} where a file is malformed, settings differ from the corpus's own, or there is
 *   no tokenizer
 * @throws {Interrupted} where the signal fires; what is done stays
 */
export async function buildTextCorpus(options: TextCorpusOptions): Promise<Manifest> {
  const { corpus, source, signal } = options, path = textsPath(corpus);
  if (exists(join(corpus, "catalogue.sqlite"))) {
    throw new UserError(
      `Cannot bring texts into ${corpus}: it is a corpus of PubMed; make another and mix them in training`,
    );
  }
  const old = exists(path) ? readJson<TextCorpusState>(path, "list of texts") : undefined;
  const tokenizerFile = options.tokenizer ?? (old ? tokenizerPath(corpus) : undefined);
  if (tokenizerFile === undefined) {
    throw new UserError(`Cannot make a corpus of the texts in ${source}: give --tokenizer FILE`);
  }
  const tokenizer = loadTokenizer(tokenizerFile);
  if (old && old.tokenizer_sha256 !== tokenizer.sha256) {
    throw new UserError(
      `Cannot use the tokenizer ${tokenizerFile}: ${corpus} was tokenized with another; leave it ` +
        "away, or make another corpus",
    );
  }
  const settings = settingsOf(options, old?.settings);
  const state: TextCorpusState = {
    ...{ format: 1, tokenizer_sha256: tokenizer.sha256, settings, next: old?.next ?? 1 },
    files: [],
  };
  const names = textFiles(source), tokensOf = (name: string) => tokensPath(corpus, name);
  for (const [done, name] of names.entries()) {
    options.onProgress?.("tokens", done, names.length);
    const file = join(source, name), md5 = hashFile(file, "md5");
    const known = old?.files.find((f) => f.name === name && f.md5 === md5);
    if (known && exists(tokensOf(name))) {
      state.files.push(known);
      continue;
    }
    const writer = new TokenFileWriter(tokensOf(name), tokenizer, settings.seed);
    let ordinal = 0;
    for await (const text of textsOf(file)) {
      if (ordinal % 1000 === 0) await breathe();
      if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
      const pmid = state.next + ordinal;
      writer.add({ pmid, version: 1, ordinal: ordinal++, text });
    }
    const written = writer.commit(), tokens_sha256 = hashFile(tokensOf(name));
    state.files.push({ name, md5, first: state.next, ...written, tokens_sha256 });
    state.next += ordinal;
    // Files not looked at yet are kept, so that a killed run goes on where it was.
    const rest = old?.files.filter((f) => names.indexOf(f.name) > done) ?? [];
    writeAtomic(path, JSON.stringify({ ...state, files: [...state.files, ...rest] }, null, 1));
  }
  writeAtomic(path, JSON.stringify(state, null, 1) + "\n");
  for (const { name } of old?.files ?? []) {
    if (!names.includes(name)) removeIfExists(tokensOf(name));
  }
  return buildShards({
    ...{ corpus, tokenizer, live: { isLive: () => true } },
    tokenFiles: state.files.map(({ name }) => ({ source: name, path: tokensOf(name) })),
    sourceFiles: state.files.map(({ name, md5 }) => ({ name, md5 })),
    ...{ sequenceLength: settings.sequence_length, packing: settings.packing },
    ...{ seed: settings.seed, validation: settings.validation, test: settings.test },
    onProgress: (done, total) => options.onProgress?.("shards", done, total),
    ...(signal ? { signal } : {}),
  });
}

/** Where a corpus of texts lists its files; no other corpus has it. */
export const textsPath = (corpus: string): string => join(corpus, "texts.json");
/** Where a corpus of texts keeps a file's tokens. */
export const tokensPath = (corpus: string, name: string): string =>
  join(corpus, "tokens", `${name}.tokens`);

/** The texts of one file: `text` of each JSON line or Parquet row; a whole .txt file. */
async function* textsOf(path: string): AsyncGenerator<string> {
  if (path.endsWith(".txt")) {
    yield Deno.readTextFileSync(path);
    return;
  }
  if (!path.endsWith(".parquet")) {
    for (const { text } of readTextInput(path)) yield text;
    return;
  }
  const reader = new ParquetReader(path);
  try {
    let at = 0;
    for (const rows of await reader.groups()) {
      for (const { text } of await reader.rows<{ text?: unknown }>(at, at + rows, ["text"])) {
        if (typeof text !== "string") {
          throw new UserError(`Cannot read ${path}: its rows have no "text" that is a string`);
        }
        yield text;
      }
      at += rows;
    }
  } finally {
    reader.close();
  }
}

/** The corpus's settings. @throws {UserError} where another value is given than it has. */
function settingsOf(
  options: TextCorpusOptions,
  recorded: TextCorpusSettings | undefined,
): TextCorpusSettings {
  const given: Partial<TextCorpusSettings> = {
    sequence_length: options.sequenceLength,
    packing: options.packing,
    seed: options.seed,
    validation: options.validation,
    test: options.test,
  };
  const defaults: TextCorpusSettings = {
    ...{ sequence_length: 1024, packing: "best-fit", seed: 0, validation: 0.005, test: 0.005 },
  };
  if (!recorded) {
    const chosen = Object.entries(given).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(chosen) };
  }
  for (const [key, value] of Object.entries(given)) {
    const own = recorded[key as keyof TextCorpusSettings];
    if (value !== undefined && value !== own) {
      throw new UserError(
        `Cannot use --${
          key.replaceAll("_", "-")
        } ${value}: the corpus ${options.corpus} was made ` +
          `with ${own}; leave it away, or make another corpus`,
      );
    }
  }
  return recorded;
}
