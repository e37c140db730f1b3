/** Texts from JSON lines and plain text files, line by line, so that memory stays flat. @module */
import { UserError } from "./errors.ts";
import { openForReading } from "./files.ts";

const BLOCK_BYTES = 1 << 20;

/** The longest text of a record, or of a whole file that is one; a string holds twice as much. */
export const MAX_TEXT_CHARACTERS: number = 1 << 28;

/**
 * The lines of a UTF-8 file, without their ends, with how many bytes have been read so far.
 * @throws {UserError} where it cannot be read, is not UTF-8, or has a line of more than `longest`.
 */
export function* readLines(
  path: string,
  longest: number = MAX_TEXT_CHARACTERS,
): Generator<{ line: string; bytesRead: number }> {
  const file = openForReading(path, "file", "name a file that can be read");
  const block = new Uint8Array(BLOCK_BYTES);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let bytesRead = 0;
  let number = 1;
  let held = 0;
  // The pieces of a line that has not ended: joined once, so that a long line takes linear time.
  let pieces: string[] = [];
  const decode = (bytes?: Uint8Array) => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch {
      throw new UserError(
        `Cannot read ${path}: it is not UTF-8 within the first ${bytesRead} bytes; convert it first`,
      );
    }
  };
  try {
    for (let n = file.readSync(block); n !== null; n = file.readSync(block)) {
      bytesRead += n;
      const lines = decode(block.subarray(0, n)).split("\n");
      const rest = lines.pop() ?? "";
      for (const end of lines) {
        const line = pieces.length === 0 ? end : pieces.join("") + end;
        pieces = [];
        held = 0;
        number++;
        yield { line: withoutReturn(line), bytesRead };
      }
      pieces.push(rest);
      held += rest.length;
      if (held > longest) {
        throw new UserError(
          `Cannot read ${path}, line ${number}: it is longer than ${longest} characters; give a text a ` +
            "line",
        );
      }
    }
    pieces.push(decode());
    const line = pieces.join("");
    if (line !== "") yield { line: withoutReturn(line), bytesRead };
  } finally {
    file.close();
  }
}

const withoutReturn = (line: string) => line.endsWith("\r") ? line.slice(0, -1) : line;

/** A line of JSON that has a text. */
interface JsonRecord {
  text: string;
  [key: string]: unknown;
}

/**
 * The texts of a file: the field `text` of each line of a `.jsonl` file, each line of any other.
 * Empty lines are passed over.
 * @throws {UserError} naming the file and line where a line is no JSON object with a `text`.
 */
export function* readTextInput(path: string): Generator<{ text: string; bytesRead: number }> {
  if (/\.(jsonl|ndjson|json)$/.test(path)) {
    for (const { record, bytesRead } of readJsonLines(path)) yield { text: record.text, bytesRead };
    return;
  }
  for (const { line, bytesRead } of readLines(path)) {
    if (line.trim() !== "") yield { text: line, bytesRead };
  }
}

/**
 * The objects of a file of JSON lines, with their lines counted from 1. Empty lines are passed over.
 * @throws {UserError} naming the file and line where a line is no JSON object with a `text`.
 */
export function* readJsonLines(
  path: string,
): Generator<{ record: JsonRecord; number: number; bytesRead: number }> {
  let number = 0;
  for (const { line, bytesRead } of readLines(path)) {
    number++;
    if (line.trim() !== "") yield { record: recordOf(line, path, number), number, bytesRead };
  }
}

function recordOf(line: string, path: string, number: number): JsonRecord {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new UserError(`Cannot read ${path}, line ${number}: ${(error as Error).message}`);
  }
  const record = value as Partial<JsonRecord> | null;
  if (typeof record?.text === "string") return record as JsonRecord;
  throw new UserError(
    `Cannot read ${path}, line ${number}: it is no JSON object with a "text" string`,
  );
}
