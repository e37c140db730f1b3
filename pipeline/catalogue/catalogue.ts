/**
 * The catalogue: which files are in the corpus and which record of a PMID is the live one. The
 * live set depends on the files applied and not on the order they came in: a row keeps the latest
 * event of its (PMID, version), by (file number, position in the file).
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { dirname } from "../../core/std.ts";
import { isDiskFull, messageOf, UserError } from "../../core/errors.ts";

/** The layout of the tables; another number is another program's corpus. */
const SCHEMA_VERSION = 1;

const TABLES = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder TEXT NOT NULL, md5 TEXT NOT NULL,
  state TEXT NOT NULL, records INTEGER NOT NULL, documents INTEGER NOT NULL, deletions INTEGER NOT NULL,
  xml_bytes INTEGER NOT NULL, counts TEXT NOT NULL, tokens INTEGER, documents_sha256 TEXT NOT NULL,
  tokens_sha256 TEXT, stamp TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS citations (
  pmid INTEGER NOT NULL, version INTEGER NOT NULL, file INTEGER NOT NULL, ordinal INTEGER NOT NULL,
  deleted INTEGER NOT NULL, PRIMARY KEY (pmid, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletions (
  file INTEGER NOT NULL, ordinal INTEGER NOT NULL, pmid INTEGER NOT NULL, version INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS deletions_of_file ON deletions (file);
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, command TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
  result TEXT);`;

// "deleted": 0 there is a record, 1 a DeleteCitation removed it, 2 one named it before any record.
const NEWER = "(excluded.file, excluded.ordinal) >= (citations.file, citations.ordinal)";
const PUT_RECORD =
  `INSERT INTO citations (pmid, version, file, ordinal, deleted) VALUES (?, ?, ?, ?, 0)
ON CONFLICT (pmid, version) DO UPDATE SET
  deleted = CASE WHEN ${NEWER} THEN 0 ELSE min(deleted, 1) END,
  file = CASE WHEN ${NEWER} THEN excluded.file ELSE file END,
  ordinal = CASE WHEN ${NEWER} THEN excluded.ordinal ELSE ordinal END`;
const PUT_DELETION =
  `INSERT INTO citations (pmid, version, file, ordinal, deleted) VALUES (?, ?, ?, ?, 2)
ON CONFLICT (pmid, version) DO UPDATE SET
  deleted = max(deleted, 1), file = excluded.file, ordinal = excluded.ordinal WHERE ${NEWER}`;

/** How far a file has come. */
export type FileState = "documents" | "tokens";

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

/** The catalogue of a corpus, in one SQLite file. */
export class Catalogue {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /**
   * Opens the catalogue at `path`, making it where there is none (unless `readOnly`).
   * @throws {UserError} where it cannot be opened or is another version's.
   */
  constructor(readonly path: string, options: { readOnly?: boolean } = {}) {
    try {
      if (!options.readOnly) Deno.mkdirSync(dirname(path), { recursive: true });
      this.#db = new DatabaseSync(path, { readOnly: options.readOnly === true });
      this.#db.exec("PRAGMA busy_timeout = 10000");
      if (!options.readOnly) {
        // NORMAL in WAL: a crash of the machine may undo the last files, never damage the rest.
        this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
        this.#db.exec("PRAGMA cache_size = -65536");
        this.transaction(() => this.#db.exec(TABLES));
        if (this.get("schema") === undefined) this.set("schema", String(SCHEMA_VERSION));
      }
    } catch (error) {
      throw catalogueError(path, error);
    }
    const version = this.get("schema");
    if (version !== String(SCHEMA_VERSION)) {
      this.close();
      throw new UserError(
        `Cannot open the catalogue ${path}: its layout is version ${version}, this program's is ` +
          `${SCHEMA_VERSION}; build the corpus again in another folder`,
      );
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }

  /** Runs `action` in one transaction; an error undoes all of it. */
  transaction<T>(action: () => T): T {
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      const result = action();
      this.#db.exec("COMMIT");
      return result;
    } catch (error) {
      try {
        this.#db.exec("ROLLBACK");
      } catch { /* the failure already ended it */ }
      throw error instanceof UserError ? error : catalogueError(this.path, error);
    }
  }

  /** A setting of the corpus. */
  get(key: string): string | undefined {
    const row = this.#prepare("SELECT value FROM meta WHERE key = ?").get(key);
    return row ? String(row.value) : undefined;
  }

  /** Records a setting of the corpus. */
  set(key: string, value: string): void {
    this.#prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").run(key, value);
  }

  /** The files of the corpus, in numeric order. */
  files(): FileRow[] {
    return this.#prepare("SELECT * FROM files ORDER BY number").all() as unknown as FileRow[];
  }

  /**
   * Adds a file with its events; the whole of it or nothing. Where it replaces an earlier issue the
   * citations are marked to be built anew, see {@linkcode Catalogue.rebuild}.
   */
  addFile(file: FileRow, events: FileEvents, issuedAgain = false): void {
    this.transaction(() => {
      this.#putFile(file);
      this.#prepare("DELETE FROM deletions WHERE file = ?").run(file.number);
      const deletion = this.#prepare(
        "INSERT INTO deletions (file, ordinal, pmid, version) VALUES (?, ?, ?, ?)",
      );
      events.deletedPmids.forEach((pmid, i) =>
        deletion.run(file.number, events.deletedOrdinals[i]!, pmid, events.deletedVersions[i]!)
      );
      if (issuedAgain) this.set("rebuild", "1");
      else this.#apply(file.number, events);
      this.set("generation", String(this.generation + 1));
    });
  }

  /** Counts the changes of the live set; shards name the one they were built at. */
  get generation(): number {
    return Number(this.get("generation") ?? 0);
  }

  /** Records that a file's tokens are written. */
  setTokens(number: number, tokens: number, sha256: string): void {
    this.transaction(() => {
      this.#prepare(
        "UPDATE files SET state = 'tokens', tokens = ?, tokens_sha256 = ? WHERE number = ?",
      ).run(tokens, sha256, number);
      this.set("generation", String(this.generation + 1));
    });
  }

  /** Records another stamp of a file whose content did not change. */
  setStamp(number: number, stamp: string): void {
    this.#prepare("UPDATE files SET stamp = ? WHERE number = ?").run(stamp, number);
  }

  /**
   * Builds all citations anew from the files' events: needed where a file was issued again, since
   * an event that a later one replaced is not kept.
   */
  async rebuild(
    feed: (apply: (file: number, events: FileEvents) => void) => Promise<void>,
  ): Promise<void> {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      this.#db.exec("DELETE FROM citations");
      await feed((file, events) => this.#apply(file, events));
      this.#db.exec("DELETE FROM meta WHERE key = 'rebuild'");
      this.set("generation", String(this.generation + 1));
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error instanceof UserError ? error : catalogueError(this.path, error);
    }
  }

  /** The deletions that a file's DeleteCitation named. */
  deletionsOf(file: number): { ordinal: number; pmid: number; version: number }[] {
    const rows = this.#prepare(
      "SELECT ordinal, pmid, version FROM deletions WHERE file = ? ORDER BY rowid",
    ).all(file);
    return rows as unknown as { ordinal: number; pmid: number; version: number }[];
  }

  #putFile(file: FileRow): void {
    this.#prepare(
      `INSERT OR REPLACE INTO files (number, name, folder, md5, state, records, documents, deletions,
        xml_bytes, counts, tokens, documents_sha256, tokens_sha256, stamp)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      file.number,
      file.name,
      file.folder,
      file.md5,
      file.state,
      file.records,
      file.documents,
      file.deletions,
      file.xml_bytes,
      file.counts,
      file.tokens,
      file.documents_sha256,
      file.tokens_sha256,
      file.stamp,
    );
  }

  #apply(number: number, events: FileEvents): void {
    const record = this.#prepare(PUT_RECORD), deletion = this.#prepare(PUT_DELETION);
    const { pmids, versions, ordinals, deletedPmids, deletedVersions, deletedOrdinals } = events;
    for (let i = 0; i < pmids.length; i++) {
      record.run(pmids[i]!, versions[i]!, number, ordinals[i]!);
    }
    for (let i = 0; i < deletedPmids.length; i++) {
      deletion.run(deletedPmids[i]!, deletedVersions[i]!, number, deletedOrdinals[i]!);
    }
  }

  /** The live citations by ascending PMID; `pmid` narrows to one. */
  *live(pmid?: number): Generator<LiveCitation> {
    const where = pmid === undefined ? "" : "AND pmid = ?";
    const rows = this.#db.prepare(
      `SELECT pmid, version, file, ordinal FROM citations WHERE deleted = 0 ${where}
       ORDER BY pmid, version`,
    ).iterate(...(pmid === undefined ? [] : [pmid])) as unknown as Iterable<LiveCitation>;
    let last: LiveCitation | undefined;
    for (const row of rows) {
      if (last && last.pmid !== row.pmid) yield last;
      last = row;
    }
    if (last) yield last;
  }

  /** Where the latest event of a version of a PMID stands. */
  stateOf(pmid: number, version: number): { file: number; ordinal: number } | undefined {
    const row = this.#prepare(
      "SELECT file, ordinal FROM citations WHERE pmid = ? AND version = ?",
    ).get(pmid, version);
    return row as { file: number; ordinal: number } | undefined;
  }

  /** How many versions of PMIDs have a record that no DeleteCitation removed. */
  versionsHeld(): number {
    return Number(
      this.#prepare("SELECT count(*) AS n FROM citations WHERE deleted = 0").get()?.n ?? 0,
    );
  }

  /** Counts of citations; every record of the files is in one of the three. */
  counts(): { records: number; live: number; superseded: number; deleted: number } {
    const one = (sql: string) => Number(Object.values(this.#prepare(sql).get() ?? {})[0] ?? 0);
    const records = one("SELECT sum(documents) FROM files");
    const live = one("SELECT count(DISTINCT pmid) FROM citations WHERE deleted = 0");
    const deleted = one("SELECT count(*) FROM citations WHERE deleted = 1");
    return { records, live, deleted, superseded: records - live - deleted };
  }

  /** Notes that a command started; returns its id for {@linkcode Catalogue.finishRun}. */
  startRun(command: string): number {
    return Number(
      this.#prepare("INSERT INTO runs (command, started) VALUES (?, ?)")
        .run(command, new Date().toISOString()).lastInsertRowid,
    );
  }

  /** Notes how a command ended. */
  finishRun(id: number, result: unknown): void {
    this.#prepare("UPDATE runs SET finished = ?, result = ? WHERE id = ?")
      .run(new Date().toISOString(), JSON.stringify(result), id);
  }

  /** The latest runs, the newest first. */
  runs(limit: number): { command: string; started: string; finished: string | null }[] {
    const rows = this.#prepare(
      "SELECT command, started, finished FROM runs ORDER BY id DESC LIMIT ?",
    ).all(limit);
    return rows as unknown as { command: string; started: string; finished: string | null }[];
  }

  /**
   * SQLite's own check of the file.
   * @returns what is wrong, or undefined.
   */
  check(): string | undefined {
    const row = this.#db.prepare("PRAGMA quick_check(1)").get();
    const answer = String(Object.values(row ?? {})[0]);
    return answer === "ok" ? undefined : answer;
  }

  /** False once it is closed. */
  get isOpen(): boolean {
    return this.#db.isOpen;
  }

  /** Closes the file; harmless when it is closed. */
  close(): void {
    this.#statements.clear();
    if (this.#db.isOpen) this.#db.close();
  }
}

function catalogueError(path: string, error: unknown): Error {
  const message = messageOf(error);
  if (isDiskFull(error) || /disk is full/i.test(message)) {
    return new UserError(
      `Cannot write the catalogue ${path}: the disk is full; free some space and run the same command again`,
    );
  }
  return new UserError(`Cannot use the catalogue ${path}: ${message}`);
}
