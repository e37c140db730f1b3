/**
 * One leaf of the schema on its way into a row group: its levels, its values, its pages.
 * @module
 */
import type { ColumnChunk, Encoding, SchemaElement } from "hyparquet";
import { fail } from "../../core/errors.ts";
import { PageBytes } from "./page_bytes.ts";

/** How values stand in pages. */
type Kind = "text" | "integer" | "double" | "flag";

const PLAIN = 0;
const RLE_DICTIONARY = 8;
const DICTIONARY_PAGE = 2;
const DATA_PAGE_V2 = 3;
/** A dictionary is given up when, after so many values, more than half were new. */
const DICTIONARY_TRIAL = 256;

/** Compresses the values of a page. */
type Compress = (bytes: Uint8Array) => Uint8Array;

/** Where pages are appended. */
interface PageSink {
  readonly offset: number;
  append(bytes: Uint8Array): void;
}

/** A leaf of a schema in which only leaves outside of lists may be null, and only lists repeat. */
export class LeafColumn {
  readonly #kind: Kind;
  readonly #type: NonNullable<SchemaElement["type"]>;
  /** The highest definition level. */
  readonly #defined: number;
  #repetitions = new Uint8Array(1 << 10);
  #definitions = new Uint8Array(1 << 10);
  #levels = 0;
  #texts: string[] = [];
  #numbers: number[] = [];
  // Text -> place in the dictionary, null when one does not pay.
  #dictionary: Map<string, number> | null = new Map();
  #indexes: number[] = [];

  /**
   * @param path the names from the column to the leaf
   * @param depth how many lists the leaf is in: the highest repetition level
   */
  constructor(readonly path: string[], element: SchemaElement, readonly depth: number) {
    this.#type = element.type ?? fail(`the column ${path.join(".")} has no type`);
    this.#kind = element.type === "BYTE_ARRAY"
      ? "text"
      : element.type === "BOOLEAN"
      ? "flag"
      : element.type === "DOUBLE"
      ? "double"
      : "integer";
    this.#defined = depth + Number(element.repetition_type === "OPTIONAL");
  }

  /** Appends a value; null where the leaf may be. */
  put(value: unknown, repetition: number): void {
    if (this.#defined > this.depth && value === null) return this.putNone(repetition, this.depth);
    if (this.#defined > 0) this.#level(repetition, this.#defined);
    if (this.#kind === "text") this.#putText(value as string);
    else this.#numbers.push(Number(value));
  }

  /** Notes that the list at level `definition` is empty. */
  putNone(repetition: number, definition: number): void {
    this.#level(repetition, definition);
  }

  #level(repetition: number, definition: number): void {
    const n = this.#levels++;
    if (n === this.#repetitions.length) {
      const grow = (old: Uint8Array) => {
        const grown = new Uint8Array(old.length * 2);
        grown.set(old);
        return grown;
      };
      this.#repetitions = grow(this.#repetitions);
      this.#definitions = grow(this.#definitions);
    }
    this.#repetitions[n] = repetition;
    this.#definitions[n] = definition;
  }

  #putText(text: string): void {
    const texts = this.#texts;
    const dictionary = this.#dictionary;
    texts.push(text);
    if (dictionary === null) return;
    let index = dictionary.get(text);
    if (index === undefined) dictionary.set(text, index = dictionary.size);
    this.#indexes.push(index);
    if (texts.length >= DICTIONARY_TRIAL && dictionary.size * 2 > texts.length) {
      this.#dictionary = null;
      this.#indexes = [];
    }
  }

  /** Writes the pages of the `rows` rows put since the last time, and starts anew. */
  flush(rows: number, out: PageSink, compress: Compress): ColumnChunk {
    const start = out.offset;
    const values = new PageBytes();
    const head = new PageBytes();
    let uncompressed = 0;
    let dictionaryAt: bigint | undefined;
    let encoding: Encoding = "PLAIN";
    if (this.#kind === "text" && this.#dictionary !== null && this.#texts.length > 0) {
      for (const text of this.#dictionary.keys()) values.text(text);
      const { size } = values;
      const packed = compress(values.view());
      head.struct({
        1: DICTIONARY_PAGE,
        2: size,
        3: packed.length,
        7: { 1: this.#dictionary.size, 2: PLAIN },
      });
      dictionaryAt = BigInt(out.offset);
      uncompressed += head.size + size;
      out.append(head.view());
      out.append(packed);
      head.size = values.size = 0;
      const width = Math.max(1, 32 - Math.clz32(this.#dictionary.size - 1));
      values.byte(width);
      values.hybrid(this.#indexes, this.#indexes.length, width);
      encoding = "RLE_DICTIONARY";
    } else if (this.#kind === "text") { for (const text of this.#texts) values.text(text); }
    else if (this.#kind === "flag") values.flags(this.#numbers, this.#numbers.length);
    else if (this.#kind === "double") { for (const number of this.#numbers) values.double(number); }
    else for (const number of this.#numbers) values.uint32(number);

    const held = this.#kind === "text" ? this.#texts.length : this.#numbers.length;
    const entries = this.#defined > 0 ? this.#levels : held;
    const levels = new PageBytes();
    let repetitionBytes = 0;
    if (this.depth > 0) levels.hybrid(this.#repetitions, entries, 32 - Math.clz32(this.depth));
    if (this.#defined > 0) {
      repetitionBytes = levels.size;
      levels.hybrid(this.#definitions, entries, 32 - Math.clz32(this.#defined));
    }
    const packed = values.size > 0 ? compress(values.view()) : values.view();
    head.struct({
      1: DATA_PAGE_V2,
      2: levels.size + values.size,
      3: levels.size + packed.length,
      8: {
        1: entries,
        2: entries - held,
        3: rows,
        4: encoding === "PLAIN" ? PLAIN : RLE_DICTIONARY,
        5: levels.size - repetitionBytes,
        6: repetitionBytes,
        7: values.size > 0,
      },
    });
    uncompressed += head.size + levels.size + values.size;
    const dataAt = BigInt(out.offset);
    for (const part of [head.view(), levels.view(), packed]) out.append(part);
    this.#levels = 0;
    this.#texts = [];
    this.#numbers = [];
    this.#indexes = [];
    this.#dictionary = new Map();
    return {
      file_offset: BigInt(start),
      meta_data: {
        type: this.#type,
        encodings: encoding === "PLAIN" ? ["PLAIN", "RLE"] : ["PLAIN", "RLE", "RLE_DICTIONARY"],
        path_in_schema: this.path,
        codec: "ZSTD",
        num_values: BigInt(entries),
        total_compressed_size: BigInt(out.offset - start),
        total_uncompressed_size: BigInt(uncompressed),
        data_page_offset: dataAt,
        ...(dictionaryAt === undefined ? {} : { dictionary_page_offset: dictionaryAt }),
      },
    };
  }
}
