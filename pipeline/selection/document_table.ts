/** The documents of the training split with where they lie, and columns for them. @module */
import { distance } from "../../core/distance.ts";
import { nth, uint32At } from "../../core/nth.ts";
import { join } from "../../core/std.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { breathe } from "../../core/breathe.ts";
import { columnReader, scoreColumns, scoreRows, scoreValues } from "./columns.ts";
import { type Condition, fulfils, type Values } from "./conditions.ts";
import { openShards, readManifest, type ShardSet, shardsFolder } from "../shards/mod.ts";

/**
 * Columns that follow from the tokens: a document's length, and how rare its tokens are, as their
 * mean negative log frequency in the training split, in nats.
 */
export const BUILT_IN: readonly string[] = ["tokens", "difficulty"];

interface Piece {
  pmid: number;
  version: number;
  row: number;
  start: number;
  length: number;
  source: string;
}

/** Numbers kept of a piece while the table is read: PMID, row, column, length, source, version. */
const COLUMNS = ["pmid", "row", "start", "length", "source", "version"];
const FIELDS = COLUMNS.length;
const BLOCK = 1 << 16;

/** Distinct values that are compared with a misspelt one. */
const MOST_VALUES = 100_000;

/** Documents in ascending order of PMID. About 35 bytes each. */
export class DocumentTable {
  /** Of each document: its PMID, its tokens, and where its pieces begin among all. */
  readonly pmids: Uint32Array;
  readonly lengths: Uint32Array;
  readonly #firsts: Uint32Array;
  /** Row, column and length of each piece. */
  readonly #pieces: Uint32Array;
  /** Of each document, which record it is. */
  readonly #sources: Uint16Array;
  readonly #versions: Uint16Array;
  readonly #names: readonly string[];

  private constructor(readonly corpus: string, blocks: Uint32Array[], names: Iterable<string>) {
    const total = blocks.reduce((n, b) => n + b.length / FIELDS, 0);
    const numbers = (p: number) =>
      nth(blocks, Math.floor(p / BLOCK)).subarray(FIELDS * (p % BLOCK), FIELDS * (p % BLOCK + 1));
    const pmids = Uint32Array.from({ length: total }, (_, p) => uint32At(numbers(p), 0));
    // Equal PMIDs keep their order: a document's pieces lie in rows one after the other.
    const order = Uint32Array.from(pmids.keys()).sort((a, b) =>
      uint32At(pmids, a) - uint32At(pmids, b) || a - b
    );
    const lengths = new Uint32Array(total);
    const firsts = new Uint32Array(total + 1);
    this.#pieces = new Uint32Array(3 * total);
    this.#sources = new Uint16Array(total);
    this.#versions = new Uint16Array(total);
    this.#names = [...names];
    let count = 0;
    let last = -1;
    order.forEach((p, i) => {
      const own = numbers(p);
      const pmid = uint32At(own, 0);
      const length = uint32At(own, 3);
      if (pmid !== last) {
        firsts[count] = i;
        this.#sources[count] = uint32At(own, 4);
        this.#versions[count] = uint32At(own, 5);
        lengths[count++] = 0;
        last = pmid;
      }
      lengths[count - 1] = uint32At(lengths, count - 1) + length;
      this.#pieces.set(own.subarray(1, 4), 3 * i);
    });
    firsts[count] = total;
    this.#firsts = firsts.slice(0, count + 1);
    this.pmids = Uint32Array.from(
      { length: count },
      (_, d) => uint32At(pmids, uint32At(order, uint32At(firsts, d))),
    );
    this.lengths = lengths.slice(0, count);
  }

  /** Reads the tables of the training shards. @throws {UserError} where one is missing or damaged. */
  static async open(corpus: string): Promise<DocumentTable> {
    const blocks: Uint32Array[] = [];
    const block: number[] = [];
    const sources = new Map<string, number>();
    let first = 0;
    for (const shard of readManifest(corpus).splits.train.shards) {
      using reader = new ParquetReader(join(shardsFolder(corpus), shard.documents_file.path));
      for await (const { rows } of reader.each<Piece>(COLUMNS)) {
        for (const piece of rows) {
          const source = sources.get(piece.source) ?? sources.size;
          sources.set(piece.source, source);
          block.push(piece.pmid, first + piece.row, piece.start, piece.length);
          block.push(source, piece.version);
          if (block.length === FIELDS * BLOCK) {
            blocks.push(Uint32Array.from(block));
            block.length = 0;
          }
        }
        await breathe();
      }
      first += shard.rows;
    }
    blocks.push(Uint32Array.from(block));
    return new DocumentTable(corpus, blocks, sources.keys());
  }

  /** How many documents there are. */
  get count(): number {
    return this.pmids.length;
  }

  /** A document's number; -1 where the split does not have the PMID. */
  indexOf(pmid: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = low + high >>> 1;
      if (uint32At(this.pmids, middle) < pmid) low = middle + 1;
      else high = middle;
    }
    return this.pmids[low] === pmid ? low : -1;
  }

  /** Copies the tokens of a document from `from` on, its end-of-text being number 0. */
  copy(shards: ShardSet, document: number, from: number, out: Uint16Array): void {
    let skip = from;
    let at = 0;
    const last = uint32At(this.#firsts, document + 1);
    for (let p = uint32At(this.#firsts, document); p < last && at < out.length; p++) {
      const row = uint32At(this.#pieces, 3 * p);
      const start = uint32At(this.#pieces, 3 * p + 1);
      const length = uint32At(this.#pieces, 3 * p + 2);
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const size = Math.min(length - skip, out.length - at);
      out.set(shards.row(row).subarray(start + skip, start + skip + size), at);
      at += size;
      skip = 0;
    }
  }

  /** 1 for each document that fulfils all conditions. */
  async marks(conditions: readonly Condition[], scores: string): Promise<Uint8Array> {
    const marks = new Uint8Array(this.count).fill(1);
    for (const condition of conditions) {
      const own = new Uint8Array(this.count);
      const { column } = condition;
      // A document of which nothing is known fulfils what no value does.
      if (fulfils(condition, [])) own.fill(1);
      await this.#each(column, scores, (document, values) => {
        own[document] = Number(fulfils(condition, values));
      });
      for (let d = 0; d < marks.length; d++) marks[d] = nth(marks, d) & nth(own, d);
    }
    return marks;
  }

  /** A column as numbers: the first of a list; NaN where there is none. */
  async values(column: string, scores: string): Promise<Float64Array> {
    const found = new Float64Array(this.count).fill(NaN);
    await this.#each(column, scores, (document, [value]) => {
      if (typeof value !== "boolean" && value !== undefined) found[document] = Number(value);
    });
    return found;
  }

  /**
   * What a condition that nothing fulfils may have meant: the values nearest to the one it names, or
   * the range of a column of numbers, as the end of a sentence.
   */
  async describeNear({ column, values: wanted }: Condition, scores: string): Promise<string> {
    const texts = new Map<string, number>();
    let least = Infinity;
    let most = -Infinity;
    let numbers = true;
    await this.#each(column, scores, (_document, own) => {
      for (const value of own) {
        const number = value === "" || typeof value === "boolean" ? NaN : Number(value);
        numbers &&= !Number.isNaN(number);
        least = Math.min(least, number);
        most = Math.max(most, number);
        const text = String(value);
        if (texts.has(text) || texts.size < MOST_VALUES) {
          texts.set(text, (texts.get(text) ?? 0) + 1);
        }
      }
    });
    if (texts.size === 0) return `"${column}" has no value in any of them`;
    if (numbers) return `"${column}" goes from ${least} to ${most}`;
    const far = (text: string) =>
      Math.min(...wanted.map((w) => distance(w.toLowerCase(), text.toLowerCase())));
    const nearest = [...texts].map(([text, count]) => ({ text, count, far: far(text) }))
      .sort((a, b) => a.far - b.far || b.count - a.count)[0];
    return `the nearest value of "${column}" is "${nearest?.text}", of ${nearest?.count} documents`;
  }

  async #each(
    column: string,
    scores: string,
    use: (document: number, values: Values) => void,
  ): Promise<void> {
    if (scores !== "" && (await scoreColumns(scores)).includes(column)) {
      for await (const row of scoreRows(scores)) {
        const document = this.indexOf(Number(row.pmid));
        if (document >= 0) use(document, scoreValues(row, column));
      }
    } else if (column === "tokens") {
      this.lengths.forEach((length, document) => use(document, [length]));
    } else if (column === "difficulty") {
      (await this.#difficulties()).forEach((value, document) => use(document, [value]));
    } else {
      const read = columnReader(this.corpus);
      for (const [number, source] of this.#names.entries()) {
        await read(source, [column], (pmid, version, valueOf) => {
          const d = this.indexOf(pmid);
          if (d < 0 || this.#sources[d] !== number || this.#versions[d] !== version) return;
          use(d, valueOf(column));
        });
      }
    }
  }

  async #difficulties(): Promise<Float64Array> {
    const shards = openShards(this.corpus, "train");
    const { vocabulary_size } = shards.manifest;
    try {
      const counts = new Float64Array(vocabulary_size);
      const found = new Float64Array(this.count);
      await this.#inOrder(shards, (own) => own.forEach((id) => counts[id] = (counts[id] ?? 0) + 1));
      const all = counts.reduce((a, b) => a + b, 0);
      const surprise = counts.map((n) => n === 0 ? 0 : -Math.log(n / all));
      await this.#inOrder(shards, (own, d) => {
        const before = nth(found, d);
        found[d] = own.reduce((sum, id) => sum + (surprise[id] ?? 0), before);
      });
      return found.map((sum, d) => sum / Math.max(1, uint32At(this.lengths, d) - 1));
    } finally {
      shards.close();
    }
  }

  /** All documents' tokens without their end-of-text, piece by piece as they lie in the rows. */
  async #inOrder(
    shards: ShardSet,
    use: (tokens: Uint16Array, document: number) => void,
  ): Promise<void> {
    const pieces = this.#pieces;
    const total = pieces.length / 3;
    const documents = new Uint32Array(total);
    for (let d = 0; d < this.count; d++) {
      documents.fill(d, this.#firsts[d], this.#firsts[d + 1]);
    }
    const order = Uint32Array.from(documents.keys())
      .sort((a, b) => uint32At(pieces, 3 * a) - uint32At(pieces, 3 * b) || a - b);
    for (const [i, p] of order.entries()) {
      if (i % 1000 === 0) await breathe();
      const row = shards.row(uint32At(pieces, 3 * p));
      const start = uint32At(pieces, 3 * p + 1);
      const end = start + uint32At(pieces, 3 * p + 2);
      const d = uint32At(documents, p);
      const skip = Number(this.#firsts[d] === p);
      use(row.subarray(start + skip, end), d);
    }
  }
}
