/** `texts.json`: what a corpus of texts holds, and where it lies. @module */
import { UserError } from "../../core/errors.ts";
import { exists, readJson, sha256, writeAtomic } from "../../core/files.ts";
import { textsPath } from "../corpus_paths.ts";
import type { CorpusRecord } from "../recorded_files.ts";
import type { PackingMethod } from "../shards/packing.ts";
import type { Column } from "./columns.ts";

/** Settings that hold for the whole corpus. */
export interface TextCorpusSettings {
  sequence_length: number;
  packing: PackingMethod;
  seed: number;
  validation: number;
  test: number;
}

/** A file that was taken in; its records have the numbers from `first` on, empty ones too. */
export interface TextFile {
  name: string;
  md5: string;
  first: number;
  /** Those that have a text. */
  documents: number;
  /** How many tokens it has; none where the corpus has no tokenizer, or had none when it came. */
  tokens?: number;
  /** SHA-256 of its token file, where it has one. */
  tokens_sha256?: string;
  /** SHA-256 of `documents/<name>.parquet`; files of older versions have none. */
  documents_sha256?: string;
  /** What its records say besides their text. */
  columns?: Column[];
}

/** The whole list. */
export interface TextCorpusState {
  format: 1;
  /** The folder of texts, as it was named last. */
  source?: string;
  /** The tokenizer that its tokens are made with; none in a corpus of documents alone. */
  tokenizer_sha256?: string;
  /** How its documents become shards, recorded with the tokenizer. */
  settings?: TextCorpusSettings;
  /** The number of the next new document. */
  next: number;
  files: TextFile[];
  /** Hashes of other files of the corpus, by name; see `recorded_files.ts`. */
  records?: Record<string, string>;
}

/**
 * The list of a corpus's texts; undefined where it is no corpus of texts.
 * @throws {UserError} where the list is damaged
 */
export function readTextCorpus(corpus: string): TextCorpusState | undefined {
  const path = textsPath(corpus);
  if (!exists(path)) return undefined;
  const { sha256: hash, ...state } = readJson<Partial<TextCorpusState> & { sha256?: string }>(
    path,
    "list of texts",
  ) ?? {};
  const changed = hash !== undefined && hash !== sha256(JSON.stringify(state));
  if (changed || state.format !== 1 || !Array.isArray(state.files)) {
    throw new UserError(
      `Cannot use the list of texts ${path}: it is damaged; put it back from a backup, or make the ` +
        "corpus again in another folder",
    );
  }
  return state as TextCorpusState;
}

/** Writes the list, with the hash of all else in it at its end. */
export function writeTextCorpus(corpus: string, state: TextCorpusState): void {
  writeAtomic(textsPath(corpus), sealed(state));
}

/** True where the list is byte for byte what was written. */
export function isWholeTextList(corpus: string): boolean {
  const state = readTextCorpus(corpus);
  return state !== undefined && Deno.readTextFileSync(textsPath(corpus)) === sealed(state);
}

function sealed(state: TextCorpusState): string {
  return JSON.stringify({ ...state, sha256: sha256(JSON.stringify(state)) }, null, 1) + "\n";
}

/** The record of a corpus of texts. */
export function textRecord(corpus: string): CorpusRecord {
  const read = () => {
    const state = readTextCorpus(corpus);
    if (!state) throw new Error(`${corpus} is no corpus of texts`);
    return state;
  };
  return {
    get: (key) => read().records?.[key],
    set(key, value) {
      const state = read();
      writeTextCorpus(corpus, { ...state, records: { ...state.records, [key]: value } });
    },
    unset(key) {
      const state = read();
      if (state.records?.[key] === undefined) return;
      const { [key]: _, ...records } = state.records;
      writeTextCorpus(corpus, { ...state, records });
    },
  };
}

/** The columns of all files together: of several kinds where the files do not agree. */
export function columnsOf(state: TextCorpusState): Column[] {
  const all = new Map<string, Column>();
  for (const { columns = [] } of state.files) {
    for (const column of columns) {
      const { name } = column;
      const before = all.get(name) ?? column;
      const kind = before.kind === column.kind ? column.kind : "mixed";
      all.set(name, { name, kind, list: before.list || column.list });
    }
  }
  return [...all.values()].sort((a, b) => a.name < b.name ? -1 : 1);
}
