/** The documents of a split, put together again from the rows they were packed into. @module */
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { readManifest, shardsFolder } from "./manifest.ts";
import type { Split } from "./order.ts";
import { openShards } from "./read.ts";

/** A document as it was packed. */
export interface PackedDocument {
  pmid: number;
  version: number;
  source: string;
  /** Its tokens, without the end-of-text before them. */
  tokens: Uint16Array;
}

interface Piece {
  pmid: number;
  version: number;
  source: string;
  row: number;
  start: number;
  length: number;
  chunk: number;
}

/**
 * Yields every document of a split once, in the order of the shards.
 * @throws {UserError} where a shard is missing or damaged.
 */
export async function* packedDocuments(
  corpus: string,
  split: Split,
): AsyncGenerator<PackedDocument> {
  const { splits } = readManifest(corpus);
  const set = openShards(corpus, split);
  let firstRow = 0;
  try {
    for (const shard of splits[split].shards) {
      const path = join(shardsFolder(corpus), shard.documents_file.path);
      // Longer documents lie in rows one after the other, with others behind their last piece.
      let open: { piece: Piece; parts: Uint16Array[] } | undefined;
      for await (const piece of pieces(path)) {
        const row = set.row(firstRow + piece.row);
        const part = row.subarray(piece.start, piece.start + piece.length);
        if (piece.chunk > 0) {
          if (open?.piece.pmid !== piece.pmid || open.parts.length !== piece.chunk) {
            throw new UserError(
              `Cannot put PMID ${piece.pmid} together again: its part ${piece.chunk} in ${path} ` +
                "does not follow the one before; make the shards again",
            );
          }
          open.parts.push(part);
          continue;
        }
        if (open) yield joined(open);
        open = { piece, parts: [part] };
      }
      if (open) yield joined(open);
      firstRow += shard.rows;
    }
  } finally {
    set.close();
  }
}

async function* pieces(path: string): AsyncGenerator<Piece> {
  using reader = new ParquetReader(path);
  for await (const { rows } of reader.each<Piece>()) yield* rows;
}

function joined({ piece, parts }: { piece: Piece; parts: Uint16Array[] }): PackedDocument {
  const all = new Uint16Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  const { pmid, version, source } = piece;
  return { pmid, version, source, tokens: all.subarray(1) };
}
