// deno-lint-ignore-file pubmamba/no-non-null-assertion -- every byte of PubMed passes here: looking twice costs 15 %
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
  CLOSE_BRACKET,
  EQUALS,
  GT,
  LT,
  NAME,
  NAME_START,
  OPEN_BRACKET,
  QUESTION,
  QUOTE,
  SLASH,
  startsAt,
  STOPS_TEXT,
  STOPS_VALUE,
  WHITE,
} from "./bytes.ts";
import { type ElementTree, ON_CLOSE, ON_OPEN } from "./element_tree.ts";
import { MarkupScanner } from "./markup.ts";
import { TextReader } from "./text.ts";

/** What the scanner calls for the elements of the tree. */
export interface ElementHandler {
  /** The element opened; {@linkcode ContentScanner.attribute} reads its attributes. */
  open(code: number): void;
  /** The element closed; its content is `[from, to)`, for {@linkcode TextReader.read}. */
  close(code: number, from: number, to: number, marks: number, high: number): void;
  /** A child of the root closed that the tree does not name. */
  unknown?(name: string): void;
}

const MAX_DEPTH = 4096;
const decoder = new TextDecoder();

/** Scans elements out of a buffer of bytes that ends in zeros (which are no XML characters). */
export class ContentScanner extends MarkupScanner {
  /** Defaults of attributes declared in the internal subset: element -> attribute -> value. */
  protected defaults: Map<string, Map<string, string>> | null = null;
  readonly text: TextReader = new TextReader();
  handler!: ElementHandler;

  // The stack of open elements, one entry per level.
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

  constructor(readonly tree: ElementTree) {
    super();
  }

  /** The value of an attribute of the element that just opened, white space normalised. */
  attribute(name: Uint8Array): string | undefined {
    const a = this.#attributes;
    const bytes = this.bytes;
    for (let k = 0; k < this.#attributeCount * 6; k += 6) {
      const from = a[k]!;
      if (a[k + 1]! - from !== name.length || !startsAt(bytes, from, name)) continue;
      return this.text.read(a[k + 2]!, a[k + 3]!, a[k + 4]!, a[k + 5]!);
    }
    if (!this.defaults) return undefined;
    const element = decoder.decode(bytes.subarray(this.#tagFrom, this.#tagTo));
    return this.defaults.get(element)?.get(decoder.decode(name));
  }

  /** Scans the element that starts at `start`, a child of node `parent`; returns the offset behind it. */
  protected element(start: number, parent: number): number {
    const { bytes, tree, handler } = this;
    const { transitions, width, when, codes } = tree;
    const nodes = this.#nodes;
    const nameFrom = this.#nameFrom;
    const nameTo = this.#nameTo;
    const contentFrom = this.#contentFrom;
    const marksBefore = this.#marksBefore;
    const highBefore = this.#highBefore;
    let depth = -1;
    let node = parent;
    let i = start;
    let marks = 0;
    let high = 0;
    for (;;) {
      let c = bytes[i]!;
      while (STOPS_TEXT[c] === 0) c = bytes[++i]!;
      if (c === LT) {
        c = bytes[i + 1]!;
        if (c === SLASH) {
          let q = nameFrom[depth]!;
          let p = i + 2;
          const end = nameTo[depth]!;
          while (q < end && bytes[q] === bytes[p]) {
            q++;
            p++;
          }
          if (q < end || NAME[bytes[p]!] === 1) this.#wrongEndTag(p, nameFrom[depth]!, end);
          while (WHITE[bytes[p]!] === 1) p++;
          if (bytes[p] !== GT) this.fail(p, "an end tag is not closed by >");
          if ((when[node]! & ON_CLOSE) !== 0) {
            const m = marks - marksBefore[depth]!;
            const h = high - highBefore[depth]!;
            handler.close(codes[node]!, contentFrom[depth]!, i, m, h);
          }
          i = p + 1;
          node = nodes[depth]!;
          if (--depth < 0) return i;
        } else if (NAME_START[c] === 1) {
          let p = i + 1;
          let hash = 0;
          let all = 0;
          do {
            hash = Math.imul(hash, 31) + c | 0;
            all |= c;
            c = bytes[++p]!;
          } while (NAME[c] === 1);
          if (all >= 0x80) this.checkName(i + 1, p);
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
            this.#tagFrom = i + 1;
            this.#tagTo = nameEnd;
            handler.open(codes[child]!);
          }
          if (bytes[p] === SLASH) {
            if ((when[child]! & ON_CLOSE) !== 0) handler.close(codes[child]!, p, p, 0, 0);
            i = p + 2;
            if (depth < 0) return i;
          } else {
            if (++depth === MAX_DEPTH) this.fail(i, `elements nest deeper than ${MAX_DEPTH}`);
            nodes[depth] = node;
            nameFrom[depth] = i + 1;
            nameTo[depth] = nameEnd;
            contentFrom[depth] = i = p + 1;
            marksBefore[depth] = marks;
            highBefore[depth] = high;
            node = child;
          }
        } else {
          marks++;
          i = c === BANG
            ? bytes[i + 2] === OPEN_BRACKET ? this.cdata(i) : this.comment(i)
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
      } else this.illegal(i);
    }
  }

  /** Reads the attributes from `p` on; returns the offset of the tag's `>` or `/>`. */
  protected startTagRest(p: number): number {
    this.#attributeCount = 0;
    return this.#readAttributes(p);
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
      do {
        all |= c;
        c = bytes[++p]!;
      } while (NAME[c] === 1);
      const to = p;
      if (all >= 0x80) this.checkName(from, to);
      while (WHITE[c] === 1) c = bytes[++p]!;
      if (c !== EQUALS) this.fail(p, "an attribute without a value");
      do c = bytes[++p]!; while (WHITE[c] === 1);
      if (c !== QUOTE && c !== APOSTROPHE) this.fail(p, "an attribute's value without quotes");
      const quote = c;
      const valueFrom = ++p;
      let dirty = 0;
      let high = 0;
      for (c = bytes[p]!;; c = bytes[p]!) {
        while (STOPS_VALUE[c] === 0) c = bytes[++p]!;
        if (c === quote) break;
        if (c === AMP) {
          dirty = 1;
          p = this.reference(p);
        } else if (c >= 0x80) {
          high = 1;
          p = this.character(p);
        } else if (c === LT) this.fail(p, "a < inside an attribute's value");
        else if (c === QUOTE || c === APOSTROPHE) p++;
        else if (WHITE[c] === 1) {
          dirty = 1;
          p++;
        } else this.illegal(p);
      }
      // A value is read as content is, where a > in quotes or a bare quote means nothing special.
      this.#storeAttribute(count, from, to, valueFrom, p, dirty, high);
      p++;
    }
  }

  /** Takes 7 plain numbers, because an object for each attribute would slow the scanner down. */
  #storeAttribute(
    count: number,
    from: number,
    to: number,
    valueFrom: number,
    valueTo: number,
    dirty: number,
    high: number,
  ): void {
    const bytes = this.bytes;
    const k = count * 6;
    if (k === this.#attributes.length) {
      const grown = new Int32Array(k * 2);
      grown.set(this.#attributes);
      this.#attributes = grown;
    }
    const a = this.#attributes;
    // Quadratic, so a tag with thousands of attributes is refused rather than compared.
    if (count === 256) this.fail(from, "a tag with more than 256 attributes");
    for (let j = 0; j < k; j += 6) {
      const other = a[j]!;
      const length = to - from;
      if (a[j + 1]! - other !== length) continue;
      let i = 0;
      while (i < length && bytes[other + i] === bytes[from + i]) i++;
      if (i === length) this.fail(from, `the attribute "${this.decode(from, to)}" is given twice`);
    }
    a[k] = from;
    a[k + 1] = to;
    a[k + 2] = valueFrom;
    a[k + 3] = valueTo;
    a[k + 4] = dirty;
    a[k + 5] = high;
  }

  #wrongEndTag(at: number, from: number, to: number): never {
    this.fail(at, `an end tag that does not close the open <${this.decode(from, to)}>`);
  }
}
