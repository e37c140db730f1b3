/**
 * A corpus's manifest and its record: whether the shards are all there, and what they come to.
 * @module
 */
import { exists, removeIfExists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { type CorpusRecord, forgetFile, stateOfRecorded } from "../recorded_files.ts";
import { type Manifest, manifestPath, readManifest, shardsFolder } from "./manifest.ts";

/** What the shards hold. */
export interface ShardSummary {
  /** False where they were up to date. */
  written: boolean;
  /** Counts, by name. */
  figures: {
    tokens: number;
    rows: number;
    shards: number;
    validation_rows: number;
    test_rows: number;
  };
}

/** The manifest of shards that are all there as it says; undefined where anything is not. */
export function presentShards(folder: string, record: CorpusRecord): Manifest | undefined {
  if (stateOfRecorded(record, "manifest", manifestPath(folder)) !== "whole") return undefined;
  const manifest = readManifest(folder);
  const files = Object.values(manifest.splits).flatMap(({ shards }) =>
    shards.flatMap((shard) => [shard.tokens_file, shard.documents_file])
  );
  const isWhole = ({ path, bytes }: { path: string; bytes: number }) => {
    const file = join(shardsFolder(folder), path);
    return exists(file) && Deno.statSync(file).size === bytes;
  };
  return files.every(isWhole) ? manifest : undefined;
}

/**
 * Notes that shards are being built, until their manifest is recorded. A manifest that is damaged is
 * removed, for it says which shards need not be written again.
 */
export function beginShards(folder: string, record: CorpusRecord): void {
  const path = manifestPath(folder);
  if (stateOfRecorded(record, "manifest", path) === "changed") removeIfExists(path);
  record.unset("shards");
  forgetFile(record, "manifest");
}

/** What a manifest says of shards, in short. */
export function figuresOf({ splits }: Manifest): ShardSummary["figures"] {
  const all = Object.values(splits);
  return {
    tokens: all.reduce((n, s) => n + s.tokens, 0),
    rows: all.reduce((n, s) => n + s.rows, 0),
    shards: all.reduce((n, s) => n + s.shards.length, 0),
    validation_rows: splits.validation.rows,
    test_rows: splits.test.rows,
  };
}
