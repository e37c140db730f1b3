/** Writes one shard: rows of tokens, and the table of what lies where in them. @module */
import type { SchemaElement } from "hyparquet";
import { nth, uint32At } from "../../core/nth.ts";
import { basename, join } from "../../core/std.ts";
import { hashFile } from "../../core/files.ts";
import { Interrupted } from "../../core/errors.ts";
import { ParquetFile } from "../documents/parquet_file.ts";
import { breathe } from "../../core/breathe.ts";
import type { ShardEntry } from "./manifest.ts";
import { NpyWriter } from "./npy.ts";
import { pack, type PackingMethod, type Placement } from "./packing.ts";
import type { ShardDocuments } from "./shard_documents.ts";

const INTEGERS = ["pmid", "version", "row", "start", "length", "chunk"] as const;
/** The columns of `<split>-00000.documents.parquet`: one line for each piece of a document. */
const SCHEMA: SchemaElement[] = [
  { name: "placement", num_children: INTEGERS.length + 1 },
  ...INTEGERS.map((name): SchemaElement => ({
    name,
    type: "INT32",
    repetition_type: "REQUIRED",
  })),
  {
    name: "source",
    type: "BYTE_ARRAY",
    converted_type: "UTF8",
    logical_type: { type: "STRING" },
    repetition_type: "REQUIRED",
  },
];
/** Rows are handed to the file in blocks of about so many tokens. */
const BLOCK_TOKENS = 1 << 22;

/** How to write a shard. */
interface ShardSettings {
  /** Where `path`s of the manifest begin. */
  folder: string;
  /** "train/train-00000". */
  stem: string;
  sequenceLength: number;
  endOfText: number;
  window: number;
  method: PackingMethod;
  signal?: AbortSignal;
}

/**
 * Packs the documents window by window and writes both files; null where there are none.
 * @throws {Interrupted} where the signal fires; nothing is left of the shard then.
 */
export async function writeShard(
  documents: ShardDocuments,
  digest: string,
  settings: ShardSettings,
): Promise<ShardEntry | null> {
  if (documents.count === 0) return null;
  const { folder, stem, sequenceLength, window } = settings;
  const tokensPath = `${stem}.tokens.npy`;
  const documentsPath = `${stem}.documents.parquet`;
  const rowFile = new NpyWriter(join(folder, tokensPath), "<u2", [sequenceLength]);
  let table: ParquetFile | undefined;
  try {
    table = new ParquetFile(join(folder, documentsPath), SCHEMA, {
      "pubmamba.placements": "1",
    });
    let rows = 0;
    let tokens = 0;
    let splitDocuments = 0;
    for (let from = 0; from < documents.count; from += window) {
      await breathe();
      if (settings.signal?.aborted) {
        throw new Interrupted("Stopped while packing; run again to go on");
      }
      const to = Math.min(from + window, documents.count);
      const read = documents.tokens(from, to);
      const lengths = read.starts.subarray(1).map((end, i) => end - uint32At(read.starts, i));
      const packed = pack(lengths, sequenceLength, settings.method);
      writeRows(rowFile, packed, read.tokens, read.starts, settings);
      table.writeGroup(placementColumns(documents, from, packed, rows));
      rows += packed.length;
      tokens += read.tokens.length;
      for (const row of packed) splitDocuments += row.filter((p) => p.chunk === 1).length;
    }
    const bytes = rowFile.commit();
    const sha256 = table.commit();
    return {
      name: basename(stem),
      rows,
      documents: documents.count,
      tokens,
      split_documents: splitDocuments,
      digest,
      tokens_file: { path: tokensPath, bytes, sha256: hashFile(join(folder, tokensPath)) },
      documents_file: {
        path: documentsPath,
        bytes: Deno.statSync(join(folder, documentsPath)).size,
        sha256,
      },
    };
  } catch (error) {
    rowFile.abort();
    table?.abort();
    throw error;
  }
}

function writeRows(
  file: NpyWriter,
  rows: Placement[][],
  tokens: Uint16Array,
  starts: Uint32Array,
  { sequenceLength, endOfText }: ShardSettings,
): void {
  const perBlock = Math.max(1, Math.floor(BLOCK_TOKENS / sequenceLength));
  const block = new Uint16Array(Math.min(perBlock, rows.length) * sequenceLength);
  for (let first = 0; first < rows.length; first += perBlock) {
    const last = Math.min(first + perBlock, rows.length);
    block.fill(endOfText); // what stays of it is the padding
    for (let r = first; r < last; r++) {
      for (const { document, from, start, length } of nth(rows, r)) {
        const at = uint32At(starts, document) + from;
        block.set(tokens.subarray(at, at + length), (r - first) * sequenceLength + start);
      }
    }
    file.write(block.subarray(0, (last - first) * sequenceLength));
  }
}

function placementColumns(
  documents: ShardDocuments,
  from: number,
  rows: Placement[][],
  firstRow: number,
): { name: string; data: unknown[] }[] {
  const columns = {
    pmid: [] as number[],
    version: [] as number[],
    row: [] as number[],
    start: [] as number[],
    length: [] as number[],
    chunk: [] as number[],
    source: [] as string[],
  };
  rows.forEach((row, r) => {
    for (const { document, chunk, start, length } of row) {
      columns.pmid.push(documents.pmid(from + document));
      columns.version.push(documents.version(from + document));
      columns.row.push(firstRow + r);
      columns.start.push(start);
      columns.length.push(length);
      columns.chunk.push(chunk);
      columns.source.push(documents.source(from + document));
    }
  });
  return Object.entries(columns).map(([name, data]) => ({ name, data }));
}
