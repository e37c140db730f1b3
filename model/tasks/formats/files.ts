/** Reading task files: whole, line by line, as JSON, and looking at their beginning. @module */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import type { Probe } from "./types.ts";

const BYTE_ORDER_MARK = "\ufeff";

/**
 * A file's text, without a byte order mark.
 * @throws {UserError} where it cannot be read, is packed or is not UTF-8.
 */
export function readText(path: string): string {
  const text = readWholeText(path);
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
}

/**
 * A file's text as it is, with a byte order mark where it has one.
 * @throws {UserError} as {@linkcode readText}.
 */
export function readWholeText(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`Cannot read ${path}: there is no such file; check the path`);
  }
  const packed = PACKED.find(({ begins }) => begins.every((byte, i) => bytes[i] === byte));
  if (packed) {
    throw new UserError(`Cannot read ${path}: it is packed by ${packed.by}; unpack it first`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError(`Cannot read ${path}: it is not UTF-8; convert it first`);
  }
}

/** The first bytes of packed files. */
const PACKED = [
  { by: "gzip", begins: [0x1f, 0x8b] },
  { by: "zip", begins: [0x50, 0x4b, 0x03, 0x04] },
];

/** A file's lines without their ends; a last line that is empty is left out. */
export function readLinesOf(path: string): string[] {
  const lines = readText(path).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Throws the error of a place in a file. */
export function failAt(path: string, line: number, what: string): never {
  throw new UserError(`Cannot read ${path}, line ${line}: ${what}`);
}

/**
 * A whole file as one JSON value.
 * @throws {UserError} where it is none.
 */
export function readJson(path: string): unknown {
  const text = readText(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UserError(`Cannot read ${path}: it is not JSON (${why}); mend the file`);
  }
}

/**
 * A file's lines as JSON objects, with the number of each line; blank lines are skipped. One list of
 * objects is read too, each with the line on which it begins.
 * @throws {UserError} naming the line that is no JSON object.
 */
export function readJsonLines(path: string): { value: Record<string, unknown>; line: number }[] {
  const text = readText(path);
  if (/^\s*\[/.test(text)) {
    const values = readJson(path);
    const lines = elementLines(text);
    return (Array.isArray(values) ? values : []).map((value, i) => {
      const line = lines[i] ?? 1;
      return { value: objectOf(value) ?? failAt(path, line, "it is not a JSON object"), line };
    });
  }
  const out: { value: Record<string, unknown>; line: number }[] = [];
  for (const [i, text] of readLinesOf(path).entries()) {
    if (text.trim() === "") continue;
    const value = parseObject(text);
    if (!value) failAt(path, i + 1, `"${text.slice(0, 60)}" is not a JSON object`);
    out.push({ value, line: i + 1 });
  }
  return out;
}

/** The line on which each element of a JSON list begins, from 1. */
function elementLines(text: string): number[] {
  const lines: number[] = [];
  let line = 1;
  let depth = 0;
  let quoted = false;
  let expected = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i] ?? "";
    if (character === "\n") line++;
    if (quoted) {
      if (character === "\\") i++;
      else if (character === '"') quoted = false;
      continue;
    }
    if (expected && !/[\s,\]]/.test(character)) {
      lines.push(line);
      expected = false;
    }
    if (character === '"') quoted = true;
    else if (character === "[" || character === "{") {
      depth++;
      if (depth === 1) expected = true;
    } else if (character === "]" || character === "}") depth--;
    else if (character === "," && depth === 1) expected = true;
  }
  return lines;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** A value as an object, where it is one. */
export function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

/** A value as a list of objects; empty where it is none. */
export function objectsOf(value: unknown): Record<string, unknown>[] {
  if (!Array.isArray(value)) return [];
  return value.map(objectOf).filter((item) => item !== undefined);
}

/** A value as a text, where it is a text, a number, or true or false. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}

/** A value as a list of texts: a text alone is a list of one. */
export function textsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => textOf(item) ?? []);
  const one = textOf(value);
  return one === undefined ? [] : [one];
}

const PROBE_BYTES = 1 << 18;
/** As far as is looked for the end of a first line: a file of JSON may be one line. */
const MOST_PROBE_BYTES = 1 << 22;
const PROBE_LINES = 200;

/**
 * Looks at a file or folder.
 * @throws {UserError} where there is none.
 */
export function probe(path: string): Probe {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`Cannot read ${path}: there is no such file or folder; check the path`);
  }
  const names = info.isDirectory ? [...Deno.readDirSync(path)].map((e) => e.name).sort() : [];
  const head = info.isDirectory ? "" : headOf(path);
  let whole: { value: unknown } | undefined;
  return {
    path,
    isFolder: info.isDirectory,
    names,
    lines: head.split(/\r?\n/).slice(0, PROBE_LINES),
    json() {
      if (!/^\s*[[{]/.test(head)) return undefined;
      if (!whole) {
        try {
          whole = { value: JSON.parse(readText(path)) };
        } catch {
          whole = { value: undefined };
        }
      }
      return whole.value;
    },
    jsonLines() {
      if (/^\s*\[/.test(head)) return objectsOf(this.json()).slice(0, 20);
      const lines = head.split(/\r?\n/).filter((line) => line.trim() !== "").slice(0, 20);
      const objects = lines.map(parseObject);
      return objects.every((o) => o !== undefined) ? objects : [];
    },
    child: (name) => probe(join(path, name)),
  };
}

/** Whole lines from the start of a file, or the start of a first line without end; "" where it is not text. */
function headOf(path: string): string {
  using file = Deno.openSync(path, { read: true });
  const newline = "\n".charCodeAt(0);
  let bytes = new Uint8Array(PROBE_BYTES);
  let length = 0;
  let ended = false;
  while (!ended && length < bytes.length) {
    const n = file.readSync(bytes.subarray(length));
    ended = n === null || n === 0;
    length += n ?? 0;
    if (length < bytes.length || length === MOST_PROBE_BYTES || bytes.includes(newline)) continue;
    const longer = new Uint8Array(MOST_PROBE_BYTES);
    longer.set(bytes);
    bytes = longer;
  }
  const text = new TextDecoder().decode(bytes.subarray(0, length));
  if (text.includes("\0")) return "";
  const cut = ended || !text.includes("\n") ? text : text.slice(0, text.lastIndexOf("\n") + 1);
  return cut.startsWith(BYTE_ORDER_MARK) ? cut.slice(1) : cut;
}
