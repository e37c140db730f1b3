/**
 * Corpora of texts that are not PubMed's: a folder of JSON lines, Parquet or text files becomes
 * shards as PubMed's do, to be mixed in training. Documents are numbered in the place of PMIDs.
 * @module
 */
import { join } from "../../core/std.ts";
import { exists, hashFile, removeIfExists, writeAtomic } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { lock, removeEmptyCorpus, removePartials } from "../corpus.ts";
import { readHeldOut } from "../overlap/contamination.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/mod.ts";
import {
  buildShards,
  type Manifest,
  type PackingMethod,
  TokenFileWriter,
  tokenizerPath,
} from "../shards/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { ColumnRows, ColumnSurvey } from "./columns.ts";
import { compareNewTexts } from "./compare_later.ts";
import { TextDocumentWriter } from "./documents.ts";
import { readRecords } from "./records.ts";
import {
  readTextCorpus,
  type TextCorpusSettings,
  type TextCorpusState,
  textDocumentsPath,
  type TextFile,
  textsPath,
  textTokensPath,
} from "./state.ts";

const TEXT_FILE = /\.(jsonl|ndjson|txt|parquet)$/;

/** What to make a corpus of, and how. Settings left out are the corpus's own, or defaults. */
export interface TextCorpusOptions {
  /** The corpus folder. */
  corpus: string;
  /** The folder of texts. */
  source: string;
  /** A tokenizer.json. */
  tokenizer?: string;
  /** Tokens of a row of the shards. */
  sequenceLength?: number;
  /** How documents become rows. */
  packing?: PackingMethod;
  /** Shuffles the documents. */
  seed?: number;
  /** Share of documents held out for validation. */
  validation?: number;
  /** Share of documents held out for testing. */
  test?: number;
  /** Stops after what is under way. */
  signal?: AbortSignal;
  /** Hears how far a stage is. */
  onProgress?: (stage: "tokens" | "shards", done: number, total: number) => void;
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
 * Takes in the files that are new or changed and builds the shards.
 * @throws {UserError} where a file is malformed, settings differ from the corpus's own, or there is
 *   no tokenizer
 * @throws {CorpusBusy} where another process is at work on the corpus
 * @throws {Interrupted} where the signal fires; what is done stays
 */
export async function buildTextCorpus(options: TextCorpusOptions): Promise<Manifest> {
  const { corpus, source } = options, existed = exists(corpus);
  if (exists(join(corpus, "catalogue.sqlite"))) {
    throw new UserError(
      `Cannot bring texts into ${corpus}: it is a corpus of PubMed; make another and mix them in training`,
    );
  }
  if (textFiles(source).length === 0) {
    throw new UserError(
      `Cannot bring ${corpus} up to date: it is a corpus of texts, and "${source}" is no folder of ` +
        ".jsonl, .parquet or .txt files; name it with --source",
    );
  }
  const old = readTextCorpus(corpus);
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
  const settings = settingsOf(options, old?.settings), locked = lock(corpus);
  try {
    removePartials(corpus);
    // Later runs need no --tokenizer, even where this one is stopped.
    const own = tokenizerPath(corpus);
    if (tokenizerFile !== own) writeAtomic(own, Deno.readFileSync(tokenizerFile));
    const state = await takeFiles(options, tokenizer, settings);
    await compareNewTexts(corpus, state, options.signal);
    return await buildTextShards(corpus, state, tokenizer, options);
  } catch (error) {
    removePartials(corpus);
    if (!exists(textsPath(corpus))) removeEmptyCorpus(corpus, existed);
    throw error;
  } finally {
    locked.close();
  }
}

/** Brings tokens, documents and their list up to date with the folder. */
async function takeFiles(
  { corpus, source, signal, onProgress }: TextCorpusOptions,
  tokenizer: Tokenizer,
  settings: TextCorpusSettings,
): Promise<TextCorpusState> {
  const old = readTextCorpus(corpus), names = textFiles(source);
  const state: TextCorpusState = {
    ...{ format: 1, source, tokenizer_sha256: tokenizer.sha256, settings, next: old?.next ?? 1 },
    files: [],
  };
  const write = (rest: TextFile[]) => {
    const whole = { ...state, files: [...state.files, ...rest] };
    writeAtomic(textsPath(corpus), JSON.stringify(whole, null, 1) + "\n");
  };
  for (const [done, name] of names.entries()) {
    onProgress?.("tokens", done, names.length);
    const md5 = hashFile(join(source, name), "md5");
    const known = old?.files.find((f) => f.name === name && f.md5 === md5);
    const whole = exists(textTokensPath(corpus, name)) && exists(textDocumentsPath(corpus, name));
    if (known?.columns && whole) {
      state.files.push(known);
      continue;
    }
    // The same file keeps its numbers.
    const first = known?.first ?? state.next;
    const { records, ...file } = await takeFile(corpus, source, name, first, {
      ...{ tokenizer, seed: settings.seed, signal },
    });
    state.files.push({ name, md5, first, ...file });
    if (!known) state.next += records;
    // Files not looked at yet are kept, so that a killed run goes on where it was.
    write(old?.files.filter((f) => names.indexOf(f.name) > done) ?? []);
  }
  write([]);
  for (const { name } of old?.files ?? []) {
    if (names.includes(name)) continue;
    removeIfExists(textTokensPath(corpus, name));
    removeIfExists(textDocumentsPath(corpus, name));
  }
  return state;
}

/** Writes a file's tokens and documents: once through it for its columns, once for all else. */
async function takeFile(
  corpus: string,
  source: string,
  name: string,
  first: number,
  { tokenizer, seed, signal }: { tokenizer: Tokenizer; seed: number; signal?: AbortSignal },
): Promise<Omit<TextFile, "name" | "md5" | "first"> & { records: number }> {
  const path = join(source, name), survey = new ColumnSurvey(path);
  let read = 0;
  const pause = async () => {
    if (read++ % 1000 === 0) await breathe();
    if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
  };
  for await (const { record } of readRecords(path)) {
    await pause();
    survey.add(record);
  }
  const columns = survey.columns(), rows = new ColumnRows(columns);
  const tokens = new TokenFileWriter(textTokensPath(corpus, name), tokenizer, seed);
  const documents = new TextDocumentWriter(textDocumentsPath(corpus, name), name, columns);
  let ordinal = 0, documents_sha256: string;
  try {
    for await (const { id, text, record } of readRecords(path)) {
      await pause();
      documents.add(id, text, rows.row(record));
      tokens.add({ pmid: first + ordinal, version: 1, ordinal: ordinal++, text });
    }
    documents_sha256 = documents.commit();
  } catch (error) {
    documents.abort();
    tokens.abort();
    throw error;
  }
  const written = tokens.commit(), tokens_sha256 = hashFile(textTokensPath(corpus, name));
  return { ...written, tokens_sha256, documents_sha256, columns, records: ordinal };
}

/** Builds the shards of a corpus of texts from its token files, without what is held out. */
export function buildTextShards(
  corpus: string,
  { files, settings }: TextCorpusState,
  tokenizer: Tokenizer,
  { signal, onProgress }: Pick<TextCorpusOptions, "signal" | "onProgress">,
): Promise<Manifest> {
  const { pmids } = readHeldOut(corpus);
  return buildShards({
    ...{ corpus, tokenizer, live: { isLive: (_source, number) => !pmids.has(number) } },
    tokenFiles: files.map(({ name }) => ({ source: name, path: textTokensPath(corpus, name) })),
    sourceFiles: files.map(({ name, md5 }) => ({ name, md5 })),
    ...{ sequenceLength: settings.sequence_length, packing: settings.packing },
    ...{ seed: settings.seed, validation: settings.validation, test: settings.test },
    onProgress: (done, total) => onProgress?.("shards", done, total),
    ...(signal ? { signal } : {}),
  });
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
