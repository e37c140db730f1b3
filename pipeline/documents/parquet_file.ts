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
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { type AtomicFile, openAtomic } from "../../core/files.ts";
import { messageOf, UserError } from "../../core/errors.ts";

const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };
/** Compresses pages; level 3 is zstd's own default. */
export const COMPRESSORS = {
  ZSTD: (bytes: Uint8Array): Uint8Array => zstdCompressSync(bytes, LEVEL),
};
const DECOMPRESSORS: Decompressors = {
  ZSTD: (bytes: Uint8Array): Uint8Array => zstdDecompressSync(bytes),
};

/** A Parquet file under construction, one row group a call. */
export class ParquetFile {
  readonly #file: AtomicFile;
  readonly #bytes = new ByteWriter(1 << 20);
  readonly #writer: ParquetWriter;
  readonly #hash = createHash("sha256");

  /** Opens `path` for writing; nothing stands there before {@linkcode ParquetFile.commit}. */
  constructor(path: string, schema: SchemaElement[], metadata: Record<string, string>) {
    this.#file = openAtomic(path);
    this.#writer = new ParquetWriter({
      writer: this.#bytes,
      schema,
      codec: "ZSTD",
      compressors: COMPRESSORS,
      statistics: false,
      createdBy: "pubmamba",
      kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    });
  }

  /** Writes one row group of columns of equal length. */
  writeGroup(columns: { name: string; data: unknown[] }[]): void {
    const rows = columns[0]!.data.length;
    if (rows === 0) return;
    this.#writer.write({ columnData: columns, rowGroupSize: rows });
    this.#flush();
  }

  /** Finishes the file and puts it in place; returns its SHA-256 in hex. */
  commit(): string {
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

/** A Parquet file open for reading. */
export class ParquetReader {
  readonly #file: Deno.FsFile;
  readonly #buffer: AsyncBuffer;
  #metadata: FileMetaData | undefined;

  /** @throws {UserError} where the file is missing. */
  constructor(readonly path: string) {
    try {
      this.#file = Deno.openSync(path, { read: true });
    } catch (error) {
      throw new UserError(`Cannot read the documents in ${path}: ${messageOf(error)}`);
    }
    const file = this.#file, size = file.statSync().size;
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
        }); remove it and run the pipeline again`,
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
        `Cannot read rows ${from} to ${to} of ${this.path}: ${messageOf(error)}; ` +
          "remove the file and run the pipeline again",
      );
    }
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}
