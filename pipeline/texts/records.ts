/** The records of a source file of texts: JSON lines, Parquet, or a plain text. @module */
import { UserError } from "../../core/errors.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { MAX_TEXT_CHARACTERS, readJsonLines } from "../../core/text_input.ts";

/** A record. */
interface TextRecord {
  text: string;
  /** Its own `id`, where that is a string or a number, or its line or row, counted from 1. */
  id: string;
  /** All of it. */
  record: Record<string, unknown>;
}

/**
 * The records of a file: each JSON line or Parquet row with a `text`, or a whole .txt file. A file of
 * Parquet takes the memory of one of its row groups.
 * @throws {UserError} where one has no `text` that is a string, or the file cannot be read.
 */
export async function* readRecords(path: string): AsyncGenerator<TextRecord> {
  if (path.endsWith(".txt")) {
    const { size } = Deno.statSync(path);
    if (size > MAX_TEXT_CHARACTERS) {
      throw new UserError(
        `Cannot read ${path}: it has ${size} bytes, and a document at most ${MAX_TEXT_CHARACTERS}; split ` +
          "it into documents, as JSON lines",
      );
    }
    yield { text: Deno.readTextFileSync(path), id: "1", record: {} };
  } else if (path.endsWith(".parquet")) yield* parquetRecords(path);
  else {
    for (const { record, number } of readJsonLines(path)) {
      yield { text: record.text, id: idOf(record, number), record };
    }
  }
}

async function* parquetRecords(path: string): AsyncGenerator<TextRecord> {
  using reader = new ParquetReader(
    path,
    "write it anew, uncompressed or with ZSTD, Snappy, GZIP or Brotli, or take it away",
  );
  for await (const { first, rows } of reader.each<Record<string, unknown>>()) {
    for (const [i, record] of rows.entries()) {
      const number = first + i + 1;
      const { text } = record;
      if (typeof text !== "string") {
        throw new UserError(
          `Cannot read ${path}, row ${number}: it has no "text" that is a string; rename the column ` +
            "of texts, or leave the row out",
        );
      }
      yield { text, id: idOf(record, number), record };
    }
  }
}

function idOf({ id }: Record<string, unknown>, number: number): string {
  return typeof id === "string" || typeof id === "number" || typeof id === "bigint"
    ? String(id)
    : String(number);
}
