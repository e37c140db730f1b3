/**
 * Corpora of texts that are not PubMed's: a folder of JSON lines, Parquet or text files becomes
 * shards as PubMed's do, to be mixed in training. Documents are numbered in the place of PMIDs.
 * @module
 */
import { join, resolve } from "../../core/std.ts";
import { exists, hashFile, removeIfExists } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { holdFolder, removeMade, removePartials } from "../corpus.ts";
import { corpusPaths, textDocumentsPath, textsPath, textTokensPath } from "../corpus_paths.ts";
import { DEFAULT_SETTINGS, type PackingSettings, settingOf } from "../corpus_settings.ts";
import { checkContamination, readHeldOut } from "../overlap/contamination.ts";
import { recordFile } from "../recorded_files.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import {
  beginShards,
  buildShards,
  corpusTokenizer,
  keepTokenizer,
  type Manifest,
  manifestPath,
  TokenFileWriter,
} from "../shards/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { ColumnRows, ColumnSurvey } from "./columns.ts";
import { compareNewTexts } from "./compare_later.ts";
import { readTextDocuments, TextDocumentWriter } from "./documents.ts";
import { readRecords } from "./records.ts";
import {
  readTextCorpus,
  type TextCorpusSettings,
  type TextCorpusState,
  type TextFile,
  textRecord,
  writeTextCorpus,
} from "./state.ts";

const TEXT_FILE = /\.(jsonl|ndjson|txt|parquet)$/;

/** What to make a corpus of, and how. Settings left out are the corpus's own, or defaults. */
export interface TextCorpusOptions extends Partial<PackingSettings> {
  /** The corpus folder. */
  corpus: string;
  /** The folder of texts. */
  source: string;
  /** A tokenizer.json; without one, and where the corpus has none, there are documents alone. */
  tokenizer?: string;
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

/** A corpus of texts that was brought up to date. */
export interface BuiltTexts {
  /** How many documents it has, those without a text left out. */
  documents: number;
  /** What its shards hold; none without a tokenizer. */
  manifest?: Manifest;
}

/**
 * Takes in the files that are new or changed and builds the shards. Without a tokenizer the corpus has
 * documents alone, of which a vocabulary can be learned; a later run with one makes the same shards as
 * if it had been given from the beginning.
 * @throws {UserError} where a file is malformed, or settings differ from the corpus's own
 * @throws {CorpusBusy} where another process is at work on the corpus
 * @throws {Interrupted} where the signal fires; what is done stays
 */
export async function buildTextCorpus(options: TextCorpusOptions): Promise<BuiltTexts> {
  const { corpus, source } = options;
  if (exists(corpusPaths.catalogue(corpus))) {
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
  const tokenized = old?.tokenizer_sha256 !== undefined || options.tokenizer !== undefined;
  const shards = tokenized
    ? {
      tokenizer: corpusTokenizer(corpus, old?.tokenizer_sha256, options.tokenizer),
      settings: textSettings(options, old?.settings),
    }
    : undefined;
  const held = holdFolder(corpus);
  try {
    removePartials(corpus);
    if (old) checkContamination(corpus, textRecord(corpus));
    if (shards) keepTokenizer(corpus, shards.tokenizer);
    const state = await takeFiles(options, shards);
    await compareNewTexts(corpus, state, options.signal);
    const documents = documentsIn(state);
    if (!shards) return { documents };
    return { documents, manifest: await buildTextShards(corpus, state, shards.tokenizer, options) };
  } catch (error) {
    removePartials(corpus);
    if (!exists(textsPath(corpus))) removeMade(corpus, held);
    throw error;
  } finally {
    held.release();
  }
}

/** How many documents a corpus of texts has. */
export const documentsIn = ({ files }: TextCorpusState): number =>
  files.reduce((sum, file) => sum + file.documents, 0);

/** Brings tokens, documents and their list up to date with the folder. */
async function takeFiles(
  { corpus, source, signal, onProgress }: TextCorpusOptions,
  shards: { tokenizer: Tokenizer; settings: TextCorpusSettings } | undefined,
): Promise<TextCorpusState> {
  const old = readTextCorpus(corpus);
  const names = textFiles(source);
  const state: TextCorpusState = {
    format: 1,
    source: resolve(source),
    ...(shards ? { tokenizer_sha256: shards.tokenizer.sha256, settings: shards.settings } : {}),
    next: old?.next ?? 1,
    files: [],
    ...(old?.records ? { records: old.records } : {}),
  };
  const tokens = shards && { tokenizer: shards.tokenizer, seed: shards.settings.seed };
  const write = (rest: TextFile[]) =>
    writeTextCorpus(corpus, { ...state, files: [...state.files, ...rest] });
  for (const [done, name] of names.entries()) {
    onProgress?.("tokens", done, names.length);
    const md5 = hashFile(join(source, name), "md5");
    const known = old?.files.find((f) => f.name === name && f.md5 === md5);
    // Files not looked at yet are kept, so that a killed run goes on where it was.
    const keep = (file: TextFile) => {
      state.files.push(file);
      write(old?.files.filter((f) => names.indexOf(f.name) > done) ?? []);
    };
    if (known && isTextFileWhole(corpus, known, tokens !== undefined)) {
      state.files.push(known);
      continue;
    }
    if (known && tokens && isTextFileWhole(corpus, known, false)) {
      const path = textTokensPath(corpus, name);
      keep({ ...known, ...await tokenizeTextFile(corpus, known, path, { ...tokens, signal }) });
      continue;
    }
    // The same file keeps its numbers.
    const first = known?.first ?? state.next;
    const { records, ...file } = await takeTextFile(corpus, source, name, first, {
      ...tokens,
      signal,
    });
    if (!known) state.next += records;
    keep({ name, md5, first, ...file });
  }
  write([]);
  for (const { name } of old?.files ?? []) {
    if (names.includes(name)) continue;
    removeIfExists(textTokensPath(corpus, name));
    removeIfExists(textDocumentsPath(corpus, name));
  }
  return state;
}

/** True for a file that is there and is what was written. */
const isWhole = (path: string, hash: string | undefined): boolean =>
  exists(path) && (hash === undefined || hashFile(path) === hash);

/**
 * True where a corpus has all that a run makes of a file of texts, as it was written.
 * @param tokenized whether tokens are to be among it
 */
export function isTextFileWhole(corpus: string, file: TextFile, tokenized: boolean): boolean {
  const tokens = file.tokens_sha256 !== undefined &&
    isWhole(textTokensPath(corpus, file.name), file.tokens_sha256);
  return file.columns !== undefined && (tokens || !tokenized) &&
    isWhole(textDocumentsPath(corpus, file.name), file.documents_sha256);
}

/** How tokens are made, and how it is stopped. */
interface Tokenizing {
  tokenizer: Tokenizer;
  /** Of the order of documents. */
  seed: number;
  signal: AbortSignal | undefined;
}

/**
 * Makes a file's tokens from the documents that the corpus keeps of it, for which its source is not
 * needed any more.
 * @param path where the token file appears
 * @throws {UserError} where the documents are missing or damaged
 * @throws {Interrupted} where the signal fires
 */
export async function tokenizeTextFile(
  corpus: string,
  file: TextFile,
  path: string,
  { tokenizer, seed, signal }: Tokenizing,
): Promise<Required<Pick<TextFile, "tokens" | "tokens_sha256">>> {
  const tokens = new TokenFileWriter(path, tokenizer, seed);
  try {
    for await (const { number, values } of readTextDocuments(corpus, file, ["text"])) {
      if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
      const text = values.text as string;
      tokens.add({ pmid: number, version: 1, ordinal: number - file.first, text });
    }
  } catch (error) {
    tokens.abort();
    throw error;
  }
  const written = tokens.commit();
  return { tokens: written.tokens, tokens_sha256: hashFile(path) };
}

/** Everything that is known of a file once it was read, but for its name, MD5 and numbers. */
export type TakenTextFile =
  & Omit<TextFile, "name" | "md5" | "first">
  & Required<Pick<TextFile, "columns" | "documents_sha256">>
  & { records: number };

/**
 * Writes a file's documents, and its tokens where a tokenizer is given: once through it for its columns,
 * once for all else.
 */
export async function takeTextFile(
  corpus: string,
  source: string,
  name: string,
  first: number,
  { tokenizer, seed = 0, signal }: Partial<Tokenizing>,
): Promise<TakenTextFile> {
  const path = join(source, name);
  const survey = new ColumnSurvey(path);
  let read = 0;
  const pause = async () => {
    if (read++ % 1000 === 0) await breathe();
    if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
  };
  for await (const { record } of readRecords(path)) {
    await pause();
    survey.add(record);
  }
  const columns = survey.columns();
  const rows = new ColumnRows(columns);
  const tokens = tokenizer && new TokenFileWriter(textTokensPath(corpus, name), tokenizer, seed);
  const documents = new TextDocumentWriter(textDocumentsPath(corpus, name), name, columns);
  let ordinal = 0;
  let filled = 0;
  let documents_sha256: string;
  try {
    for await (const { id, text, record } of readRecords(path)) {
      await pause();
      // As the documents keep it: half of a surrogate pair is no character there.
      const whole = text.toWellFormed();
      documents.add(id, whole, rows.row(record));
      tokens?.add({ pmid: first + ordinal, version: 1, ordinal, text: whole });
      ordinal++;
      if (whole !== "") filled++;
    }
    documents_sha256 = documents.commit();
  } catch (error) {
    documents.abort();
    tokens?.abort();
    throw error;
  }
  const made = { documents: filled, documents_sha256, columns, records: ordinal };
  if (!tokens) return made;
  const written = tokens.commit();
  const tokens_sha256 = hashFile(textTokensPath(corpus, name));
  return { ...made, tokens: written.tokens, tokens_sha256 };
}

/** Builds the shards of a corpus of texts from its token files, without what is held out. */
export async function buildTextShards(
  corpus: string,
  { files, settings = textSettings({ corpus }, undefined) }: TextCorpusState,
  tokenizer: Tokenizer,
  { signal, onProgress }: Pick<TextCorpusOptions, "signal" | "onProgress">,
): Promise<Manifest> {
  const record = textRecord(corpus);
  const { pmids } = readHeldOut(corpus, record);
  for (const { name, tokens_sha256 } of files) {
    const path = textTokensPath(corpus, name);
    if (tokens_sha256 !== undefined && isWhole(path, tokens_sha256)) continue;
    throw new UserError(
      `Cannot build shards from ${path}: it is missing or not what was written; "pipeline run" makes ` +
        "it again",
    );
  }
  beginShards(corpus, record);
  const manifest = await buildShards({
    corpus,
    tokenizer,
    live: { isLive: (_source, number) => !pmids.has(number) },
    tokenFiles: files.map(({ name, tokens_sha256 }) => ({
      source: name,
      path: textTokensPath(corpus, name),
      sha256: tokens_sha256 ?? "",
    })),
    sourceFiles: files.map(({ name, md5 }) => ({ name, md5 })),
    sequenceLength: settings.sequence_length,
    packing: settings.packing,
    seed: settings.seed,
    validation: settings.validation,
    test: settings.test,
    onProgress: (done, total) => onProgress?.("shards", done, total),
    ...(signal ? { signal } : {}),
  });
  recordFile(record, "manifest", manifestPath(corpus));
  return manifest;
}

/** The corpus's settings. @throws {UserError} where another value is given than it has. */
export function textSettings(
  options: Pick<TextCorpusOptions, "corpus"> & Partial<PackingSettings>,
  own: TextCorpusSettings | undefined,
): TextCorpusSettings {
  const { corpus } = options;
  const standard = DEFAULT_SETTINGS;
  const number = (
    key: "sequenceLength" | "seed" | "validation" | "test",
    recorded: number | undefined,
  ) => settingOf(corpus, key, recorded, options[key], standard[key]);
  return {
    sequence_length: number("sequenceLength", own?.sequence_length),
    packing: settingOf(corpus, "packing", own?.packing, options.packing, standard.packing),
    seed: number("seed", own?.seed),
    validation: number("validation", own?.validation),
    test: number("test", own?.test),
  };
}
