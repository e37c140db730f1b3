// deno-lint-ignore-file pubmamba/no-non-null-assertion -- every byte of PubMed passes here: looking twice costs 15 %
/**
 * The document scanner: takes a document's bytes in pieces of any size, keeps what an unfinished
 * record needs, and checks prolog, root and epilog. Memory is bounded by the largest record.
 * @module
 */
import {
  AMP,
  BANG,
  bytesOf,
  CLOSE_BRACKET,
  GT,
  LT,
  OPEN_BRACKET,
  QUESTION,
  SLASH,
  startsAt,
  STOPS_TEXT,
  WHITE,
} from "./bytes.ts";
import { ContentScanner, type ElementHandler } from "./content.ts";
import { INCOMPLETE, XmlError } from "./markup.ts";
import { readDoctype } from "./doctype.ts";
import type { ElementTree } from "./element_tree.ts";

const PADDING = 16;
const XML_DECLARATION = bytesOf("<?xml");
const DOCTYPE = bytesOf("<!DOCTYPE");
const DECLARATION =
  /^<\?xml\s+version\s*=\s*(?:"1\.[0-9]+"|'1\.[0-9]+')(?:\s+encoding\s*=\s*(?:"([\w.-]+)"|'([\w.-]+)'))?(?:\s+standalone\s*=\s*(?:"(?:yes|no)"|'(?:yes|no)'))?\s*\?>$/;
const decoder = new TextDecoder();

/** The default limit of one record, comment or doctype, in bytes. */
const MAX_RECORD_BYTES: number = 64 << 20;

const enum At {
  start,
  prolog,
  afterDoctype,
  root,
  epilog,
}

/** Scans one document; make a new one for the next. */
export class XmlScanner extends ContentScanner {
  #at: At = At.start;
  #finished = false;
  #position = 0;
  #nextTry = 0;
  #rootFrom: Uint8Array = new Uint8Array();
  readonly #limit: number;
  readonly #rootNames: readonly string[];

  /**
   * @param tree the elements to report, by their paths below the root
   * @param rootNames the names the root element may have
   */
  constructor(
    tree: ElementTree,
    handler: ElementHandler,
    rootNames: readonly string[],
    maxRecordBytes: number = MAX_RECORD_BYTES,
  ) {
    super(tree);
    this.handler = handler;
    this.#rootNames = rootNames;
    this.#limit = maxRecordBytes;
    this.#resize(1 << 16);
  }

  /** Bytes taken so far. */
  get bytesSeen(): number {
    return this.base + this.length;
  }

  /**
   * Takes the next bytes of the document and reports every record that is complete.
   * @throws {XmlError} at the first byte that makes the document ill-formed.
   */
  push(chunk: Uint8Array): void {
    this.#append(chunk);
    if (this.length - this.#position < this.#nextTry) return;
    this.#run();
  }

  /**
   * Ends the document.
   * @throws {XmlError} where it is not complete.
   */
  finish(): void {
    this.#finished = true;
    this.#run();
    if (this.#position < this.length || this.#at !== At.epilog) {
      const where = this.#at === At.root ? "inside its root element" : "before its root element";
      throw new XmlError(`the document ends ${where}`, this.bytesSeen);
    }
  }

  #run(): void {
    let at = this.#position;
    try {
      while (at < this.length) this.#position = at = this.#item(at);
      this.#nextTry = 0;
    } catch (error) {
      if (error !== INCOMPLETE) throw error;
      // Doubling keeps the work linear however small the pieces are.
      const held = this.length - at;
      if (held > this.#limit) {
        throw new XmlError(`a record of more than ${this.#limit} bytes`, this.base + at);
      }
      this.#nextTry = Math.min(2 * held, this.#limit + 1);
    }
  }

  #resize(capacity: number): void {
    const bytes = new Uint8Array(capacity);
    bytes.set(this.bytes.subarray(0, this.length));
    this.bytes = bytes;
    this.text.setBuffer(bytes);
  }

  #append(chunk: Uint8Array): void {
    const held = this.length - this.#position;
    if (this.#position > 0) {
      this.bytes.copyWithin(0, this.#position, this.length);
      this.base += this.#position;
      this.#position = 0;
      this.length = held;
    }
    const wanted = held + chunk.length + PADDING;
    if (wanted > this.bytes.length) this.#resize(2 * wanted);
    this.bytes.set(chunk, held);
    this.length = held + chunk.length;
    this.bytes.fill(0, this.length, this.length + PADDING);
  }

  /** Reads one item of the document at `i`: white space, a tag, a record, a comment ... */
  #item(i: number): number {
    const bytes = this.bytes;
    let c = bytes[i]!;
    if (this.#at === At.start) return this.#start(i);
    if (WHITE[c] === 1) {
      do c = bytes[++i]!; while (WHITE[c] === 1);
      return i;
    }
    if (c !== LT) {
      if (this.#at === At.root) return this.#stray(i);
      this.fail(i, `text ${this.#at === At.epilog ? "after" : "before"} the root element`);
    }
    c = bytes[i + 1]!;
    if (c === BANG) {
      if (bytes[i + 2] === 0x44 && this.#at === At.prolog) return this.#doctype(i);
      if (bytes[i + 2] === OPEN_BRACKET && this.#at === At.root) {
        this.fail(i, "a CDATA section between records");
      }
      return this.comment(i);
    }
    if (c === QUESTION) return this.instruction(i);
    if (this.#at === At.root) return c === SLASH ? this.#rootEnd(i) : this.#child(i);
    if (this.#at === At.epilog) this.fail(i + 1, "markup after the root element");
    return this.#root(i);
  }

  #child(at: number): number {
    // Checked here: the element scanner takes its first byte for granted.
    const nameEnd = this.name(at + 1, "a tag");
    const end = this.element(at, 1);
    if (!this.tree.names(this.bytes, at + 1, nameEnd)) {
      this.handler.unknown?.(this.decode(at + 1, nameEnd));
    }
    return end;
  }

  #start(at: number): number {
    const bytes = this.bytes;
    const first = this.base + at === 0;
    if (this.length - at < 6 && !this.#finished) throw INCOMPLETE;
    if (first && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 3;
    const c = bytes[at]!;
    if (first && (c >= 0xfe || c === 0 || bytes[1] === 0 && this.length > 1)) {
      this.fail(0, "the encoding is not UTF-8");
    }
    if (c !== LT && WHITE[c] === 0) this.fail(at, "the document does not start with <");
    if (startsAt(bytes, at, XML_DECLARATION) && WHITE[bytes[at + 5]!] === 1) {
      return this.#declaration(at);
    }
    this.#at = At.prolog;
    return at;
  }

  #declaration(at: number): number {
    const bytes = this.bytes;
    let end = at + 5;
    while (!(bytes[end] === QUESTION && bytes[end + 1] === GT)) {
      if (end >= this.length) throw INCOMPLETE;
      if (bytes[end] === LT || end - at > 1000) this.fail(end, "the XML declaration has no end");
      end++;
    }
    const text = decoder.decode(bytes.subarray(at, end + 2));
    const match = DECLARATION.exec(text);
    if (!match) this.fail(at, "the XML declaration is malformed");
    const encoding = match[1] ?? match[2] ?? "utf-8";
    if (!/^(utf-?8|us-ascii|ascii)$/i.test(encoding)) {
      this.fail(at, `the encoding is ${encoding}: only UTF-8 is read`);
    }
    this.#at = At.prolog;
    return end + 2;
  }

  #doctype(at: number): number {
    const bytes = this.bytes;
    if (this.length - at < DOCTYPE.length + 1) throw INCOMPLETE;
    if (!startsAt(bytes, at, DOCTYPE)) this.fail(at, "<! that starts no comment and no DOCTYPE");
    const end = endOfDoctype(bytes, at, this.length);
    if (end < 0) throw INCOMPLETE;
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at, end));
    } catch {
      this.fail(at, "bytes that are not UTF-8 in the DOCTYPE");
    }
    const result = readDoctype(text);
    if ("error" in result) {
      this.fail(at + bytesOf(text.slice(0, result.at)).length, result.error);
    }
    if (result.defaults.size > 0) this.defaults = result.defaults;
    this.#at = At.afterDoctype;
    return end;
  }

  #root(at: number): number {
    const bytes = this.bytes;
    const end = this.name(at + 1, "a tag");
    const close = this.startTagRest(end);
    const name = decoder.decode(bytes.subarray(at + 1, end));
    if (!this.#rootNames.includes(name)) {
      this.fail(at, `the root element is <${name.slice(0, 80)}>, not <${this.#rootNames[0]}>`);
    }
    this.#rootFrom = bytes.slice(at + 1, end);
    this.#at = bytes[close] === SLASH ? At.epilog : At.root;
    return close + (bytes[close] === SLASH ? 2 : 1);
  }

  #rootEnd(at: number): number {
    const bytes = this.bytes;
    const root = this.#rootFrom;
    let p = at + 2;
    for (let k = 0; k < root.length; k++, p++) {
      if (bytes[p] !== root[k]) this.fail(p, "an end tag that closes nothing");
    }
    while (WHITE[bytes[p]!] === 1) p++;
    if (bytes[p] !== GT) this.fail(p, "the root's end tag is not closed by >");
    this.#at = At.epilog;
    return p + 1;
  }

  /** Text between records: legal XML though no PubMed, so it is checked and ignored. */
  #stray(i: number): number {
    const bytes = this.bytes;
    const c = bytes[i]!;
    if (STOPS_TEXT[c] === 0) return i + 1;
    if (c === AMP) return this.reference(i);
    if (c >= 0x80) return this.character(i);
    if (c !== CLOSE_BRACKET) this.fail(i, "a control character");
    if (i + 2 >= this.length) throw INCOMPLETE;
    if (bytes[i + 1] === CLOSE_BRACKET && bytes[i + 2] === GT) this.fail(i, "]]> outside CDATA");
    return i + 1;
  }
}

/** The offset behind the `>` of the DOCTYPE at `at`, or -1 where it is not there yet. */
function endOfDoctype(bytes: Uint8Array, at: number, length: number): number {
  let depth = 0;
  let quote = 0;
  for (let i = at; i < length; i++) {
    const c = bytes[i]!;
    if (quote !== 0) {
      if (c === quote) quote = 0;
    } else if (c === LT && bytes[i + 1] === BANG && bytes[i + 2] === 0x2d) {
      for (i += 4; i < length && !(bytes[i] === 0x2d && bytes[i + 1] === 0x2d); i++);
      i++;
    } else if (c === LT && bytes[i + 1] === QUESTION) {
      for (i += 2; i < length && !(bytes[i] === QUESTION && bytes[i + 1] === GT); i++);
    } else if (c === 0x22 || c === 0x27) quote = c;
    else if (c === OPEN_BRACKET) depth++;
    else if (c === CLOSE_BRACKET) depth--;
    else if (c === GT && depth <= 0) return i + 1;
  }
  return -1;
}
