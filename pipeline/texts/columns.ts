/**
 * Columns of texts: what the records of JSON lines or Parquet say besides their text, as plain
 * values by name. A member of an object has the names on the way to it, joined by dots.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";

/** A plain value. */
export type Scalar = string | number | boolean;

/** A column of a file's documents. */
export interface Column {
  name: string;
  /** "mixed" where records disagree: its values are kept as strings. */
  kind: "string" | "number" | "boolean" | "mixed";
  /** True where a record has several values, or an array. */
  list: boolean;
}

/** The most columns of a file. Records with more use names as data, and nobody chooses by those. */
const MOST_COLUMNS = 256;
/** What lies deeper in a record is left out. */
const DEEPEST = 8;
/** Of every record's own making. */
const RESERVED = new Set(["text", "id"]);

const KINDS = ["string", "number", "boolean"] as const;

/** Finds out which columns the records of a file have. */
export class ColumnSurvey {
  readonly #columns = new Map<string, { kinds: number; list: boolean; record: number }>();
  #records = 0;

  /** @param path the file, for errors */
  constructor(readonly path: string) {}

  /** Takes a record. @throws {UserError} where the records have too many columns. */
  add(record: object): void {
    const number = ++this.#records;
    eachValue(record, (name, value, list) => {
      let column = this.#columns.get(name);
      if (!column) {
        if (this.#columns.size === MOST_COLUMNS) {
          throw new UserError(
            `Cannot read ${this.path}: its records have more than ${MOST_COLUMNS} columns (the next ` +
              `is "${name}", of record ${number}); leave out of them what documents are not chosen by`,
          );
        }
        this.#columns.set(name, column = { kinds: 0, list: false, record: 0 });
      }
      column.kinds |= 1 << KINDS.indexOf(typeof value as typeof KINDS[number]);
      column.list ||= list || column.record === number;
      column.record = number;
    });
  }

  /** The columns by name. */
  columns(): Column[] {
    return [...this.#columns].sort(([a], [b]) => a < b ? -1 : 1).map(([name, { kinds, list }]) => {
      const kind = KINDS.find((_, k) => kinds === 1 << k) ?? "mixed";
      return { name, kind, list };
    });
  }
}

/** Turns records into rows of a survey's columns. */
export class ColumnRows {
  readonly #places: Map<string, number>;

  constructor(readonly columns: readonly Column[]) {
    this.#places = new Map(columns.map(({ name }, i) => [name, i]));
  }

  /** A record's values, in the columns' order: null, or an empty list, where it has none. */
  row(record: object): (Scalar | Scalar[] | null)[] {
    const row: (Scalar | Scalar[] | null)[] = this.columns.map(({ list }) => list ? [] : null);
    eachValue(record, (name, value) => {
      const place = this.#places.get(name) ?? fail(`the survey saw no column ${name}`);
      const { kind, list } = this.columns[place] ?? fail(`there is no column ${place}`);
      const kept = kind === "mixed" ? String(value) : value;
      if (list) (row[place] as Scalar[]).push(kept);
      else row[place] = kept;
    });
    return row;
  }
}

/** Hands over every plain value of a record but its text and id; null and bytes are none. */
function eachValue(
  record: object,
  use: (name: string, value: Scalar, list: boolean) => void,
): void {
  const walk = (value: unknown, name: string, list: boolean, depth: number): void => {
    if (typeof value === "object" && value !== null) {
      if (depth === DEEPEST || ArrayBuffer.isView(value)) return;
      if (value instanceof Date) {
        if (!Number.isNaN(value.getTime())) use(name, value.toISOString(), list);
      } else if (Array.isArray(value)) {
        for (const member of value) walk(member, name, true, depth + 1);
      } else {
        for (const [key, member] of Object.entries(value)) {
          walk(member, `${name}.${key}`, list, depth + 1);
        }
      }
    } else if (name === "" || RESERVED.has(name)) return;
    else if (typeof value === "string" || typeof value === "boolean") use(name, value, list);
    else if (typeof value === "number" && Number.isFinite(value)) use(name, value, list);
    else if (typeof value === "bigint") {
      // 64 bits that a double does not hold are a name, not a quantity.
      use(name, Number.isSafeInteger(Number(value)) ? Number(value) : String(value), list);
    }
  };
  for (const [key, value] of Object.entries(record)) walk(value, key, false, 1);
}
