/**
 * The schema of `documents/*.parquet`: one row for each citation, lists and structs as such. Texts that
 * are absent are "", lists that are absent are empty; nothing is null. Documented in
 * docs/documents.md; a change of columns raises {@linkcode DOCUMENTS_SCHEMA_VERSION}.
 * @module
 */
import type { SchemaElement } from "hyparquet";

/** The version in every file's key-value metadata, under "pubmamba.documents". */
export const DOCUMENTS_SCHEMA_VERSION = 1;
/** The key of the version. */
export const SCHEMA_KEY = "pubmamba.documents";

type Column = SchemaElement[];
type Field = (name: string) => Column;

const REQUIRED = "REQUIRED";
const text: Field = (name) => [{
  name,
  type: "BYTE_ARRAY",
  converted_type: "UTF8",
  logical_type: { type: "STRING" },
  repetition_type: REQUIRED,
}];
const integer: Field = (name) => [{ name, type: "INT32", repetition_type: REQUIRED }];
const flag: Field = (name) => [{ name, type: "BOOLEAN", repetition_type: REQUIRED }];
const struct = (fields: Record<string, Field>): Field => (name) => [
  { name, repetition_type: REQUIRED, num_children: Object.keys(fields).length },
  ...Object.entries(fields).flatMap(([key, field]) => field(key)),
];
const list = (element: Field): Field => (name) => [
  {
    name,
    repetition_type: REQUIRED,
    num_children: 1,
    converted_type: "LIST",
    logical_type: { type: "LIST" },
  },
  { name: "list", repetition_type: "REPEATED", num_children: 1 },
  ...element("element"),
];

const section = struct({ label: text, category: text, text });
const term = struct({ ui: text, name: text });
const identifier = struct({ type: text, value: text });

const COLUMNS: Record<string, Field> = {
  pmid: integer,
  version: integer,
  ordinal: integer,
  kind: text,
  status: text,
  title: text,
  vernacular_title: text,
  sections: list(section),
  other_abstracts: list(struct({ type: text, language: text, sections: list(section) })),
  languages: list(text),
  journal: text,
  journal_abbreviation: text,
  nlm_id: text,
  published: struct({ given: text, iso: text, precision: text }),
  completed: text,
  revised: text,
  publication_types: list(term),
  mesh: list(
    struct({
      ui: text,
      name: text,
      major: flag,
      qualifiers: list(struct({ ui: text, name: text, major: flag })),
    }),
  ),
  keywords: list(struct({ text, major: flag })),
  authors: list(
    struct({
      last_name: text,
      fore_name: text,
      initials: text,
      suffix: text,
      collective_name: text,
      orcid: text,
      affiliations: list(text),
    }),
  ),
  grants: list(struct({ id: text, acronym: text, agency: text, country: text })),
  article_ids: list(identifier),
  chemicals: list(struct({ registry_number: text, ui: text, name: text })),
  references: list(struct({ citation: text, ids: list(identifier) })),
  corrections: list(struct({ type: text, source: text, pmid: integer, note: text })),
};

/** The columns' names, in order. */
export const COLUMN_NAMES: readonly string[] = Object.keys(COLUMNS);

/** The schema in Parquet's own flat form. */
export const DOCUMENT_SCHEMA: SchemaElement[] = [
  { name: "document", num_children: COLUMN_NAMES.length },
  ...Object.entries(COLUMNS).flatMap(([name, field]) => field(name)),
];
