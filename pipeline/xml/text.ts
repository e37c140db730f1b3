// deno-lint-ignore-file pubmamba/no-non-null-assertion -- every byte of PubMed passes here: looking twice costs 15 %
/**
 * Text of a stretch of XML that was already found well-formed: markup dropped, references decoded,
 * white space collapsed. Nothing is inserted or removed between text nodes.
 * @module
 */
import { Buffer } from "node:buffer";
import {
  AMP,
  APOSTROPHE,
  BANG,
  CLOSE_BRACKET,
  DASH,
  GT,
  HASH,
  LT,
  OPEN_BRACKET,
  QUESTION,
  QUOTE,
  SEMICOLON,
  SPACE,
  WHITE,
} from "./bytes.ts";

// TAB LF CR SPACE and the Unicode spaces; U+200B, U+FEFF and the soft hyphen are text.
const SPACES = /[ \t\r\n\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
const WIDE_SPACE = /[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Runs of white space become one space, none at the ends. */
export function normalizeSpace(text: string): string {
  const spaced = text.replace(SPACES, " ");
  // Not trim(): that would take U+FEFF along.
  const from = spaced.charCodeAt(0) === SPACE ? 1 : 0;
  const to = spaced.length - (spaced.charCodeAt(spaced.length - 1) === SPACE ? 1 : 0);
  return from < to ? spaced.slice(from, to) : "";
}

/** Node's buffers decode a stretch without a copy; these two methods are missing from its types. */
type SliceBuffer = Buffer & {
  latin1Slice(from: number, to: number): string;
  utf8Slice(from: number, to: number): string;
};

const CACHE_SLOTS = 1 << 13;
const CACHED_LENGTH = 40;

/** Reads texts out of one buffer; see {@linkcode TextReader.setBuffer}. */
export class TextReader {
  #bytes: Uint8Array = new Uint8Array();
  #buffer = Buffer.alloc(0) as SliceBuffer;
  #scratch = Buffer.alloc(1 << 12) as SliceBuffer;
  // Short ASCII texts repeat endlessly (months, languages, MeSH terms): kept by hash.
  readonly #cached: string[] = new Array<string>(CACHE_SLOTS).fill("");

  /** The buffer that offsets refer to from now on. */
  setBuffer(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) as SliceBuffer;
  }

  /**
   * The text of `[from, to)`. `marks` is 0 where the stretch has no markup and no references,
   * `high` is 0 where it has no byte above ASCII (either may be given too high).
   */
  read(from: number, to: number, marks: number, high: number): string {
    const bytes = this.#bytes;
    while (from < to && WHITE[bytes[from]!] === 1) from++;
    while (from < to && WHITE[bytes[to - 1]!] === 1) to--;
    if (from === to) return "";
    if (marks !== 0) return this.#flatten(from, to);
    for (let i = from; i < to; i++) {
      const c = bytes[i]!;
      if (c <= SPACE && (c !== SPACE || bytes[i + 1] === SPACE)) return this.#flatten(from, to);
    }
    return this.#plain(this.#buffer, bytes, from, to, high !== 0);
  }

  /** The whole number that `[from, to)` spells in digits, or -1. */
  integer(from: number, to: number): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let i = from; i < to; i++) {
      const digit = bytes[i]! - 0x30;
      if (digit < 0 || digit > 9) return this.#slowInteger(from, to);
      value = value * 10 + digit;
    }
    return from < to && to - from < 16 ? value : -1;
  }

  #slowInteger(from: number, to: number): number {
    const text = this.read(from, to, 1, 1);
    return /^\d{1,15}$/.test(text) ? Number(text) : -1;
  }

  #plain(buffer: SliceBuffer, bytes: Uint8Array, from: number, to: number, high: boolean): string {
    if (high) {
      const text = buffer.utf8Slice(from, to);
      return WIDE_SPACE.test(text) ? normalizeSpace(text) : text;
    }
    const length = to - from;
    if (length > CACHED_LENGTH) return buffer.latin1Slice(from, to);
    let hash = length;
    for (let i = from; i < to; i++) hash = Math.imul(hash, 31) + bytes[i]! | 0;
    hash ^= hash >>> 15;
    const slot = hash & (CACHE_SLOTS - 1);
    const known = this.#cached[slot]!;
    if (known.length === length) {
      let i = 0;
      while (i < length && known.charCodeAt(i) === bytes[from + i]) i++;
      if (i === length) return known;
    }
    return this.#cached[slot] = buffer.latin1Slice(from, to);
  }

  /** Copies the text's bytes into a scratch buffer, decoded and collapsed, then reads that. */
  #flatten(from: number, to: number): string {
    const bytes = this.#bytes;
    // A reference is never longer decoded than written, so the stretch's own length is enough.
    if (this.#scratch.length < to - from + 8) {
      this.#scratch = Buffer.alloc((to - from) * 2 + 8) as SliceBuffer;
    }
    const out = this.#scratch;
    let size = 0;
    let high = 0;
    let blank = true;
    const put = (c: number) => {
      high |= c;
      if (c > SPACE || WHITE[c] === 0) {
        out[size++] = c;
        blank = false;
      } else if (!blank) {
        out[size++] = SPACE;
        blank = true;
      }
    };
    for (let i = from; i < to;) {
      const c = bytes[i]!;
      if (c === LT) {
        const next = bytes[i + 1];
        if (next === BANG && bytes[i + 2] === OPEN_BRACKET) {
          for (i += 9; !(bytes[i] === CLOSE_BRACKET && closesCdata(bytes, i)); i++) put(bytes[i]!);
          i += 3;
        } else if (next === BANG) {
          i += 4;
          while (!(bytes[i] === DASH && bytes[i + 1] === DASH)) i++;
          i += 3;
        } else if (next === QUESTION) {
          i += 2;
          while (!(bytes[i] === QUESTION && bytes[i + 1] === GT)) i++;
          i += 2;
        } else i = endOfTag(bytes, i);
      } else if (c === AMP) {
        let end = i + 2;
        while (bytes[end] !== SEMICOLON) end++;
        const code = decodeReference(bytes, i + 1, end);
        if (code < 0x80) put(code);
        else {
          high = 0x80;
          blank = false;
          size += encodeUtf8(code, out, size);
        }
        i = end + 1;
      } else {
        put(c);
        i++;
      }
    }
    if (blank && size > 0) size--;
    return size === 0 ? "" : this.#plain(out, out, 0, size, high >= 0x80);
  }
}

function closesCdata(bytes: Uint8Array, at: number): boolean {
  return bytes[at + 1] === CLOSE_BRACKET && bytes[at + 2] === GT;
}

/** The offset behind the tag at `at`; `>` is legal in a quoted value. */
function endOfTag(bytes: Uint8Array, at: number): number {
  for (let i = at + 1;; i++) {
    const c = bytes[i];
    if (c === GT) return i + 1;
    if (c === QUOTE || c === APOSTROPHE) { do i++; while (bytes[i] !== c); }
  }
}

const NAMED: Record<string, number> = { lt: LT, gt: GT, amp: AMP, quot: QUOTE, apos: APOSTROPHE };

/** The code point of the reference `[from, to)` (what stands between `&` and `;`), or -1. */
export function decodeReference(bytes: Uint8Array, from: number, to: number): number {
  if (bytes[from] !== HASH) {
    let name = "";
    for (let i = from; i < to && i < from + 5; i++) name += String.fromCharCode(bytes[i]!);
    return to - from < 5 && Object.hasOwn(NAMED, name) ? NAMED[name]! : -1;
  }
  const hex = bytes[from + 1] === 0x78;
  let code = 0;
  let i = from + (hex ? 2 : 1);
  if (i >= to) return -1;
  for (; i < to; i++) {
    const c = bytes[i]!;
    const letter = c | 0x20;
    const digit = c >= 0x30 && c <= 0x39
      ? c - 0x30
      : hex && letter >= 0x61 && letter <= 0x66
      ? letter - 0x57
      : -1;
    if (digit < 0) return -1;
    code = Math.min(code * (hex ? 16 : 10) + digit, 0x110000);
  }
  return code;
}

/** Writes `code` into `out` at `at` as UTF-8; returns the number of bytes. */
function encodeUtf8(code: number, out: Uint8Array, at: number): number {
  if (code < 0x800) {
    out[at] = 0xc0 | code >> 6;
    out[at + 1] = 0x80 | code & 63;
    return 2;
  }
  if (code < 0x10000) {
    out[at] = 0xe0 | code >> 12;
    out[at + 1] = 0x80 | code >> 6 & 63;
    out[at + 2] = 0x80 | code & 63;
    return 3;
  }
  out[at] = 0xf0 | code >> 18;
  out[at + 1] = 0x80 | code >> 12 & 63;
  out[at + 2] = 0x80 | code >> 6 & 63;
  out[at + 3] = 0x80 | code & 63;
  return 4;
}
