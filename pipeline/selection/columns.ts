/**
 * Columns of packed documents: bibliographic ones by PMID, those of other texts by their number,
 * and scores from a file by either.
 * @module
 */
import { exists } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { isRetracted } from "../citation/types.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { COLUMN_NAMES } from "../documents/schema.ts";
import { readTextDocuments } from "../texts/documents.ts";
import { corpusPaths, documentsHome, textsPath } from "../corpus_paths.ts";
import { readTextCorpus } from "../texts/state.ts";
import { readManifest } from "../shards/mod.ts";
import type { Values } from "./conditions.ts";
import { readLines } from "../../core/text_input.ts";

/** Columns computed from one or more of the schema's. */
const COMPUTED: Record<string, { needs: string[]; of: (row: Record<string, unknown>) => Values }> =
  {
    year: {
      needs: ["published"],
      of: ({ published }) => {
        const year = (published as { iso: string }).iso.slice(0, 4);
        return year === "" ? [] : [Number(year)];
      },
    },
    date: { needs: ["published"], of: ({ published }) => leaves(published, ["iso"]) },
    language: { needs: ["languages"], of: ({ languages }) => leaves(languages, []) },
    publication_type: {
      needs: ["publication_types"],
      of: ({ publication_types }) => leaves(publication_types, []),
    },
    retracted: {
      needs: ["publication_types", "corrections"],
      of: ({ publication_types, corrections }) => [
        isRetracted(publication_types as { name: string }[], corrections as { type: string }[]),
      ],
    },
  };

/** The names that conditions on citations can use besides a score file's and {@linkcode BUILT_IN}. */
export const DOCUMENT_COLUMNS: readonly string[] = [...COLUMN_NAMES, ...Object.keys(COMPUTED)];

/** Told of a document's columns. */
type OnDocument = (
  pmid: number,
  version: number,
  valueOf: (column: string) => Values,
) => void;

/** True for a corpus of PubMed's citations, false for one of other texts. */
export function hasCitations(corpus: string): boolean {
  return !exists(textsPath(documentsHome(corpus)));
}

/**
 * A reader of some columns of all documents of a source file.
 * @throws {UserError} where the corpus has no such column, or a file is missing.
 */
export function columnReader(
  corpus: string,
): (source: string, columns: readonly string[], onDocument: OnDocument) => Promise<void> {
  const home = documentsHome(corpus);
  const texts = readTextCorpus(home);
  if (!texts) {
    return (source, columns, onDocument) =>
      readCitationColumns(corpus, source, columns, onDocument);
  }
  const files = new Map(texts.files.map((file) => [file.name, file]));
  // Of shards that were kept for a run: what the files were then.
  const then = new Map(
    home === corpus ? [] : readManifest(corpus).sources.map(({ name, md5 }) => [name, md5]),
  );
  return async (source, columns, onDocument) => {
    const file = files.get(source);
    const md5 = then.get(source);
    if (md5 !== undefined && md5 !== file?.md5) throw changedTexts(home, source);
    if (!file) return;
    for await (const { number, values } of readTextDocuments(home, file, columns)) {
      onDocument(number, 1, (column) => leaves(values[column], []));
    }
  };
}

function changedTexts(corpus: string, source: string): UserError {
  return new UserError(
    `Cannot select documents of the shards that were kept of ${corpus}: ${source} is not what it was ` +
      "when they were made, and only its tokens were kept; start a new run from the last checkpoint",
  );
}

async function readCitationColumns(
  corpus: string,
  source: string,
  columns: readonly string[],
  onDocument: OnDocument,
): Promise<void> {
  const needed = new Set(["pmid", "version"]);
  for (const column of columns) {
    for (const name of COMPUTED[column]?.needs ?? column.split(".", 1)) needed.add(name);
  }
  using reader = new ParquetReader(corpusPaths.documents(documentsHome(corpus), source));
  for await (const { rows } of reader.each<Record<string, unknown>>([...needed])) {
    for (const row of rows) {
      onDocument(Number(row.pmid), Number(row.version), (column) => {
        const computed = COMPUTED[column];
        const [first = "", ...path] = column.split(".");
        return computed ? computed.of(row) : leaves(row[first], path);
      });
    }
  }
}

/** The values at a path of a nested value; of an object without a path, its name. */
function leaves(value: unknown, path: string[]): Values {
  if (Array.isArray(value)) return value.flatMap((v) => leaves(v, path));
  if (typeof value === "object" && value !== null) {
    const [key = "name", ...rest] = path;
    const inner = (value as Record<string, unknown>)[key];
    return leaves(inner, rest);
  }
  if (typeof value === "bigint") return [Number(value)];
  const plain = typeof value === "string" || typeof value === "number" ||
    typeof value === "boolean";
  return plain && value !== "" ? [value] : [];
}

/** The names of a score file's columns, `pmid` left out. */
export async function scoreColumns(path: string): Promise<string[]> {
  for await (const row of scoreRows(path)) return Object.keys(row).filter((k) => k !== "pmid");
  throw new UserError(`Cannot use the scores in ${path}: it is empty`);
}

/**
 * Yields the rows of a score file: JSON lines, or Parquet, with `pmid` and any other columns.
 * @throws {UserError} naming file and line where a row has no PMID.
 */
export async function* scoreRows(path: string): AsyncGenerator<Record<string, unknown>> {
  let number = 0;
  const checked = (row: unknown): Record<string, unknown> => {
    number++;
    const pmid = Number((row as { pmid?: unknown } | null)?.pmid);
    if (Number.isSafeInteger(pmid) && pmid > 0) return { ...row as object, pmid };
    throw new UserError(
      `Cannot use the scores in ${path}, row ${number}: it has no "pmid" that is a whole number`,
    );
  };
  if (!exists(path)) throw new UserError(`Cannot use the scores in ${path}: there is no such file`);
  if (!path.endsWith(".parquet")) {
    for (const { line } of readLines(path)) {
      if (line.trim() === "") continue;
      let row: unknown;
      try {
        row = JSON.parse(line);
      } catch (error) {
        throw new UserError(
          `Cannot use the scores in ${path}, row ${number + 1}: ${(error as Error).message}`,
        );
      }
      yield checked(row);
    }
    return;
  }
  using reader = new ParquetReader(path);
  for await (const { rows } of reader.each<object>()) {
    for (const row of rows) yield checked(row);
  }
}

/** A score row's values. */
export function scoreValues(row: Record<string, unknown>, column: string): Values {
  return leaves(row[column], []);
}
