/** What lies where in the rows of a whole split. @module */
import { join } from "../../core/std.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { readManifest, shardsFolder } from "./manifest.ts";
import type { Split } from "./order.ts";
import type { PlacedPiece } from "./provenance.ts";

/** Every piece of a split's first `limit` rows; rows are counted over all shards, as in `openShards`. */
export async function* readPlacements(
  corpus: string,
  split: Split,
  limit = Infinity,
): AsyncGenerator<PlacedPiece> {
  let first = 0;
  for (const shard of readManifest(corpus).splits[split].shards) {
    if (first >= limit) return;
    using reader = new ParquetReader(join(shardsFolder(corpus), shard.documents_file.path));
    for await (const { rows } of reader.each<PlacedPiece>()) {
      for (const piece of rows) {
        if (first + piece.row < limit) yield { ...piece, row: first + piece.row };
      }
    }
    first += shard.rows;
  }
}
