/**
 * Writes the citations of one source file as `documents/<source>.parquet`.
 * @module
 */
import type { Citation } from "../citation/types.ts";
import { givenDate, normalizeDate } from "../citation/dates.ts";
import { ParquetFile } from "./parquet_file.ts";
import { DOCUMENT_SCHEMA, DOCUMENTS_SCHEMA_VERSION, SCHEMA_KEY } from "./schema.ts";

/** Rows of a row group: what a reader of one document has to decode. */
const GROUP_ROWS = 2500;

/** The columns' values for one citation, in the schema's order. */
function columnsOf(c: Citation, ordinal: number): unknown[] {
  const published = normalizeDate(c.published);
  return [
    c.pmid,
    c.version,
    ordinal,
    c.kind,
    c.status,
    c.title,
    c.vernacularTitle,
    c.sections,
    c.otherAbstracts,
    c.languages,
    c.journal,
    c.journalAbbreviation,
    c.nlmId,
    { given: givenDate(c.published), iso: published.iso, precision: published.precision },
    normalizeDate(c.completed).iso,
    normalizeDate(c.revised).iso,
    c.publicationTypes,
    c.mesh,
    c.keywords,
    c.authors.map((a) => ({
      last_name: a.lastName,
      fore_name: a.foreName,
      initials: a.initials,
      suffix: a.suffix,
      collective_name: a.collectiveName,
      orcid: a.orcid,
      affiliations: a.affiliations,
    })),
    c.grants,
    c.articleIds,
    c.chemicals.map((x) => ({ registry_number: x.registryNumber, ui: x.ui, name: x.name })),
    c.references,
    c.corrections,
  ];
}

/** A file of documents under construction. */
export class DocumentWriter {
  readonly #file: ParquetFile;

  /** Opens `path`; `source` and `fields` are kept in the file's metadata. */
  constructor(path: string, source: string, fields: string) {
    this.#file = new ParquetFile(path, DOCUMENT_SCHEMA, {
      [SCHEMA_KEY]: String(DOCUMENTS_SCHEMA_VERSION),
      "pubmamba.source": source,
      "pubmamba.fields": fields,
    });
  }

  /** Appends a citation; `ordinal` is the record's position in its source file. */
  add(citation: Citation, ordinal: number): void {
    this.#file.add(columnsOf(citation, ordinal));
    if (this.#file.rows === GROUP_ROWS) this.#file.endGroup();
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
