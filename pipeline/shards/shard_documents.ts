/**
 * Which documents make a shard, and their tokens: a merge of one stretch of every token file.
 * @module
 */
import { createHash } from "node:crypto";
import { nth, uint32At } from "../../core/nth.ts";
import { bytesOf } from "./npy.ts";
import { type Split, splitOf } from "./order.ts";
import { TokenFile } from "./token_file.ts";

/** Says of a document whether it is the one that counts for its PMID. */
export interface LiveSet {
  isLive(source: string, pmid: number, version: number, ordinal: number): boolean;
}

/** What selects documents. */
interface Selection {
  tokenFiles: { source: string; path: string }[];
  live: LiveSet;
  tokenizerSha256: string;
  seed: number;
  validation: number;
  test: number;
}

/** Shards begin at multiples of 2^(32 - MAX_SHARD_BITS) of the order key, so there are at most 4,096. */
export const MAX_SHARD_BITS = 12;
/** Gaps of up to this many tokens are read and thrown away: one long read is faster than two short ones. */
const READ_OVER = 8192;

/** What a split holds in all, found by one pass over the token files. */
export interface SplitSize {
  documents: number;
  tokens: number;
  /** Documents, or their rests beyond whole rows, of more than half a row: at most one fits into each row. */
  large: number;
  /** Rows that one document each would take. */
  pieces: number;
}

/** The token files, their directories, and the sizes of the splits. */
export class DocumentIndex {
  /** For each file, where each 2^12th part of the order key's range begins. */
  readonly #directories: Uint32Array[] = [];
  readonly sizes: Record<Split, SplitSize>;

  /** @throws {UserError} where a token file is of another tokenizer or seed, or damaged. */
  constructor(readonly selection: Selection, rowLength: number) {
    const size = (): SplitSize => ({ documents: 0, tokens: 0, large: 0, pieces: 0 });
    this.sizes = { train: size(), validation: size(), test: size() };
    for (const [f, { source, path }] of selection.tokenFiles.entries()) {
      const file = new TokenFile(path, selection.tokenizerSha256, selection.seed);
      try {
        const { keys, pmids, versions, ordinals, starts } = file.slice();
        const directory = new Uint32Array((1 << MAX_SHARD_BITS) + 1);
        for (const [i, key] of keys.entries()) {
          const part = (key >>> (32 - MAX_SHARD_BITS)) + 1;
          directory[part] = uint32At(directory, part) + 1;
          const pmid = uint32At(pmids, i);
          const version = uint32At(versions, i);
          if (!selection.live.isLive(source, pmid, version, uint32At(ordinals, i))) continue;
          const length = uint32At(starts, i + 1) - uint32At(starts, i);
          const split = this.sizes[splitOf(pmid, selection.validation, selection.test)];
          split.documents++;
          split.tokens += length;
          split.pieces += Math.ceil(length / rowLength);
          if (length % rowLength > rowLength / 2) split.large++;
        }
        for (let k = 1; k < directory.length; k++) {
          directory[k] = uint32At(directory, k) + uint32At(directory, k - 1);
        }
        this.#directories[f] = directory;
      } finally {
        file.close();
      }
    }
  }

  /** The live documents of shard `shard` of 2^`bits`, in order. */
  documents(split: Split, shard: number, bits: number): ShardDocuments {
    const { tokenFiles, live, tokenizerSha256, seed, validation, test } = this.selection;
    const perShard = 1 << (MAX_SHARD_BITS - bits);
    const found = new ShardDocuments(this.selection);
    for (const [f, { source, path }] of tokenFiles.entries()) {
      const directory = nth(this.#directories, f);
      const from = uint32At(directory, shard * perShard);
      const to = uint32At(directory, (shard + 1) * perShard);
      if (from === to) continue;
      const file = new TokenFile(path, tokenizerSha256, seed);
      try {
        const { keys, pmids, versions, ordinals, starts } = file.slice(from, to);
        for (let i = 0; i < keys.length; i++) {
          const pmid = uint32At(pmids, i);
          if (splitOf(pmid, validation, test) !== split) continue;
          const version = uint32At(versions, i);
          const ordinal = uint32At(ordinals, i);
          if (!live.isLive(source, pmid, version, ordinal)) continue;
          const end = uint32At(starts, i + 1);
          found.add(f, uint32At(keys, i), pmid, version, ordinal, uint32At(starts, i), end);
        }
      } finally {
        file.close();
      }
    }
    found.sort();
    return found;
  }
}

const FIELDS = 7;
const FILE = 0;
const KEY = 1;
const PMID = 2;
const VERSION = 3;
const ORDINAL = 4;
const START = 5;
const END = 6;

/** The documents of one shard, in the order of their keys. */
export class ShardDocuments {
  #records = new Uint32Array(FIELDS << 10);
  #order = new Uint32Array(0);
  #count = 0;

  constructor(readonly selection: Selection) {}

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Appends one: file, key, pmid, version, ordinal, and where its tokens begin and end. */
  add(...record: [number, number, number, number, number, number, number]): void {
    const at = this.#count++ * FIELDS;
    if (at + FIELDS > this.#records.length) {
      const larger = new Uint32Array(this.#records.length * 2);
      larger.set(this.#records);
      this.#records = larger;
    }
    this.#records.set(record, at);
  }

  /** Puts them in order; files were appended in theirs, so equal keys keep it. */
  sort(): void {
    const records = this.#records;
    this.#order = Uint32Array.from({ length: this.#count }, (_, i) => i)
      .sort((a, b) =>
        uint32At(records, a * FIELDS + KEY) - uint32At(records, b * FIELDS + KEY) || a - b
      );
  }

  #field(i: number, field: number): number {
    return uint32At(this.#records, uint32At(this.#order, i) * FIELDS + field);
  }
  /** The PMID of the i-th document. */
  pmid(i: number): number {
    return this.#field(i, PMID);
  }
  /** Its version. */
  version(i: number): number {
    return this.#field(i, VERSION);
  }
  /** The name of its source file. */
  source(i: number): string {
    return nth(this.selection.tokenFiles, this.#field(i, FILE)).source;
  }
  /** Its length in tokens. */
  length(i: number): number {
    return this.#field(i, END) - this.#field(i, START);
  }

  /**
   * A hash of everything that the shard's bytes follow from.
   * @param settings of the packer, as text
   * @param originOf what a source file's tokens are: hashes of the file and of the tokens
   */
  digest(settings: string, originOf: (source: string) => string): string {
    const hash = createHash("sha256").update(settings + "\n");
    const numbers = new Map<string, number>();
    const entry = new Uint32Array(4);
    for (let i = 0; i < this.#count; i++) {
      const source = this.source(i);
      let number = numbers.get(source);
      if (number === undefined) {
        numbers.set(source, number = numbers.size);
        hash.update(`${source} ${originOf(source)}\n`);
      }
      entry.set([number, this.pmid(i), this.version(i), this.#field(i, ORDINAL)]);
      hash.update(bytesOf(entry));
    }
    return hash.digest("hex");
  }

  /** The tokens of the documents `[from, to)`, and where each begins, one entry more. */
  tokens(from: number, to: number): { tokens: Uint16Array; starts: Uint32Array } {
    const starts = new Uint32Array(to - from + 1);
    const byFile = new Map<number, number[]>();
    for (let i = from; i < to; i++) {
      starts[i - from + 1] = uint32At(starts, i - from) + this.length(i);
      const file = this.#field(i, FILE);
      const list = byFile.get(file);
      if (list) list.push(i);
      else byFile.set(file, [i]);
    }
    const tokens = new Uint16Array(uint32At(starts, to - from));
    const { tokenFiles, tokenizerSha256, seed } = this.selection;
    for (const [f, list] of byFile) {
      const file = new TokenFile(nth(tokenFiles, f).path, tokenizerSha256, seed);
      try {
        for (let a = 0, b = 0; a < list.length; a = b) {
          const first = this.#field(nth(list, a), START);
          let last = this.#field(nth(list, a), END);
          for (b = a + 1; b < list.length; b++) {
            if (this.#field(nth(list, b), START) - last > READ_OVER) break;
            last = this.#field(nth(list, b), END);
          }
          const stretch = file.read(first, last);
          for (let k = a; k < b; k++) {
            const i = nth(list, k);
            const begin = this.#field(i, START) - first;
            tokens.set(stretch.subarray(begin, begin + this.length(i)), uint32At(starts, i - from));
          }
        }
      } finally {
        file.close();
      }
    }
    return { tokens, starts };
  }
}
