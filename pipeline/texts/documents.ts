/**
 * `documents/<file>.parquet` of a corpus of texts: a row for each record of a source file, in its
 * order, with `id`, `text` and the columns of the records. Documented in docs/documents.md.
 * @module
 */
import type { SchemaElement } from "hyparquet";
import { Interrupted } from "../../core/errors.ts";
import { ParquetFile, ParquetReader } from "../documents/parquet_file.ts";
import type { CheckedDocument } from "../overlap/contamination.ts";
import { breathe } from "../../core/breathe.ts";
import type { Column, Scalar } from "./columns.ts";
import { textDocumentsPath } from "../corpus_paths.ts";
import type { TextCorpusState } from "./state.ts";

/** The version in every file's key-value metadata, under "pubmamba.texts". */
const SCHEMA_VERSION = 1;
/** A row group ends after so many rows or characters: what a writer or reader holds. */
const GROUP_ROWS = 2500;
const GROUP_CHARACTERS = 1 << 24;

const TYPES: Record<Column["kind"], Partial<SchemaElement>> = {
  string: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
  mixed: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
  number: { type: "DOUBLE" },
  boolean: { type: "BOOLEAN" },
};

function elementsOf({ name, kind, list }: Column): SchemaElement[] {
  if (!list) return [{ name, repetition_type: "OPTIONAL", ...TYPES[kind] }];
  const type = { converted_type: "LIST", logical_type: { type: "LIST" } } as const;
  return [
    { name, repetition_type: "REQUIRED", num_children: 1, ...type },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    { name: "element", repetition_type: "REQUIRED", ...TYPES[kind] },
  ];
}

/** A file of documents under construction. */
export class TextDocumentWriter {
  readonly #file: ParquetFile;
  #characters = 0;

  /** Opens `path`; `source` is kept in the file's metadata. */
  constructor(path: string, source: string, columns: readonly Column[]) {
    const required = (name: string): SchemaElement => ({
      name,
      repetition_type: "REQUIRED",
      ...TYPES.string,
    });
    this.#file = new ParquetFile(path, [
      { name: "document", num_children: 2 + columns.length },
      required("id"),
      required("text"),
      ...columns.flatMap(elementsOf),
    ], { "pubmamba.texts": String(SCHEMA_VERSION), "pubmamba.source": source });
  }

  /** Appends a document; `row` has the columns' values, in order. */
  add(id: string, text: string, row: readonly (Scalar | Scalar[] | null)[]): void {
    this.#file.add([id, text, ...row]);
    this.#characters += text.length;
    if (this.#file.rows < GROUP_ROWS && this.#characters < GROUP_CHARACTERS) return;
    this.#file.endGroup();
    this.#characters = 0;
  }

  /** Finishes the file and puts it in place; returns its SHA-256 in hex. */
  commit(): string {
    return this.#file.commit();
  }

  /** Removes what was written. */
  abort(): void {
    this.#file.abort();
  }
}

/** A document of a corpus of texts, with the columns that were asked for. */
interface TextDocument {
  /** Its number: what shards have in the place of a PMID. */
  number: number;
  source: string;
  values: Record<string, unknown>;
}

/**
 * The documents of one source file, in order.
 * @param columns those that the file does not have are left out; all by default
 * @throws {UserError} where the corpus's file is missing or damaged.
 */
export async function* readTextDocuments(
  corpus: string,
  { name, first, columns: own = [] }: TextCorpusState["files"][number],
  columns?: readonly string[],
): AsyncGenerator<TextDocument> {
  const known = new Set(["id", "text", ...own.map((c) => c.name)]);
  const wanted = columns?.filter((c) => known.has(c));
  if (wanted?.length === 0) return;
  using reader = new ParquetReader(textDocumentsPath(corpus, name));
  for await (const group of reader.each<Record<string, unknown>>(wanted)) {
    for (const [i, values] of group.rows.entries()) {
      yield { number: first + group.first + i, source: name, values };
    }
    await breathe();
  }
}

/** Columns that say which citation a text is of. */
const PMID_COLUMN = /^(.*\.)?(pmid|pubmed_?id)$/i;

/**
 * The texts of a corpus that are not empty, as what evaluation sets and each other are compared with.
 * @param onFile told of files done, of all
 * @param only the source files to read, all by default
 * @throws {Interrupted} where the signal fires
 */
export async function* checkedTexts(
  corpus: string,
  { files }: TextCorpusState,
  { onFile, only, signal }: {
    onFile?: (done: number, total: number) => void;
    only?: ReadonlySet<string>;
    signal?: AbortSignal;
  } = {},
): AsyncGenerator<CheckedDocument> {
  const read = files.filter((f) => only?.has(f.name) ?? true);
  for (const [done, file] of read.entries()) {
    onFile?.(done, read.length);
    // A list names citations that the text is about, or cites.
    const pmidColumns = (file.columns ?? [])
      .filter((c) => !c.list && PMID_COLUMN.test(c.name)).map((c) => c.name);
    const wanted = ["id", "text", ...pmidColumns];
    for await (const { number, source, values } of readTextDocuments(corpus, file, wanted)) {
      if (signal?.aborted) throw new Interrupted("Stopped; nothing was changed");
      const text = values.text as string;
      if (text === "") continue;
      const pmids = pmidColumns.map((c) => Number(values[c] ?? NaN)).filter(Number.isSafeInteger);
      yield { pmid: number, text, pmids, name: { source, id: values.id as string } };
    }
  }
}

/** The ids of some of a corpus's texts, by their numbers; numbers that no file has are left out. */
export async function textIds(
  corpus: string,
  { files }: TextCorpusState,
  numbers: readonly number[],
): Promise<Map<number, string>> {
  const ids = new Map<number, string>();
  const places = [...files].sort((a, b) => a.first - b.first);
  for (const number of new Set(numbers)) {
    const file = places.findLast((f) => f.first <= number);
    if (!file?.documents_sha256) continue;
    using reader = new ParquetReader(textDocumentsPath(corpus, file.name));
    const row = number - file.first;
    const [found] = await reader.rows<{ id: string }>(row, row + 1, ["id"]);
    if (found) ids.set(number, found.id);
  }
  return ids;
}
