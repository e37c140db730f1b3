/** `texts.json`: what a corpus of texts holds, and where it lies. @module */
import { exists, readJson } from "../../core/files.ts";
import { join } from "../../core/std.ts";
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

/** A file that was tokenized; its records have the numbers from `first` on, empty ones too. */
export interface TextFile {
  name: string;
  md5: string;
  first: number;
  /** Those that have a text. */
  documents: number;
  tokens: number;
  /** SHA-256 of its token file. */
  tokens_sha256: string;
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
  tokenizer_sha256: string;
  settings: TextCorpusSettings;
  /** The number of the next new document. */
  next: number;
  files: TextFile[];
}

/** Where a corpus of texts lists its files; no other corpus has it. */
export const textsPath = (corpus: string): string => join(corpus, "texts.json");
/** Where a corpus of texts keeps a file's tokens. */
export const textTokensPath = (corpus: string, name: string): string =>
  join(corpus, "tokens", `${name}.tokens`);
/** Where a corpus of texts keeps a file's documents and their columns. */
export const textDocumentsPath = (corpus: string, name: string): string =>
  join(corpus, "documents", `${name}.parquet`);

/** The list of a corpus's texts; undefined where it is no corpus of texts. */
export function readTextCorpus(corpus: string): TextCorpusState | undefined {
  const path = textsPath(corpus);
  return exists(path) ? readJson<TextCorpusState>(path, "list of texts") : undefined;
}

/** The columns of all files together: of several kinds where the files do not agree. */
export function columnsOf(state: TextCorpusState): Column[] {
  const all = new Map<string, Column>();
  for (const { columns = [] } of state.files) {
    for (const column of columns) {
      const { name } = column, before = all.get(name) ?? column;
      const kind = before.kind === column.kind ? column.kind : "mixed";
      all.set(name, { name, kind, list: before.list || column.list });
    }
  }
  return [...all.values()].sort((a, b) => a.name < b.name ? -1 : 1);
}
