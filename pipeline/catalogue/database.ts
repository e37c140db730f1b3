/**
 * The SQLite file under the catalogue: opening it, transactions, settings, errors.
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { dirname } from "../../core/std.ts";
import { isDiskFull, messageOf, UserError } from "../../core/errors.ts";
import { SCHEMA_VERSION, TABLES } from "./tables.ts";

/** An open file of a catalogue's layout. */
export class Database {
  protected readonly database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /**
   * Opens the catalogue at `path`, making it where there is none (unless `readOnly`).
   * @throws {UserError} where it cannot be opened or is another version's.
   */
  constructor(readonly path: string, options: { readOnly?: boolean } = {}) {
    try {
      if (!options.readOnly) Deno.mkdirSync(dirname(path), { recursive: true });
      this.database = new DatabaseSync(path, { readOnly: options.readOnly === true });
      this.database.exec("PRAGMA busy_timeout = 10000");
      if (!options.readOnly) {
        // NORMAL in WAL: a crash of the machine may undo the last files, never damage the rest.
        this.database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
        this.database.exec("PRAGMA cache_size = -65536");
        this.transaction(() => this.database.exec(TABLES));
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

  /** A statement, compiled once. */
  protected prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.database.prepare(sql));
    return statement;
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

  /** What to throw for an error of SQLite's. */
  protected explain(error: unknown): Error {
    return error instanceof UserError ? error : catalogueError(this.path, error);
  }

  /**
   * SQLite's own check of the file.
   * @returns what is wrong, or undefined.
   */
  check(): string | undefined {
    const row = this.database.prepare("PRAGMA quick_check(1)").get();
    const answer = String(Object.values(row ?? {})[0]);
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

function catalogueError(path: string, error: unknown): Error {
  const message = messageOf(error);
  if (isDiskFull(error) || /disk is full/i.test(message)) {
    return new UserError(
      `Cannot write the catalogue ${path}: the disk is full; free some space and run the same command again`,
    );
  }
  return new UserError(`Cannot use the catalogue ${path}: ${message}`);
}
