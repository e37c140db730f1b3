/**
 * The catalogue's tables and what is in their rows. Few PMIDs have other versions than 1: an index of
 * those alone tells which PMIDs can have more than one.
 * @module
 */
import { UserError } from "../../core/errors.ts";

/** The layout of the tables; another number is another program's corpus. */
export const SCHEMA_VERSION = 2;

/** What makes an earlier layout this one. */
export const SCHEMA_CHANGES: ReadonlyMap<string, string> = new Map([
  [
    "1",
    "ALTER TABLE files ADD COLUMN rejected_sha256 TEXT; " +
    "ALTER TABLE files ADD COLUMN raw INTEGER NOT NULL DEFAULT 0",
  ],
]);

/** Makes the tables where they are not there yet. */
export const TABLES = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder TEXT NOT NULL, md5 TEXT NOT NULL,
  state TEXT NOT NULL, records INTEGER NOT NULL, documents INTEGER NOT NULL, deletions INTEGER NOT NULL,
  xml_bytes INTEGER NOT NULL, counts TEXT NOT NULL, tokens INTEGER, documents_sha256 TEXT NOT NULL,
  tokens_sha256 TEXT, stamp TEXT NOT NULL, rejected_sha256 TEXT, raw INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS citations (
  pmid INTEGER NOT NULL, version INTEGER NOT NULL, file INTEGER NOT NULL, ordinal INTEGER NOT NULL,
  deleted INTEGER NOT NULL, PRIMARY KEY (pmid, version)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS further_versions ON citations (pmid) WHERE version <> 1;
CREATE TABLE IF NOT EXISTS deletions (
  file INTEGER NOT NULL, ordinal INTEGER NOT NULL, pmid INTEGER NOT NULL, version INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS deletions_of_file ON deletions (file);
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, command TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
  result TEXT);`;

// "deleted": 0 there is a record, 1 a DeleteCitation removed it, 2 one named it before any record.
const NEWER = "(excluded.file, excluded.ordinal) >= (citations.file, citations.ordinal)";
/** A record: pmid, version, file, ordinal. */
export const PUT_RECORD =
  `INSERT INTO citations (pmid, version, file, ordinal, deleted) VALUES (?, ?, ?, ?, 0)
ON CONFLICT (pmid, version) DO UPDATE SET
  deleted = CASE WHEN ${NEWER} THEN 0 ELSE min(deleted, 1) END,
  file = CASE WHEN ${NEWER} THEN excluded.file ELSE file END,
  ordinal = CASE WHEN ${NEWER} THEN excluded.ordinal ELSE ordinal END`;
/** A version that a DeleteCitation names: pmid, version, file, ordinal. */
export const PUT_DELETION =
  `INSERT INTO citations (pmid, version, file, ordinal, deleted) VALUES (?, ?, ?, ?, 2)
ON CONFLICT (pmid, version) DO UPDATE SET
  deleted = max(deleted, 1), file = excluded.file, ordinal = excluded.ordinal WHERE ${NEWER}`;

/** How far a file has come. */
type FileState = "documents" | "tokens";

/** A file of the corpus. */
export interface FileRow {
  number: number;
  /** The source's name: "pubmed26n0001". */
  name: string;
  folder: string;
  md5: string;
  state: FileState;
  records: number;
  documents: number;
  deletions: number;
  xml_bytes: number;
  /** Reason -> number of records dropped, as JSON. */
  counts: string;
  tokens: number | null;
  documents_sha256: string;
  tokens_sha256: string | null;
  /** Size and date on the mirror, to see a file that was issued again. */
  stamp: string;
  /** Of the list of dropped records; "" where none was dropped, null in files of older versions. */
  rejected_sha256: string | null;
  /** 1 where the download is kept in raw/. */
  raw: number;
}

/** Reason -> number of records dropped from a file. @throws {UserError} where it is damaged. */
export function droppedOf(
  { name, counts }: Pick<FileRow, "name" | "counts">,
): Record<string, number> {
  try {
    return JSON.parse(counts) as Record<string, number>;
  } catch {
    throw new UserError(
      `Cannot read what was dropped from ${name}: the catalogue is damaged; "pipeline verify" says more`,
    );
  }
}

/** What a file says about citations, in the order of the file. */
export interface FileEvents {
  /** Of each accepted record. */
  pmids: Int32Array;
  versions: Int32Array;
  ordinals: Int32Array;
  /** Of each version named by a DeleteCitation. */
  deletedPmids: Int32Array;
  deletedVersions: Int32Array;
  deletedOrdinals: Int32Array;
}

/** The live record of a PMID. */
export interface LiveCitation {
  pmid: number;
  version: number;
  file: number;
  ordinal: number;
}
