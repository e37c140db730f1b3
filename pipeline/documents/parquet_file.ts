/**
 * Parquet files written atomically and read by stretches, with zstd from node:zlib.
 * @module
 */
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import {
  type AsyncBuffer,
  type Compressors as Decompressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  type SchemaElement,
} from "hyparquet";
import { createHash } from "node:crypto";
import {
  brotliDecompressSync,
  constants,
  gunzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from "node:zlib";
import { type AtomicFile, openAtomic } from "../../core/files.ts";
import { messageOf, UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";
import { RowShredder } from "./row_shredder.ts";

const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };
/** Compresses pages; level 3 is zstd's own default. */
const compress = (bytes: Uint8Array): Uint8Array => zstdCompressSync(bytes, LEVEL);
const DECOMPRESSORS: Decompressors = {
  ZSTD: (bytes: Uint8Array): Uint8Array => zstdDecompressSync(bytes),
  GZIP: (bytes: Uint8Array): Uint8Array => gunzipSync(bytes),
  BROTLI: (bytes: Uint8Array): Uint8Array => brotliDecompressSync(bytes),
};

/** A Parquet file under construction, of a schema in which only leaves outside of lists may be null. */
export class ParquetFile {
  readonly #file: AtomicFile;
  readonly #bytes = new ByteWriter(1 << 20);
  readonly #writer: ParquetWriter;
  readonly #hash = createHash("sha256");
  readonly #shredder: RowShredder;
  #rows = 0;

  /** Opens `path` for writing; nothing stands there before {@linkcode ParquetFile.commit}. */
  constructor(path: string, schema: SchemaElement[], metadata: Record<string, string>) {
    this.#file = openAtomic(path);
    this.#shredder = new RowShredder(schema);
    // The library writes header and footer; pages are made here, several times faster.
    this.#writer = new ParquetWriter({
      writer: this.#bytes,
      schema,
      codec: "ZSTD",
      compressors: { ZSTD: compress },
      statistics: false,
      createdBy: "pubmamba",
      kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    });
  }

  /** Rows since the last row group ended. */
  get rows(): number {
    return this.#rows;
  }

  /** Takes one row: the columns' values, in the schema's order. */
  add(values: readonly unknown[]): void {
    this.#shredder.add(values);
    this.#rows++;
  }

  /** Writes one row group of columns of equal length, in the schema's order. */
  writeGroup(columns: readonly { name: string; data: readonly unknown[] }[]): void {
    this.endGroup();
    this.#shredder.addColumns(columns.map((c) => c.data));
    this.#rows = nth(columns, 0).data.length;
    this.endGroup();
  }

  /** Ends the row group. */
  endGroup(): void {
    const rows = this.#rows;
    const bytes = this.#bytes;
    const start = bytes.offset;
    if (rows === 0) return;
    const out = {
      get offset() {
        return bytes.offset;
      },
      append: (part: Uint8Array) => bytes.appendBytes(part),
    };
    const columns = this.#shredder.leaves.map((leaf) => leaf.flush(rows, out, compress));
    const sum = columns.reduce((n, c) => n + (c.meta_data?.total_uncompressed_size ?? 0n), 0n);
    this.#writer.row_groups.push({
      columns,
      total_byte_size: sum,
      num_rows: BigInt(rows),
      total_compressed_size: BigInt(bytes.offset - start),
    });
    this.#writer.num_rows += BigInt(rows);
    this.#rows = 0;
    this.#flush();
  }

  /** Finishes the file and puts it in place; returns its SHA-256 in hex. */
  commit(): string {
    this.endGroup();
    this.#writer.finish();
    this.#flush();
    this.#file.commit();
    return this.#hash.digest("hex");
  }

  /** Removes what was written. */
  abort(): void {
    this.#file.abort();
  }

  #flush(): void {
    // The writer's `offset` goes on counting; only its buffer starts anew.
    const bytes = this.#bytes as ByteWriter & { index: number };
    const written = bytes.getBytes();
    this.#hash.update(written);
    this.#file.write(written);
    bytes.index = 0;
  }
}

/** A row group. */
interface RowGroup<Row> {
  /** The number of its first row in the file, counted from 0. */
  first: number;
  rows: Row[];
}

/** A Parquet file open for reading; `using` closes it. */
export class ParquetReader implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #buffer: AsyncBuffer;
  #metadata: FileMetaData | undefined;

  /**
   * @param remedy what errors advise where the file cannot be read
   * @throws {UserError} where the file is missing.
   */
  constructor(
    readonly path: string,
    readonly remedy = "remove the file and run the pipeline again",
  ) {
    try {
      this.#file = Deno.openSync(path, { read: true });
    } catch (error) {
      throw new UserError(`Cannot read the documents in ${path}: ${messageOf(error)}`);
    }
    const file = this.#file;
    const size = file.statSync().size;
    this.#buffer = {
      byteLength: size,
      slice(start, end = size) {
        const from = start < 0 ? size + start : start;
        const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - from));
        file.seekSync(from, Deno.SeekMode.Start);
        for (let at = 0; at < bytes.length;) {
          const n = file.readSync(bytes.subarray(at));
          if (n === null) break;
          at += n;
        }
        return bytes.buffer;
      },
    };
  }

  /**
   * The file's footer.
   * @throws {UserError} where it is damaged.
   */
  async metadata(): Promise<FileMetaData> {
    try {
      return this.#metadata ??= await parquetMetadataAsync(this.#buffer);
    } catch (error) {
      throw new UserError(
        `Cannot read ${this.path}: it is no Parquet file or damaged (${
          messageOf(error)
        }); ${this.remedy}`,
      );
    }
  }

  /** The numbers of rows of the row groups. */
  async groups(): Promise<number[]> {
    return (await this.metadata()).row_groups.map((g) => Number(g.num_rows));
  }

  /** The rows `[from, to)` with the named columns (all by default). */
  async rows<Row>(from: number, to: number, columns?: readonly string[]): Promise<Row[]> {
    const metadata = await this.metadata();
    try {
      return await parquetReadObjects({
        file: this.#buffer,
        metadata,
        compressors: DECOMPRESSORS,
        rowStart: from,
        rowEnd: to,
        ...(columns ? { columns: [...columns] } : {}),
      }) as Row[];
    } catch (error) {
      throw new UserError(
        `Cannot read rows ${from} to ${to} of ${this.path}: ${messageOf(error)}; ${this.remedy}`,
      );
    }
  }

  /**
   * The whole file from its beginning to its end, with one row group in memory at a time.
   * @param columns the columns to read, all by default
   * @throws {UserError} where the file is damaged
   */
  async *each<Row>(columns?: readonly string[]): AsyncGenerator<RowGroup<Row>> {
    let first = 0;
    for (const count of await this.groups()) {
      yield { first, rows: await this.rows<Row>(first, first + count, columns) };
      first += count;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}
