/**
 * The SQLite file under the catalogue: opening it, transactions, settings, errors.
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { dirname } from "../../core/std.ts";
import { isDiskFull, messageOf, UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { SCHEMA_CHANGES, SCHEMA_VERSION, TABLES } from "./tables.ts";

/** Stands for the version of a file that is no catalogue. */
const NOT_OURS = "none";

/** SQLite's code of failed reads and writes, and the one of a file that ends too soon. */
const IO_ERROR = 10;
const SHORT_READ = 522;

/** What a column of a row can be, in either direction. */
type Value = string | number | bigint | null | Uint8Array;

/** A compiled statement whose errors are sentences. */
class Statement {
  readonly #statement: StatementSync;
  readonly #explain: (error: unknown) => Error;

  constructor(statement: StatementSync, explain: (error: unknown) => Error) {
    this.#statement = statement;
    this.#explain = explain;
  }

  /** All rows. */
  all(...values: Value[]): Record<string, unknown>[] {
    return this.#guard(() => this.#statement.all(...values)) as Record<string, unknown>[];
  }

  /** The first row. */
  get(...values: Value[]): Record<string, unknown> | undefined {
    return this.#guard(() => this.#statement.get(...values)) as Record<string, unknown> | undefined;
  }

  /** Runs a statement that gives no rows. */
  run(...values: Value[]): { lastInsertRowid: number | bigint } {
    return this.#guard(() => this.#statement.run(...values));
  }

  /** The rows, one after the other. */
  *iterate(...values: Value[]): Generator<Record<string, unknown>> {
    const rows = this.#guard(() => this.#statement.iterate(...values)) as Iterator<
      Record<string, unknown>
    >;
    for (;;) {
      const next = this.#guard(() => rows.next());
      if (next.done) return;
      yield next.value;
    }
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw this.#explain(error);
    }
  }
}

/** An open file of a catalogue's layout. */
export class Database {
  protected readonly database: DatabaseSync;
  readonly #statements = new Map<string, Statement>();

  /**
   * Opens the catalogue at `path`, making it where there is none (unless `readOnly`).
   * @throws {UserError} where it cannot be opened or is another version's.
   */
  constructor(readonly path: string, options: { readOnly?: boolean } = {}) {
    let version: string | undefined;
    let opened: DatabaseSync | undefined;
    try {
      if (!options.readOnly) Deno.mkdirSync(dirname(path), { recursive: true });
      opened = new DatabaseSync(path, { readOnly: options.readOnly === true });
      this.database = opened;
      this.database.exec("PRAGMA busy_timeout = 10000");
      // A file of another program is left as it is.
      version = this.#schemaVersion();
      if (!options.readOnly && version !== NOT_OURS) this.#prepareForWriting(version);
    } catch (error) {
      if (opened?.isOpen) opened.close();
      throw catalogueError(path, error, options.readOnly);
    }
    if (version === NOT_OURS) {
      this.close();
      throw new UserError(
        `Cannot use ${path} as a catalogue: another program made it; name another corpus folder`,
      );
    }
    if (version === undefined && options.readOnly) {
      this.close();
      throw new UserError(
        `Cannot find a corpus in ${
          dirname(path)
        }: its catalogue is still empty, as a first run that ` +
          'was cut short leaves it; run "pipeline run" again',
      );
    }
    version = this.get("schema");
    const readable = version === String(SCHEMA_VERSION) ||
      options.readOnly === true && version !== undefined && SCHEMA_CHANGES.has(version);
    if (!readable) {
      this.close();
      throw new UserError(
        `Cannot open the catalogue ${path}: its layout is version ${version}, this program's is ` +
          `${SCHEMA_VERSION}; build the corpus again in another folder`,
      );
    }
  }

  /** The version that a file says it has; undefined for an empty one. */
  #schemaVersion(): string | undefined {
    const tables = this.database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
      .all();
    if (tables.length === 0) return undefined;
    if (!tables.some(({ name }) => name === "meta")) return NOT_OURS;
    try {
      return this.get("schema") ?? NOT_OURS;
    } catch {
      return NOT_OURS;
    }
  }

  #prepareForWriting(version: string | undefined): void {
    // NORMAL in WAL: a crash of the machine may undo the last files, never damage the rest.
    this.database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    this.database.exec("PRAGMA cache_size = -65536");
    this.transaction(() => {
      if (version === undefined) {
        this.database.exec(TABLES);
        this.set("schema", String(SCHEMA_VERSION));
      }
      const change = version === undefined ? undefined : SCHEMA_CHANGES.get(version);
      if (change !== undefined) {
        this.database.exec(change);
        this.set("schema", String(SCHEMA_VERSION));
      }
    });
  }

  /** A statement, compiled once. */
  protected prepare(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.fresh(sql));
    return statement;
  }

  /** A statement of its own, for rows that are read one by one while others are asked for. */
  protected fresh(sql: string): Statement {
    try {
      return new Statement(this.database.prepare(sql), (error) => this.explain(error));
    } catch (error) {
      throw this.explain(error);
    }
  }

  /**
   * Runs `action` in one read transaction: it sees the catalogue as it is at the start, whatever
   * another process writes meanwhile.
   */
  async reading<T>(action: () => Promise<T>): Promise<T> {
    this.database.exec("BEGIN");
    try {
      this.get("schema"); // the transaction begins with the first reading
      return await action();
    } finally {
      try {
        this.database.exec("COMMIT");
      } catch { /* a failure already ended it */ }
    }
  }

  /** Runs `action` in one transaction; an error undoes all of it. */
  transaction<T>(action: () => T): T {
    try {
      this.database.exec("BEGIN IMMEDIATE");
      const result = action();
      this.database.exec("COMMIT");
      return result;
    } catch (error) {
      try {
        this.database.exec("ROLLBACK");
      } catch { /* the failure already ended it */ }
      throw this.explain(error);
    }
  }

  /** A setting of the corpus. */
  get(key: string): string | undefined {
    const row = this.prepare("SELECT value FROM meta WHERE key = ?").get(key);
    return row ? String(row.value) : undefined;
  }

  /** Records a setting of the corpus. */
  set(key: string, value: string): void {
    this.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").run(key, value);
  }

  /** Forgets a setting. */
  unset(key: string): void {
    this.prepare("DELETE FROM meta WHERE key = ?").run(key);
  }

  /** What to throw for an error of SQLite's. */
  protected explain(error: unknown): Error {
    return error instanceof UserError ? error : catalogueError(this.path, error);
  }

  /**
   * SQLite's own check of the file.
   * @returns what is wrong, or undefined.
   */
  check(): string | undefined {
    let answer: string;
    try {
      const row = this.database.prepare("PRAGMA integrity_check(1)").get();
      answer = String(Object.values(row ?? {})[0]);
    } catch (error) {
      answer = messageOf(error);
    }
    return answer === "ok" ? undefined : answer;
  }

  /** False once it is closed. */
  get isOpen(): boolean {
    return this.database.isOpen;
  }

  /** Closes the file; harmless when it is closed. */
  close(): void {
    this.#statements.clear();
    if (this.database.isOpen) this.database.close();
  }
}

function catalogueError(path: string, error: unknown, readOnly = false): Error {
  if (error instanceof UserError) return error;
  const message = messageOf(error);
  if (isDiskFull(error) || /disk is full/i.test(message)) {
    return new UserError(
      `Cannot write the catalogue ${path}: the disk is full; free some space and run the same command again`,
    );
  }
  // SQLite's extended codes: the lowest byte tells the kind, the rest what it was doing.
  const code = (error as { errcode?: number } | undefined)?.errcode ?? 0;
  if ((code & 0xff) === IO_ERROR && code !== SHORT_READ) {
    return new UserError(
      `Cannot use the catalogue ${path}: the disk is full or failing (${message}, ${code}); free some ` +
        "space, and run the same command again",
    );
  }
  if (/malformed|not a database|disk I\/O|corrupt/i.test(message)) {
    return new UserError(
      `Cannot use the catalogue ${path}: it is damaged (${message}); put the one of a backup in its ` +
        "place, or build the corpus again in another folder",
    );
  }
  if (readOnly && /readonly database|unable to open/i.test(message) && exists(path)) {
    return new UserError(
      `Cannot read the catalogue ${path}: its folder cannot be written, and the command that changed ` +
        'it last was cut short or is older; let its owner run "pipeline run" once, or copy the corpus',
    );
  }
  if (/readonly database|unable to open/i.test(message)) {
    return new UserError(
      `Cannot write the catalogue ${path}: the file or its folder cannot be written; see to the ` +
        "rights, or copy the corpus to a place of your own",
    );
  }
  if (/database is locked/i.test(message)) {
    return new UserError(
      `Cannot use the catalogue ${path}: another program holds it; wait until that is done`,
    );
  }
  return new UserError(
    `Cannot use the catalogue ${path}: ${message}; "pipeline verify" says whether it is whole`,
  );
}
