/**
 * The element scanner: one pass over the bytes of one element, checking XML 1.0 well-formedness and
 * telling a handler of the elements that an {@linkcode ElementTree} names. It makes no events for
 * the rest and no strings at all; the handler reads the texts it wants.
 * @module
 */
import {
  AMP,
  APOSTROPHE,
  BANG,
  bytesOf,
  CLOSE_BRACKET,
  DASH,
  EQUALS,
  GT,
  isName,
  isXmlChar,
  LT,
  NAME,
  NAME_START,
  OPEN_BRACKET,
  QUESTION,
  QUOTE,
  SEMICOLON,
  SLASH,
  startsAt,
  STOPS_TEXT,
  STOPS_VALUE,
  WHITE,
} from "./bytes.ts";
import { type ElementTree, ON_CLOSE, ON_OPEN } from "./element_tree.ts";
import { decodeReference, TextReader } from "./text.ts";

/** Thrown (and caught) inside the scanner where the bytes at hand end too soon. */
export const INCOMPLETE: Error = new Error("incomplete");

/** Not well-formed; `offset` counts bytes from the start of the document. */
export class XmlError extends Error {
  override name = "XmlError";
  constructor(message: string, readonly offset: number) {
    super(message);
  }
}

/** What the scanner calls for the elements of the tree. */
export interface ElementHandler {
  /** The element opened; {@linkcode ContentScanner.attribute} reads its attributes. */
  open(code: number): void;
  /** The element closed; its content is `[from, to)`, for {@linkcode TextReader.read}. */
  close(code: number, from: number, to: number, marks: number, high: number): void;
}

const MAX_DEPTH = 4096;
const CDATA = bytesOf("<![CDATA["), decoder = new TextDecoder();

/** Scans elements out of a buffer of bytes that ends in zeros (which are no XML characters). */
export class ContentScanner {
  /** The bytes; at least 16 zeros follow the first `length`. */
  protected bytes: Uint8Array = new Uint8Array(16);
  protected length = 0;
  /** The document offset of `bytes[0]`. */
  protected base = 0;
  /** Defaults of attributes declared in the internal subset: element -> attribute -> value. */
  protected defaults: Map<string, Map<string, string>> | null = null;
  readonly text: TextReader = new TextReader();
  handler!: ElementHandler;

  // The stack of open elements, one entry a level.
  readonly #nodes = new Int16Array(MAX_DEPTH);
  readonly #nameFrom = new Int32Array(MAX_DEPTH);
  readonly #nameTo = new Int32Array(MAX_DEPTH);
  readonly #contentFrom = new Int32Array(MAX_DEPTH);
  readonly #marksBefore = new Int32Array(MAX_DEPTH);
  readonly #highBefore = new Int32Array(MAX_DEPTH);
  // The attributes of the last start tag: name from, to, value from, to, dirty, high.
  #attributes = new Int32Array(6 * 64);
  #attributeCount = 0;
  #tagFrom = 0;
  #tagTo = 0;

  constructor(readonly tree: ElementTree) {}

  /** The value of an attribute of the element that just opened, white space normalised. */
  attribute(name: Uint8Array): string | undefined {
    const a = this.#attributes, bytes = this.bytes;
    for (let k = 0; k < this.#attributeCount * 6; k += 6) {
      const from = a[k]!;
      if (a[k + 1]! - from !== name.length || !startsAt(bytes, from, name)) continue;
      return this.text.read(a[k + 2]!, a[k + 3]!, a[k + 4]!, a[k + 5]!);
    }
    if (!this.defaults) return undefined;
    const element = decoder.decode(bytes.subarray(this.#tagFrom, this.#tagTo));
    return this.defaults.get(element)?.get(decoder.decode(name));
  }

  /** @throws {XmlError}, or INCOMPLETE where `at` lies behind the bytes at hand. */
  protected fail(at: number, message: string): never {
    if (at >= this.length) throw INCOMPLETE;
    throw new XmlError(message, this.base + at);
  }

  /** Scans the element that starts at `start`, a child of node `parent`; returns the offset behind it. */
  protected element(start: number, parent: number): number {
    const { bytes, tree, handler } = this, { transitions, width, when, codes } = tree;
    const nodes = this.#nodes, nameFrom = this.#nameFrom, nameTo = this.#nameTo;
    const contentFrom = this.#contentFrom;
    const marksBefore = this.#marksBefore, highBefore = this.#highBefore;
    let depth = -1, node = parent, i = start, marks = 0, high = 0;
    for (;;) {
      let c = bytes[i]!;
      while (STOPS_TEXT[c] === 0) c = bytes[++i]!;
      if (c === LT) {
        c = bytes[i + 1]!;
        if (c === SLASH) {
          let q = nameFrom[depth]!, p = i + 2;
          const end = nameTo[depth]!;
          while (q < end && bytes[q] === bytes[p]) q++, p++;
          if (q < end || NAME[bytes[p]!] === 1) this.#wrongEndTag(p, nameFrom[depth]!, end);
          while (WHITE[bytes[p]!] === 1) p++;
          if (bytes[p] !== GT) this.fail(p, "an end tag is not closed by >");
          if ((when[node]! & ON_CLOSE) !== 0) {
            const m = marks - marksBefore[depth]!, h = high - highBefore[depth]!;
            handler.close(codes[node]!, contentFrom[depth]!, i, m, h);
          }
          i = p + 1;
          node = nodes[depth]!;
          if (--depth < 0) return i;
        } else if (NAME_START[c] === 1) {
          let p = i + 1, hash = 0, all = 0;
          do {
            hash = Math.imul(hash, 31) + c | 0;
            all |= c;
            c = bytes[++p]!;
          } while (NAME[c] === 1);
          if (all >= 0x80) this.#checkName(i + 1, p);
          let child = 0;
          if (node !== 0) {
            const id = tree.find(bytes, i + 1, p, hash);
            if (id !== 0) child = transitions[node * width + id]!;
          }
          const nameEnd = p;
          this.#attributeCount = 0;
          if (c !== GT) p = this.#readAttributes(p);
          marks++;
          if ((when[child]! & ON_OPEN) !== 0) {
            this.#tagFrom = i + 1, this.#tagTo = nameEnd;
            handler.open(codes[child]!);
          }
          if (bytes[p] === SLASH) {
            if ((when[child]! & ON_CLOSE) !== 0) handler.close(codes[child]!, p, p, 0, 0);
            i = p + 2;
            if (depth < 0) return i;
          } else {
            if (++depth === MAX_DEPTH) this.fail(i, `elements nest deeper than ${MAX_DEPTH}`);
            nodes[depth] = node, nameFrom[depth] = i + 1, nameTo[depth] = nameEnd;
            contentFrom[depth] = i = p + 1;
            marksBefore[depth] = marks, highBefore[depth] = high;
            node = child;
          }
        } else {
          marks++;
          i = c === BANG
            ? bytes[i + 2] === OPEN_BRACKET ? this.#cdata(i) : this.comment(i)
            : c === QUESTION
            ? this.instruction(i)
            : this.fail(i + 1, "a < that starts no tag: it must be written &lt;");
        }
      } else if (c === AMP) {
        marks++;
        i = this.reference(i);
      } else if (c >= 0x80) {
        high++;
        i = this.character(i);
      } else if (c === CLOSE_BRACKET) {
        if (bytes[i + 1] === CLOSE_BRACKET && bytes[i + 2] === GT) {
          this.fail(i, "]]> outside a CDATA section");
        }
        i++;
      } else this.#illegal(i);
    }
  }

  /** Reads a start tag's name; returns the offset behind it. */
  protected name(at: number, what: string): number {
    const bytes = this.bytes;
    if (NAME_START[bytes[at]!] === 0) this.fail(at, `${what} has no name`);
    let p = at, all = 0;
    for (let c = bytes[p]!; NAME[c] === 1; c = bytes[++p]!) all |= c;
    if (p >= this.length) throw INCOMPLETE;
    if (all >= 0x80) this.#checkName(at, p);
    return p;
  }

  /** Reads the attributes from `p` on; returns the offset of the tag's `>` or `/>`. */
  protected startTagRest(p: number): number {
    this.#attributeCount = 0;
    return this.#readAttributes(p);
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
    const bytes = this.bytes, end = this.name(at + 2, "a processing instruction");
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
    const bytes = this.bytes, a = bytes[at]!, b = bytes[at + 1]!;
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
      const c = bytes[at + 2]!, d = bytes[at + 3]!;
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
    if (c < 32 && WHITE[c] === 0) this.#illegal(at);
    return at + 1;
  }

  #cdata(at: number): number {
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

  #readAttributes(at: number): number {
    const bytes = this.bytes;
    for (let p = at, count = 0;; count++) {
      let c = bytes[p]!;
      if (WHITE[c] === 1) {
        do c = bytes[++p]!; while (WHITE[c] === 1);
      } else if (NAME_START[c] === 1 || c === QUOTE) this.fail(p, "no space before an attribute");
      if (c === GT || c === SLASH) {
        if (c === SLASH && bytes[p + 1] !== GT) this.fail(p + 1, "a / that does not end the tag");
        this.#attributeCount = count;
        return p;
      }
      if (NAME_START[c] === 0) this.fail(p, "a start tag with something that is no attribute");
      const from = p;
      let all = 0;
      do all |= c, c = bytes[++p]!; while (NAME[c] === 1);
      const to = p;
      if (all >= 0x80) this.#checkName(from, to);
      while (WHITE[c] === 1) c = bytes[++p]!;
      if (c !== EQUALS) this.fail(p, "an attribute without a value");
      do c = bytes[++p]!; while (WHITE[c] === 1);
      if (c !== QUOTE && c !== APOSTROPHE) this.fail(p, "an attribute's value without quotes");
      const quote = c, valueFrom = ++p;
      let dirty = 0, high = 0;
      for (c = bytes[p]!;; c = bytes[p]!) {
        while (STOPS_VALUE[c] === 0) c = bytes[++p]!;
        if (c === quote) break;
        if (c === AMP) dirty = 1, p = this.reference(p);
        else if (c >= 0x80) high = 1, p = this.character(p);
        else if (c === LT) this.fail(p, "a < inside an attribute's value");
        else if (c === QUOTE || c === APOSTROPHE) p++;
        else if (WHITE[c] === 1) dirty = 1, p++;
        else this.#illegal(p);
      }
      // A value is read as content is, where a > in quotes or a bare quote means nothing special.
      this.#storeAttribute(count, from, to, valueFrom, p, dirty, high);
      p++;
    }
  }

  #storeAttribute(
    count: number,
    from: number,
    to: number,
    valueFrom: number,
    valueTo: number,
    dirty: number,
    high: number,
  ): void {
    const bytes = this.bytes, k = count * 6;
    if (k === this.#attributes.length) {
      const grown = new Int32Array(k * 2);
      grown.set(this.#attributes);
      this.#attributes = grown;
    }
    const a = this.#attributes;
    // Quadratic, so a tag with thousands of attributes is refused rather than compared.
    if (count === 256) this.fail(from, "a tag with more than 256 attributes");
    for (let j = 0; j < k; j += 6) {
      const other = a[j]!, length = to - from;
      if (a[j + 1]! - other !== length) continue;
      let i = 0;
      while (i < length && bytes[other + i] === bytes[from + i]) i++;
      if (i === length) this.fail(from, `the attribute "${this.#decode(from, to)}" is given twice`);
    }
    a[k] = from, a[k + 1] = to, a[k + 2] = valueFrom, a[k + 3] = valueTo;
    a[k + 4] = dirty, a[k + 5] = high;
  }

  #decode(from: number, to: number): string {
    return decoder.decode(this.bytes.subarray(from, to));
  }

  #checkName(from: number, to: number): void {
    if (to >= this.length) throw INCOMPLETE;
    for (let i = from; i < to;) i = this.bytes[i]! >= 0x80 ? this.character(i) : i + 1;
    const name = this.#decode(from, to);
    if (!isName(name)) this.fail(from, `"${name}" is not a name`);
  }

  #wrongEndTag(at: number, from: number, to: number): never {
    this.fail(at, `an end tag that does not close the open <${this.#decode(from, to)}>`);
  }

  #illegal(at: number): never {
    const code = this.bytes[at]!;
    this.fail(at, `the control character U+${code.toString(16).toUpperCase().padStart(4, "0")}`);
  }
}
