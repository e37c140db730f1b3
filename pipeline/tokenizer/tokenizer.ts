/** The byte-level BPE tokenizer: text to ids and back. @module */
import { UserError } from "../../core/errors.ts";
import { exists, sha256 } from "../../core/files.ts";
import { uint16At } from "../../core/nth.ts";
import { AddedTokenMatcher, spaceRuns } from "./added_tokens.ts";
import { type StreamDecoder, TokenDecoder } from "./decoder.ts";
import { MergeTable } from "./merges.ts";
import { Scanner } from "./scanner.ts";
import {
  parseTokenizerJson,
  readTokenizerJson,
  type TokenizerDefinition,
} from "./tokenizer_json.ts";

/** How to encode. */
export interface EncodeOptions {
  /**
   * Whether special tokens written in the text become their ids. Off by default: a document must
   * not be able to write a boundary. Other added tokens, such as runs of spaces, always match.
   */
  specialTokens?: boolean;
}

/** How to decode. */
export interface DecodeOptions {
  /** Leaves out special tokens; otherwise their names appear. */
  skipSpecialTokens?: boolean;
}

/** Text to ids and back. Holds caches, so use one in each thread. */
export interface Tokenizer {
  /** The SHA-256 of its tokenizer.json, in hex. */
  readonly sha256: string;
  /** The tokenizer.json it was loaded from; "" where it was not loaded from a file. */
  readonly path: string;
  /** One more than the highest id. */
  readonly vocabularySize: number;
  /** The id that separates documents. */
  readonly endOfText: number;
  /** The ids of `text`. */
  encode(text: string, options?: EncodeOptions): Uint16Array;
  /**
   * Writes the ids of `text` into `out` from `at` on and returns where they end.
   * @throws {RangeError} where they do not fit; {@linkcode encodeBound} says what always does.
   */
  encodeInto(text: string, out: Uint16Array, at: number, options?: EncodeOptions): number;
  /** The text of `ids`. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** Decodes ids one at a time, never splitting a character. */
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  /** The bytes of one token; empty for an id without a token. */
  tokenBytes(id: number): Uint8Array;
  /** The id of an added token by its content. */
  addedTokenId(content: string): number | undefined;
  /** Forgets cached pretokens, so that a benchmark can start cold. */
  clearCache(): void;
}

/** Room that the ids of any text of `length` UTF-16 units fit into. */
export function encodeBound(length: number): number {
  return length * 4 + 16;
}

/**
 * Loads a `tokenizer.json` of the byte-level BPE kind.
 * @throws {UserError} naming the file, and the kind where it is another.
 */
export function loadTokenizer(path: string): Tokenizer {
  if (!exists(path)) {
    throw new UserError(
      `Cannot read the tokenizer ${path}: there is no such file` +
        (/^[\w.-]+\/[\w.-]+(@.*)?$/.test(path)
          ? `; a Hugging Face model's comes with: deno task model tokenizer --model ${path} --out ` +
            `tokenizer.json`
          : ""),
    );
  }
  const json = readTokenizerJson(path);
  return new ByteLevelTokenizer(
    parseTokenizerJson(json, path),
    sha256(Deno.readFileSync(path)),
    path,
  );
}

/**
 * A tokenizer from a parsed tokenizer.json, such as one just trained.
 * @throws {UserError} as {@linkcode loadTokenizer}.
 */
export function tokenizerFromJson(json: unknown): Tokenizer {
  const hash = sha256(JSON.stringify(json));
  return new ByteLevelTokenizer(parseTokenizerJson(json, "given"), hash, "");
}

/** Above U+02FF a text may have something to compose; below it is in NFC as it stands. */
const MAY_COMPOSE = /[\u0300-\uffff]/;
const BLANK = 32;

class ByteLevelTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly endOfText: number;
  readonly #scanner: Scanner;
  readonly #decoder: TokenDecoder;
  readonly #plainDecoder: TokenDecoder;
  /** Tokens matched in the text as given, and in the normalised text. */
  readonly #raw: AddedTokenMatcher | null;
  readonly #rawSpecialOnly: boolean;
  readonly #normalized: AddedTokenMatcher | null;
  readonly #spaceRuns: Uint16Array | null;
  readonly #utf8 = new TextEncoder();
  #bytes = new Uint8Array(1 << 16);
  #scratch = new Uint16Array(1 << 16);

  constructor(
    readonly definition: TokenizerDefinition,
    readonly sha256: string,
    readonly path: string,
  ) {
    const { added } = definition;
    this.vocabularySize = definition.bytes.size;
    this.endOfText = definition.endOfText;
    this.#scanner = new Scanner(new MergeTable(definition.merges, definition.byteIds));
    this.#decoder = new TokenDecoder(definition.bytes);
    const special = new Set(added.filter((t) => t.special).map((t) => t.id));
    this.#plainDecoder = new TokenDecoder(definition.bytes, special);
    const raw = added.filter((t) => !t.normalized);
    const normalized = added.filter((t) => t.normalized);
    this.#raw = raw.length ? new AddedTokenMatcher(raw) : null;
    this.#rawSpecialOnly = raw.every((t) => t.special);
    this.#spaceRuns = definition.prefixSpace || !normalized.length ? null : spaceRuns(normalized);
    this.#normalized = normalized.length && !this.#spaceRuns
      ? new AddedTokenMatcher(
        normalized.map((t) => definition.nfc ? { ...t, content: t.content.normalize("NFC") } : t),
      )
      : null;
  }

  encode(text: string, options: EncodeOptions = {}): Uint16Array {
    const bound = encodeBound(text.length);
    if (this.#scratch.length < bound) this.#scratch = new Uint16Array(bound * 2);
    return this.#scratch.slice(0, this.#encode(text, this.#scratch, 0, options));
  }

  encodeInto(text: string, out: Uint16Array, at: number, options: EncodeOptions = {}): number {
    if (out.length - at >= encodeBound(text.length)) return this.#encode(text, out, at, options);
    const ids = this.encode(text, options);
    out.set(ids, at); // throws a RangeError where they do not fit
    return at + ids.length;
  }

  #encode(text: string, out: Uint16Array, at: number, options: EncodeOptions): number {
    const special = options.specialTokens === true;
    if (!this.#raw || this.#rawSpecialOnly && !special) {
      return this.#encodePiece(text, out, at, special);
    }
    this.#raw.split(
      text,
      special,
      (piece) => at = this.#encodePiece(piece, out, at, special),
      (id) => out[at++] = id,
    );
    return at;
  }

  /** Encodes text without raw added tokens. */
  #encodePiece(piece: string, out: Uint16Array, at: number, special: boolean): number {
    let text = piece;
    if (this.definition.nfc && MAY_COMPOSE.test(piece)) text = piece.normalize("NFC");
    if (!this.#normalized) return this.#encodeText(text, out, at);
    this.#normalized.split(
      text,
      special,
      (rest) => at = this.#encodeText(rest, out, at),
      (id) => out[at++] = id,
    );
    return at;
  }

  /** Encodes normalised text without added tokens other than runs of spaces. */
  #encodeText(text: string, out: Uint16Array, at: number): number {
    if (this.#bytes.length < text.length * 3 + 8) this.#bytes = new Uint8Array(text.length * 6 + 8);
    const bytes = this.#bytes;
    let length: number;
    if (this.definition.prefixSpace && text.charCodeAt(0) !== BLANK) {
      bytes[0] = BLANK;
      length = 1 + this.#utf8.encodeInto(text, bytes.subarray(1)).written;
    } else {
      length = this.#utf8.encodeInto(text, bytes).written;
    }
    bytes[length] = 0;
    const runs = this.#spaceRuns;
    return runs
      ? this.#encodeBetweenRuns(bytes, length, runs, out, at)
      : this.#scanner.encode(bytes, 0, length, out, at);
  }

  /** Cuts out runs of two and more spaces, the longest first, and encodes what is between. */
  #encodeBetweenRuns(
    bytes: Uint8Array,
    length: number,
    runs: Uint16Array,
    out: Uint16Array,
    at: number,
  ): number {
    const longest = runs.length - 1;
    let start = 0;
    for (let i = 1; i < length; i += 2) { // a run of two holds an odd place
      if (bytes[i] !== BLANK) continue;
      let first = i;
      let end = i + 1;
      if (bytes[i - 1] === BLANK) first--;
      while (end < length && bytes[end] === BLANK) end++;
      if (end - first < 2) continue;
      if (first > start) at = this.#scanner.encode(bytes, start, first, out, at);
      let left = end - first;
      for (; left >= longest; left -= longest) out[at++] = uint16At(runs, longest);
      if (left > 1) {
        out[at++] = uint16At(runs, left);
        left = 0;
      }
      start = end - left; // a single space left over belongs to what follows
      i = (end - 1) | 1; // the next run begins after `end`
    }
    return start < length ? this.#scanner.encode(bytes, start, length, out, at) : at;
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    return (options.skipSpecialTokens ? this.#plainDecoder : this.#decoder).decode(ids);
  }

  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return (options.skipSpecialTokens ? this.#plainDecoder : this.#decoder).stream();
  }

  tokenBytes(id: number): Uint8Array {
    return this.#decoder.bytesOf(id);
  }

  addedTokenId(content: string): number | undefined {
    return this.definition.added.find((t) => t.content === content)?.id;
  }

  clearCache(): void {
    this.#scanner.clearCache();
  }
}
