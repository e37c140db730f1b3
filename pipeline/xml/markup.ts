// deno-lint-ignore-file pubmamba/no-non-null-assertion -- every byte of PubMed passes here: looking twice costs 15 %
/**
 * What XML is written with besides tags: names, references, characters, comments, instructions and
 * CDATA sections, each checked against XML 1.0 as it is stepped over.
 * @module
 */
import {
  bytesOf,
  CLOSE_BRACKET,
  DASH,
  GT,
  isName,
  isXmlChar,
  NAME,
  NAME_START,
  QUESTION,
  SEMICOLON,
  WHITE,
} from "./bytes.ts";
import { decodeReference } from "./text.ts";

/** Thrown (and caught) inside the scanner where the bytes at hand end too soon. */
export const INCOMPLETE: Error = new Error("incomplete");

/** Not well-formed; `offset` counts bytes from the start of the document. */
export class XmlError extends Error {
  override name = "XmlError";
  constructor(message: string, readonly offset: number) {
    super(message);
  }
}

const CDATA = bytesOf("<![CDATA[");
const decoder = new TextDecoder();

/** Steps over pieces of a buffer of bytes that ends in zeros (which are no XML characters). */
export class MarkupScanner {
  /** The bytes; at least 16 zeros follow the first `length`. */
  protected bytes: Uint8Array = new Uint8Array(16);
  protected length = 0;
  /** The document offset of `bytes[0]`. */
  protected base = 0;
  /** @throws {XmlError}, or INCOMPLETE where `at` lies behind the bytes at hand. */
  protected fail(at: number, message: string): never {
    if (at >= this.length) throw INCOMPLETE;
    throw new XmlError(message, this.base + at);
  }

  /** Reads a start tag's name; returns the offset behind it. */
  protected name(at: number, what: string): number {
    const bytes = this.bytes;
    if (NAME_START[bytes[at]!] === 0) this.fail(at, `${what} has no name`);
    let p = at;
    let all = 0;
    for (let c = bytes[p]!; NAME[c] === 1; c = bytes[++p]!) all |= c;
    if (p >= this.length) throw INCOMPLETE;
    if (all >= 0x80) this.checkName(at, p);
    return p;
  }

  /** Reads a comment; returns the offset behind it. */
  protected comment(at: number): number {
    const bytes = this.bytes;
    if (bytes[at + 2] !== DASH) this.fail(at + 2, "<! that starts no comment and no CDATA section");
    if (bytes[at + 3] !== DASH) this.fail(at + 3, "<! that starts no comment and no CDATA section");
    for (let i = at + 4;;) {
      if (bytes[i] === DASH && bytes[i + 1] === DASH) {
        if (bytes[i + 2] === GT) return i + 3;
        this.fail(i + 2, "-- inside a comment");
      }
      i = this.#anyCharacter(i);
    }
  }

  /** Reads a processing instruction; returns the offset behind it. */
  protected instruction(at: number): number {
    const bytes = this.bytes;
    const end = this.name(at + 2, "a processing instruction");
    if (end === at + 5 && /^xml$/i.test(decoder.decode(bytes.subarray(at + 2, end)))) {
      this.fail(at, "an XML declaration that is not at the start of the document");
    }
    let i = end;
    if (WHITE[bytes[i]!] === 0 && bytes[i] !== QUESTION) {
      this.fail(i, "a processing instruction's name is followed by no space");
    }
    while (!(bytes[i] === QUESTION && bytes[i + 1] === GT)) {
      if (i === end && bytes[i] === QUESTION) {
        this.fail(i + 1, "a processing instruction ends in ?");
      }
      i = this.#anyCharacter(i);
    }
    return i + 2;
  }

  /** Checks the reference at `at`; returns the offset behind it. */
  protected reference(at: number): number {
    const bytes = this.bytes;
    let end = at + 1;
    if (bytes[end] === 0x23) end++;
    for (let c = bytes[end]!; NAME[c] === 1; c = bytes[++end]!);
    if (bytes[end] !== SEMICOLON) this.fail(end, "an & that starts no reference: write &amp;");
    const code = decodeReference(bytes, at + 1, end);
    if (isXmlChar(code)) return end + 1;
    const name = decoder.decode(bytes.subarray(at, Math.min(end + 1, at + 40)));
    this.fail(
      at,
      code < 0 && bytes[at + 1] !== 0x23
        ? `the entity ${name} is not defined`
        : `${name} is no XML character`,
    );
  }

  /** Checks the UTF-8 sequence at `at`; returns the offset behind it. */
  protected character(at: number): number {
    const bytes = this.bytes;
    const a = bytes[at]!;
    const b = bytes[at + 1]!;
    if (a >= 0xc2 && a < 0xe0) {
      if ((b & 0xc0) === 0x80) return at + 2;
    } else if (a >= 0xe0 && a < 0xf0) {
      const c = bytes[at + 2]!;
      if ((b & 0xc0) === 0x80 && (c & 0xc0) === 0x80) {
        const code = (a & 15) << 12 | (b & 63) << 6 | c & 63;
        if (code >= 0x800 && isXmlChar(code)) return at + 3;
        this.fail(at, "bytes that are no UTF-8 of an XML character");
      }
      if ((b & 0xc0) === 0x80 && at + 2 >= this.length) throw INCOMPLETE;
    } else if (a >= 0xf0 && a < 0xf5) {
      const c = bytes[at + 2]!;
      const d = bytes[at + 3]!;
      if ((b & 0xc0) === 0x80 && (c & 0xc0) === 0x80 && (d & 0xc0) === 0x80) {
        const code = (a & 7) << 18 | (b & 63) << 12 | (c & 63) << 6 | d & 63;
        if (code >= 0x10000 && code <= 0x10ffff) return at + 4;
        this.fail(at, "bytes that are no UTF-8 of an XML character");
      }
      if (at + 3 >= this.length && (at + 1 >= this.length || (b & 0xc0) === 0x80)) throw INCOMPLETE;
    }
    if (at + 1 >= this.length) throw INCOMPLETE;
    this.fail(at, "bytes that are not UTF-8");
  }

  /** Steps over one legal character of a comment, an instruction or a CDATA section. */
  #anyCharacter(at: number): number {
    const c = this.bytes[at]!;
    if (c >= 0x80) return this.character(at);
    if (c < 32 && WHITE[c] === 0) this.illegal(at);
    return at + 1;
  }

  /** Reads a CDATA section; returns the offset behind it. */
  protected cdata(at: number): number {
    const bytes = this.bytes;
    for (let k = 3; k < CDATA.length; k++) {
      if (bytes[at + k] !== CDATA[k]) this.fail(at + k, "<![ that starts no CDATA section");
    }
    for (let i = at + CDATA.length;;) {
      if (bytes[i] === CLOSE_BRACKET && bytes[i + 1] === CLOSE_BRACKET && bytes[i + 2] === GT) {
        return i + 3;
      }
      i = this.#anyCharacter(i);
    }
  }

  /** Some of the bytes as text. */
  protected decode(from: number, to: number): string {
    return decoder.decode(this.bytes.subarray(from, to));
  }

  /** Checks a name with other than ASCII characters. */
  protected checkName(from: number, to: number): void {
    if (to >= this.length) throw INCOMPLETE;
    for (let i = from; i < to;) i = this.bytes[i]! >= 0x80 ? this.character(i) : i + 1;
    const name = this.decode(from, to);
    if (!isName(name)) this.fail(from, `"${name}" is not a name`);
  }

  /** @throws {XmlError} of a character that XML does not allow */
  protected illegal(at: number): never {
    const code = this.bytes[at]!;
    this.fail(at, `the control character U+${code.toString(16).toUpperCase().padStart(4, "0")}`);
  }
}
