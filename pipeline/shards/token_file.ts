/**
 * Token files: the documents of one source file, tokenized once and sorted by their order key, so
 * that the documents of any shard are one stretch of every file. A cache of the corpus, in a format
 * of its own; little-endian:
 *
 *     header, 128 bytes   u32 magic, version, documents, seed low, seed high, tokens; the
 *                         tokenizer's SHA-256 in hex at byte 64
 *     u32 columns         order key, pmid, version, ordinal (one entry per document), and where each
 *                         document's tokens begin (one entry more)
 *     u16                 the tokens: [end of text, ...tokens] for each document
 * @module
 */
import { openAtomic } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { nth, uint32At } from "../../core/nth.ts";
import { encodeBound, type Tokenizer } from "../tokenizer/mod.ts";
import { bytesOf, openForReading, readAt } from "./npy.ts";
import { orderKey } from "./order.ts";
import { TokenBlocks } from "./token_blocks.ts";

const MAGIC = 0x4b4f5450;
const VERSION = 1;
const HEADER_BYTES = 128;
const COLUMNS = 4;

/** A document to tokenize. */
export interface TokenizableDocument {
  pmid: number;
  version: number;
  /** The record's position in its source file. */
  ordinal: number;
  text: string;
}

/** Tokens are written in parts of about so many. */
const PART_TOKENS = 1 << 20;
/** Tokens are counted in 32 bits. */
const MOST_TOKENS = 2 ** 32 - 1;

/** Collects the documents of one source file and writes them as a token file. */
export class TokenFileWriter {
  readonly #blocks: TokenBlocks;
  readonly #columns: Record<"pmid" | "version" | "ordinal" | "length" | "start", number[]> = {
    pmid: [],
    version: [],
    ordinal: [],
    length: [],
    start: [],
  };

  /**
   * @param path where the file appears, at {@linkcode commit}
   * @param seed of the order of documents
   */
  constructor(
    readonly path: string,
    readonly tokenizer: Tokenizer,
    readonly seed: number,
  ) {
    this.#blocks = new TokenBlocks(`${path}.blocks`);
  }

  /** Documents so far. */
  get documents(): number {
    return this.#columns.pmid.length;
  }

  /**
   * Tokenizes a document. One whose text is empty is left out, and false returned.
   * @throws {UserError} where the file gets more tokens than its format counts
   */
  add({ pmid, version, ordinal, text }: TokenizableDocument): boolean {
    if (text === "") return false;
    if (!Number.isInteger(pmid) || pmid < 0 || pmid >= 2 ** 32) {
      throw new RangeError(`A document's PMID is ${pmid}: 32 bits are needed`);
    }
    const { block, at } = this.#blocks.reserve(1 + encodeBound(text.length));
    block[at] = this.tokenizer.endOfText;
    const length = this.tokenizer.encodeInto(text, block, at + 1) - at;
    const columns = this.#columns;
    columns.pmid.push(pmid);
    columns.version.push(version);
    columns.ordinal.push(ordinal);
    columns.length.push(length);
    columns.start.push(this.#blocks.keep(length));
    if (this.#blocks.total > MOST_TOKENS) {
      throw new UserError(
        `Cannot write ${this.path}: one source file has more than ${MOST_TOKENS} tokens; cut it ` +
          "into smaller ones",
      );
    }
    return true;
  }

  /** Sorts and writes the file. */
  commit(): { documents: number; tokens: number } {
    const n = this.documents;
    const { pmid, version, ordinal, length } = this.#columns;
    const keys = Uint32Array.from(pmid, (id) => orderKey(this.seed, id));
    // Versions of a PMID have its key in common, and then the record's position decides.
    const order = Uint32Array.from(keys.keys()).sort((a, b) =>
      uint32At(keys, a) - uint32At(keys, b) || nth(version, a) - nth(version, b) ||
      nth(ordinal, a) - nth(ordinal, b)
    );
    const columns = new Uint32Array(COLUMNS * n + n + 1);
    let tokens = 0;
    order.forEach((i, k) => {
      const values = [uint32At(keys, i), nth(pmid, i), nth(version, i), nth(ordinal, i), tokens];
      values.forEach((value, c) => columns[c * n + k] = value);
      tokens += nth(length, i);
    });
    columns[COLUMNS * n + n] = tokens;
    const file = openAtomic(this.path);
    try {
      file.write(header(n, tokens, this.seed, this.tokenizer.sha256));
      file.write(bytesOf(columns));
      this.#writeTokens(order, (part) => file.write(bytesOf(part)));
      file.commit();
    } catch (error) {
      file.abort();
      throw error;
    } finally {
      this.#blocks.close();
    }
    return { documents: n, tokens };
  }

  /** Removes what was put aside on disk. Harmless after {@linkcode commit}. */
  abort(): void {
    this.#blocks.close();
  }

  #writeTokens(order: Uint32Array, write: (part: Uint16Array) => void): void {
    const { length, start } = this.#columns;
    let part = new Uint16Array(PART_TOKENS);
    let size = 0;
    for (const i of order) {
      const own = nth(length, i);
      if (size + own > part.length) {
        write(part.subarray(0, size));
        size = 0;
        if (own > part.length) part = new Uint16Array(own);
      }
      this.#blocks.copy(nth(start, i), part.subarray(size, size + own));
      size += own;
    }
    write(part.subarray(0, size));
  }
}

function header(documents: number, tokens: number, seed: number, sha256: string): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const words = new Uint32Array(bytes.buffer);
  words.set([MAGIC, VERSION, documents, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, tokens]);
  bytes.set(new TextEncoder().encode(sha256), 64);
  return bytes;
}

/** Tokenizes the documents of one source file into `path`; see {@linkcode TokenFileWriter}. */
export function writeTokenFile(
  path: string,
  _source: string,
  documents: Iterable<TokenizableDocument>,
  tokenizer: Tokenizer,
  seed: number,
): { documents: number; tokens: number } {
  const writer = new TokenFileWriter(path, tokenizer, seed);
  for (const document of documents) writer.add(document);
  return writer.commit();
}

/** A stretch of a token file's documents, in order. */
interface TokenFileSlice {
  keys: Uint32Array;
  pmids: Uint32Array;
  versions: Uint32Array;
  ordinals: Uint32Array;
  /** Where each document's tokens begin, counted in tokens; one entry more than documents. */
  starts: Uint32Array;
}

/** A token file open for reading. */
export class TokenFile {
  readonly documents: number;
  readonly tokens: number;
  readonly #file: Deno.FsFile;

  /**
   * Opens `path`, checking that it was made with this tokenizer and seed.
   * @throws {UserError} where it was not, or is damaged.
   */
  constructor(readonly path: string, tokenizerSha256: string, seed: number) {
    this.#file = openForReading(path, "token file");
    try {
      const fail = (what: string): never => {
        throw new UserError(
          `Cannot use the token file ${path}: ${what}; remove it and run the pipeline again`,
        );
      };
      const bytes = readAt(this.#file, 0, HEADER_BYTES);
      if (bytes.length < HEADER_BYTES) fail("it is cut short");
      const words = new Uint32Array(bytes.buffer);
      if (words[0] !== MAGIC) fail("it is no token file");
      if (words[1] !== VERSION) fail(`its format is version ${words[1]}, not ${VERSION}`);
      const made = new TextDecoder().decode(bytes.subarray(64, 128));
      if (made !== tokenizerSha256) {
        fail(
          `it was made with the tokenizer ${made.slice(0, 12)}..., ` +
            `not with ${tokenizerSha256.slice(0, 12)}...`,
        );
      }
      if (words[3] !== seed >>> 0 || words[4] !== Math.floor(seed / 2 ** 32) >>> 0) {
        const made = uint32At(words, 4) * 2 ** 32 + uint32At(words, 3);
        fail(`it was made with the seed ${made}, not ${seed}`);
      }
      this.documents = uint32At(words, 2);
      this.tokens = uint32At(words, 5);
      const size = this.#tokensAt + this.tokens * 2;
      const found = this.#file.statSync().size;
      if (size !== found) fail(`it has ${found} bytes, not ${size}`);
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  get #tokensAt(): number {
    return HEADER_BYTES + (this.documents * (COLUMNS + 1) + 1) * 4;
  }

  /** The documents `[from, to)`; all of them by default. */
  slice(from = 0, to = this.documents): TokenFileSlice {
    const column = (c: number, extra = 0) =>
      new Uint32Array(
        readAt(
          this.#file,
          HEADER_BYTES + (c * this.documents + from) * 4,
          (to - from + extra) * 4,
        ).buffer,
      );
    return {
      keys: column(0),
      pmids: column(1),
      versions: column(2),
      ordinals: column(3),
      starts: column(COLUMNS, 1),
    };
  }

  /** The stretch of documents that have an order key: the records of one PMID. */
  rangeOf(key: number): [from: number, to: number] {
    const keyAt = (i: number) =>
      uint32At(new Uint32Array(readAt(this.#file, HEADER_BYTES + i * 4, 4).buffer), 0);
    const firstFrom = (wanted: number) => {
      let low = 0;
      let high = this.documents;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (keyAt(middle) < wanted) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return [firstFrom(key), firstFrom(key + 1)];
  }

  /** The tokens `[from, to)`. */
  read(from: number, to: number): Uint16Array {
    return new Uint16Array(readAt(this.#file, this.#tokensAt + from * 2, (to - from) * 2).buffer);
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}

/**
 * Writes a token file again with other PMIDs: each grows by `shift`. The bytes are those of a file
 * whose documents had these PMIDs from the start.
 * @throws {UserError} where the file is damaged or of another tokenizer or seed
 */
export function renumberTokenFile(
  from: string,
  to: string,
  shift: number,
  tokenizerSha256: string,
  seed: number,
): void {
  const old = new TokenFile(from, tokenizerSha256, seed);
  const { documents, tokens } = old;
  const target = openAtomic(to);
  try {
    const { pmids, versions, ordinals, starts } = old.slice();
    const moved = pmids.map((pmid) => pmid + shift);
    const keys = moved.map((pmid) => orderKey(seed, pmid));
    const at = (values: Uint32Array, i: number) => values[i] ?? 0;
    const order = Uint32Array.from(keys.keys()).sort((a, b) =>
      at(keys, a) - at(keys, b) || at(versions, a) - at(versions, b) ||
      at(ordinals, a) - at(ordinals, b)
    );
    const lengths = order.map((i) => at(starts, i + 1) - at(starts, i));
    target.write(header(documents, tokens, seed, tokenizerSha256));
    for (const column of [keys, moved, versions, ordinals]) {
      target.write(bytesOf(order.map((i) => at(column, i))));
    }
    const begins = new Uint32Array(documents + 1);
    lengths.forEach((length, i) => begins[i + 1] = at(begins, i) + length);
    target.write(bytesOf(begins));
    let part = new Uint16Array(PART_TOKENS);
    let size = 0;
    order.forEach((i, k) => {
      const length = at(lengths, k);
      if (size + length > part.length) {
        target.write(bytesOf(part.subarray(0, size)));
        size = 0;
        if (length > part.length) part = new Uint16Array(length);
      }
      part.set(old.read(at(starts, i), at(starts, i + 1)), size);
      size += length;
    });
    target.write(bytesOf(part.subarray(0, size)));
    target.commit();
  } catch (error) {
    target.abort();
    throw error;
  } finally {
    old.close();
  }
}
