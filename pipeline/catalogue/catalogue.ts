/**
 * The catalogue: which files are in the corpus and which record of a PMID is the live one. The
 * live set depends on the files applied and not on the order they came in: a row keeps the latest
 * event of its (PMID, version), by (file number, position in the file).
 * @module
 */
import { nth } from "../../core/nth.ts";
import { Database } from "./database.ts";
import {
  type FileEvents,
  type FileRow,
  type LiveCitation,
  PUT_DELETION,
  PUT_RECORD,
} from "./tables.ts";

export type { FileEvents, FileRow } from "./tables.ts";

/** How many PMIDs are looked up at a time; their places take a few MB. */
const PMID_STEP = 1 << 18;
/** file * PLACE + ordinal is one number for a place. */
const PLACE = 2 ** 32;
const COMMA = 44;
const ZERO = 48;

/** The catalogue of a corpus, in one SQLite file. */
export class Catalogue extends Database {
  /** The files of the corpus, in numeric order. */
  files(): FileRow[] {
    return this.prepare("SELECT * FROM files ORDER BY number").all() as unknown as FileRow[];
  }

  /**
   * Adds a file with its events; the whole of it or nothing. Where it replaces an earlier issue the
   * citations are marked to be built anew, see {@linkcode Catalogue.rebuild}.
   */
  addFile(file: FileRow, events: FileEvents, issuedAgain = false): void {
    this.transaction(() => {
      this.#putFile(file);
      this.prepare("DELETE FROM deletions WHERE file = ?").run(file.number);
      const deletion = this.prepare(
        "INSERT INTO deletions (file, ordinal, pmid, version) VALUES (?, ?, ?, ?)",
      );
      events.deletedPmids.forEach((pmid, i) =>
        deletion.run(
          file.number,
          nth(events.deletedOrdinals, i),
          pmid,
          nth(events.deletedVersions, i),
        )
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
      this.prepare(
        "UPDATE files SET state = 'tokens', tokens = ?, tokens_sha256 = ? WHERE number = ?",
      ).run(tokens, sha256, number);
      this.set("generation", String(this.generation + 1));
    });
  }

  /** Notes that a file's tokens are to be made again. */
  forgetTokens(number: number): void {
    this.prepare("UPDATE files SET state = 'documents' WHERE number = ?").run(number);
  }

  /** Notes that a download was taken away. */
  forgetRaw(number: number): void {
    this.prepare("UPDATE files SET raw = 0 WHERE number = ?").run(number);
  }

  /** Records another stamp of a file whose content did not change. */
  setStamp(number: number, stamp: string): void {
    this.prepare("UPDATE files SET stamp = ? WHERE number = ?").run(stamp, number);
  }

  /**
   * Builds all citations anew from the files' events: needed where a file was issued again, since
   * an event that a later one replaced is not kept.
   */
  async rebuild(
    feed: (apply: (file: number, events: FileEvents) => void) => Promise<void>,
  ): Promise<void> {
    try {
      this.database.exec("BEGIN IMMEDIATE");
      this.database.exec("DELETE FROM citations");
      await feed((file, events) => this.#apply(file, events));
      this.database.exec("DELETE FROM meta WHERE key = 'rebuild'");
      this.set("generation", String(this.generation + 1));
      this.database.exec("COMMIT");
    } catch (error) {
      try {
        this.database.exec("ROLLBACK");
      } catch { /* the failure already ended it */ }
      throw this.explain(error);
    }
  }

  /** The deletions that a file's DeleteCitation named. */
  deletionsOf(file: number): { ordinal: number; pmid: number; version: number }[] {
    const rows = this.prepare(
      "SELECT ordinal, pmid, version FROM deletions WHERE file = ? ORDER BY rowid",
    ).all(file);
    return rows as unknown as { ordinal: number; pmid: number; version: number }[];
  }

  #putFile(file: FileRow): void {
    this.prepare(
      `INSERT OR REPLACE INTO files (number, name, folder, md5, state, records, documents, deletions,
        xml_bytes, counts, tokens, documents_sha256, tokens_sha256, stamp,
        rejected_sha256, raw)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
      file.rejected_sha256,
      file.raw,
    );
  }

  #apply(number: number, events: FileEvents): void {
    // Millions of calls, so SQLite's own statements; the transaction around explains their errors.
    const record = this.database.prepare(PUT_RECORD);
    const deletion = this.database.prepare(PUT_DELETION);
    const { pmids, versions, ordinals, deletedPmids, deletedVersions, deletedOrdinals } = events;
    for (let i = 0; i < pmids.length; i++) {
      record.run(nth(pmids, i), nth(versions, i), number, nth(ordinals, i));
    }
    for (let i = 0; i < deletedPmids.length; i++) {
      deletion.run(nth(deletedPmids, i), nth(deletedVersions, i), number, nth(deletedOrdinals, i));
    }
  }

  /** The live citations by ascending PMID; `pmid` narrows to one. */
  *live(pmid?: number): Generator<LiveCitation> {
    const where = pmid === undefined ? "" : "AND pmid = ?";
    const rows = this.fresh(
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

  /**
   * Calls `take` with the place of every version that has a record, in the order of PMIDs. A row as
   * an object costs ten times what finding it does, so SQLite joins the numbers of many into one text.
   */
  heldPlaces(take: (file: number, ordinal: number) => void): void {
    const last = Number(this.prepare("SELECT max(pmid) AS pmid FROM citations").get()?.pmid ?? -1);
    const places = this.prepare(
      `SELECT CAST(group_concat(file * ${PLACE} + ordinal) AS BLOB) AS places FROM citations
       WHERE deleted = 0 AND pmid >= ? AND pmid < ?`,
    );
    for (let pmid = 0; pmid <= last; pmid += PMID_STEP) {
      const digits = places.get(pmid, pmid + PMID_STEP)?.places as Uint8Array | null;
      if (digits === null) continue;
      let place = 0;
      for (let i = 0; i <= digits.length; i++) {
        const digit = digits[i] ?? COMMA; // the last number ends where the text does
        if (digit !== COMMA) place = place * 10 + digit - ZERO;
        else {
          take(Math.floor(place / PLACE), place % PLACE);
          place = 0;
        }
      }
    }
  }

  /** The places of versions that have a record but not the highest version of their PMID. */
  *lowerVersions(): Generator<LiveCitation> {
    const rows = this.fresh(
      `SELECT pmid, version, file, ordinal FROM citations
       WHERE deleted = 0 AND pmid IN (SELECT pmid FROM citations WHERE version <> 1)
       ORDER BY pmid, version`,
    ).iterate() as unknown as Iterable<LiveCitation>;
    let last: LiveCitation | undefined;
    for (const row of rows) {
      if (last?.pmid === row.pmid) yield last;
      last = row;
    }
  }

  /** Where the latest event of a version of a PMID stands. */
  stateOf(pmid: number, version: number): { file: number; ordinal: number } | undefined {
    const row = this.prepare(
      "SELECT file, ordinal FROM citations WHERE pmid = ? AND version = ?",
    ).get(pmid, version);
    return row as { file: number; ordinal: number } | undefined;
  }

  /** How many versions of PMIDs have a record that no DeleteCitation removed. */
  versionsHeld(): number {
    return Number(
      this.prepare("SELECT count(*) AS n FROM citations WHERE deleted = 0").get()?.n ?? 0,
    );
  }

  /** Counts of citations; every record of the files is in one of the three. */
  counts(): { records: number; live: number; superseded: number; deleted: number } {
    const one = (sql: string) => this.prepare(sql).get() as Record<string, number | null>;
    const records = one("SELECT sum(documents) AS n FROM files").n ?? 0;
    const { held, gone } = one(
      "SELECT sum(deleted = 0) AS held, sum(deleted = 1) AS gone FROM citations",
    );
    let live = held ?? 0;
    for (const _ of this.lowerVersions()) live--;
    const deleted = gone ?? 0;
    return { records, live, deleted, superseded: records - live - deleted };
  }

  /** Notes that a command started; returns its id for {@linkcode Catalogue.finishRun}. */
  startRun(command: string): number {
    return Number(
      this.prepare("INSERT INTO runs (command, started) VALUES (?, ?)")
        .run(command, new Date().toISOString()).lastInsertRowid,
    );
  }

  /** Notes how a command ended. */
  finishRun(id: number, result: unknown): void {
    this.prepare("UPDATE runs SET finished = ?, result = ? WHERE id = ?")
      .run(new Date().toISOString(), JSON.stringify(result), id);
  }

  /** The latest runs, the newest first. */
  runs(limit: number): { command: string; started: string; finished: string | null }[] {
    const rows = this.prepare(
      "SELECT command, started, finished FROM runs ORDER BY id DESC LIMIT ?",
    ).all(limit);
    return rows as unknown as { command: string; started: string; finished: string | null }[];
  }
}
