/** Reads rows from a corpus's shards, a row at a time, so that memory stays small. @module */
import { nth } from "../../core/nth.ts";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { hashFile } from "../../core/files.ts";
import { keptSet } from "./kept.ts";
import {
  type Manifest,
  manifestPath,
  readManifest,
  type ShardEntry,
  shardsFolder,
} from "./manifest.ts";
import { openForReading, readAt, readNpyHeader } from "./npy.ts";
import type { Split } from "./order.ts";

/** The rows of one split. */
export interface ShardSet {
  readonly manifest: Manifest;
  /** How many rows there are in all. */
  readonly rows: number;
  readonly sequenceLength: number;
  /** The tokens of a row, counted over all shards. @throws {RangeError} beyond the last. */
  row(index: number): Uint16Array;
  /** Closes the files; reading opens them again. */
  close(): void;
}

/**
 * Opens the shards of a split. Files are opened as their rows are asked for.
 * @throws {UserError} where there are none, or, on reading, where a file is missing or damaged.
 */
export function openShards(corpus: string, split: Split): ShardSet {
  const manifest = readManifest(corpus);
  const { shards, rows } = manifest.splits[split];
  const hash = hashFile(manifestPath(corpus));
  // A refresh meanwhile writes other shards; those of this manifest are kept for runs that need them.
  const folder = () => shardsFolder(keptSet(corpus, hash) ?? corpus);
  const length = manifest.sequence_length;
  const firstRows: number[] = [];
  let first = 0;
  for (const shard of shards) {
    firstRows.push(first);
    first += shard.rows;
  }
  const files: ({ file: Deno.FsFile; offset: number } | undefined)[] = [];

  return {
    manifest,
    rows,
    sequenceLength: length,
    row(index) {
      if (!(index >= 0 && index < rows)) {
        throw new RangeError(`Row ${index} was asked for, and the ${split} split has ${rows}`);
      }
      let shard = shards.length - 1;
      while (nth(firstRows, shard) > index) shard--;
      const { file, offset } = files[shard] ??= openShard(folder(), nth(shards, shard), length);
      const bytes = readAt(file, offset + (index - nth(firstRows, shard)) * length * 2, length * 2);
      return new Uint16Array(bytes.buffer);
    },
    close() {
      for (const open of files) open?.file.close();
      files.length = 0;
    },
  };
}

function openShard(
  folder: string,
  shard: ShardEntry,
  rowLength: number,
): { file: Deno.FsFile; offset: number } {
  const path = join(folder, shard.tokens_file.path);
  const file = openForReading(path, "shard");
  try {
    const { type, shape, offset } = readNpyHeader(file, path);
    const { size } = file.statSync();
    if (
      type !== "<u2" || shape.join() !== `${shard.rows},${rowLength}` ||
      size !== shard.tokens_file.bytes
    ) {
      throw new UserError(
        `Cannot use the shard ${path}: it holds ${type} (${
          shape.join(", ")
        }) in ${size} bytes, and ` +
          `its manifest says <u2 (${shard.rows}, ${rowLength}) in ${shard.tokens_file.bytes}; ` +
          "run the pipeline again",
      );
    }
    return { file, offset };
  } catch (error) {
    file.close();
    throw error;
  }
}
