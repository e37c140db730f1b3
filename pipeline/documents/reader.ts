/**
 * Reads documents back: as the JSON lines of `pipeline documents`, and as text for tokenizing.
 * @module
 */
import { fail } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";
import { abstractText, documentText, isRetracted, type Section } from "../citation/types.ts";
import { ParquetReader } from "./parquet_file.ts";

/** A live document as `pipeline documents` prints it. */
export interface PrintedDocument {
  pmid: number;
  version: number;
  title: string;
  abstract: string;
  sections: Section[];
  languages: string[];
  publication_types: string[];
  mesh: { ui: string; name: string; major: boolean }[];
  journal: string;
  /** ISO 8601, as exact as it is known: "2019-03-07", "2019-03", "2019" or "". */
  date: string;
  retracted: boolean;
  source: string;
}

/** The columns that a {@linkcode PrintedDocument} needs, and their values in a row. */
interface Row {
  pmid: number;
  version: number;
  ordinal: number;
  title: string;
  sections: Section[];
  languages: string[];
  publication_types: { ui: string; name: string }[];
  mesh: { ui: string; name: string; major: boolean }[];
  journal: string;
  published: { iso: string };
  corrections: { type: string }[];
}

const PRINTED = [
  "pmid",
  "version",
  "ordinal",
  "title",
  "sections",
  "languages",
  "publication_types",
  "mesh",
  "journal",
  "published",
  "corrections",
];

/** A document on the way to its tokens, with what the policies look at. */
export interface TextRow {
  pmid: number;
  version: number;
  ordinal: number;
  title: string;
  abstract: string;
  text: string;
  languages: string[];
  publicationTypes: { name: string }[];
  corrections: { type: string }[];
}

function printed(row: Row, source: string): PrintedDocument {
  return {
    pmid: row.pmid,
    version: row.version,
    title: row.title,
    abstract: abstractText(row.sections),
    sections: row.sections.map(({ label, category, text }) => ({ label, category, text })),
    languages: row.languages,
    publication_types: row.publication_types.map((t) => t.name),
    mesh: row.mesh.map(({ ui, name, major }) => ({ ui, name, major })),
    journal: row.journal,
    date: row.published.iso,
    retracted: isRetracted(row.publication_types, row.corrections),
    source,
  };
}

/**
 * All documents of a file, for tokenizing.
 * @throws {UserError} where the file is missing or damaged.
 */
export async function* readTexts(path: string): AsyncGenerator<TextRow> {
  using reader = new ParquetReader(path);
  const columns = PRINTED.filter((c) => c !== "mesh" && c !== "journal" && c !== "published");
  for await (const { rows } of reader.each<Row>(columns)) {
    for (const row of rows) {
      const abstract = abstractText(row.sections);
      yield {
        pmid: row.pmid,
        version: row.version,
        ordinal: row.ordinal,
        title: row.title,
        abstract,
        text: documentText(row.title, abstract),
        languages: row.languages,
        publicationTypes: row.publication_types,
        corrections: row.corrections,
      };
    }
  }
}

/** Fetches single documents by file and position, keeping the row groups read last. */
export class DocumentStore {
  readonly #groups = new Map<string, Map<number, Row>>();
  readonly #index = new Map<string, { starts: number[]; ordinals: Int32Array }>();
  readonly #pathOf: (source: string) => string;
  readonly #capacity: number;

  /** @param capacity how many row groups are kept, about 20 MB each */
  constructor(pathOf: (source: string) => string, capacity = 12) {
    this.#pathOf = pathOf;
    this.#capacity = capacity;
  }

  /** The document at `ordinal` of `source`. @throws {UserError} where the file does not hold it. */
  async get(source: string, ordinal: number): Promise<PrintedDocument | undefined> {
    const { starts, ordinals } = await this.#indexOf(source);
    const row = lowerBound(ordinals, ordinal);
    if (ordinals[row] !== ordinal) return undefined;
    let group = 0;
    while (group + 2 < starts.length && nth(starts, group + 1) <= row) group++;
    const key = `${source} ${group}`;
    let rows = this.#groups.get(key);
    if (rows) this.#groups.delete(key);
    else {
      using reader = new ParquetReader(this.#pathOf(source));
      const read = await reader.rows<Row>(nth(starts, group), nth(starts, group + 1), PRINTED);
      rows = new Map(read.map((r) => [r.ordinal, r]));
      const oldest = this.#groups.keys().next();
      if (this.#groups.size >= this.#capacity && !oldest.done) this.#groups.delete(oldest.value);
    }
    this.#groups.set(key, rows);
    const found = rows.get(ordinal) ?? fail(`${source} has no record ${ordinal} in its group`);
    return printed(found, source);
  }

  async #indexOf(source: string) {
    let index = this.#index.get(source);
    if (index) return index;
    using reader = new ParquetReader(this.#pathOf(source));
    const starts: number[] = [];
    const ordinals: number[] = [];
    for await (const { rows } of reader.each<{ ordinal: number }>(["ordinal"])) {
      starts.push(ordinals.length);
      for (const { ordinal } of rows) ordinals.push(ordinal);
    }
    starts.push(ordinals.length);
    index = { starts, ordinals: Int32Array.from(ordinals) };
    this.#index.set(source, index);
    return index;
  }
}

/** The first position in an ascending array whose value is not below `value`. */
function lowerBound(sorted: Int32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = low + high >> 1;
    if (nth(sorted, middle) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
