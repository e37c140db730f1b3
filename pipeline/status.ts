/** What is in a corpus: the figures of `pipeline status`. @module */
import { join } from "../core/std.ts";
import { exists, readJson } from "../core/files.ts";
import type { Catalogue } from "./catalogue/catalogue.ts";
import { droppedOf } from "./catalogue/tables.ts";
import { shownPlace } from "./source/source.ts";

/** The figures. */
export interface Status {
  corpus: string;
  source: string;
  year: number;
  fields: string;
  files: number;
  /** Lowest and highest file number. */
  first_file: number;
  last_file: number;
  records: number;
  live: number;
  superseded: number;
  deleted: number;
  /** Reason -> records dropped, over all files. */
  dropped: Record<string, number>;
  tokens: number;
  files_tokenized: number;
  shards: number;
  rows: number;
  /** Shares, as "0.04%": positions that are padding, documents that lie in more than one row. */
  padding: string;
  split_documents: string;
  sequence_length: number;
  tokenizer_sha256: string;
  /** ISO time of the last run or refresh that ended, "" where none did. */
  last_refresh: string;
  /** Bytes on disk by kind. */
  disk: Record<string, number>;
}

/** The part of the shards' manifest that is shown here. */
interface ManifestView {
  splits?: Record<
    string,
    {
      rows?: number;
      tokens?: number;
      documents?: number;
      split_documents?: number;
      shards?: unknown[];
    }
  >;
}

/** Reads the figures of a corpus. */
export function readStatus(corpus: string, catalogue: Catalogue): Status {
  const files = catalogue.files();
  const counts = catalogue.counts();
  const dropped: Record<string, number> = {};
  let tokens = 0;
  let tokenized = 0;
  let records = 0;
  for (const file of files) {
    for (const [reason, n] of Object.entries(droppedOf(file))) {
      dropped[reason] = (dropped[reason] ?? 0) + n;
    }
    records += file.records;
    tokens += file.tokens ?? 0;
    tokenized += Number(file.state === "tokens");
  }
  const length = Number(catalogue.get("sequence_length") ?? 0);
  return {
    corpus,
    source: shownPlace(catalogue.get("source") ?? ""),
    year: 2000 + Number(catalogue.get("year") ?? 0),
    fields: catalogue.get("fields") ?? "",
    files: files.length,
    first_file: files[0]?.number ?? 0,
    last_file: files.at(-1)?.number ?? 0,
    records,
    live: counts.live,
    superseded: counts.superseded,
    deleted: counts.deleted,
    dropped: Object.fromEntries(Object.entries(dropped).sort()),
    tokens,
    files_tokenized: tokenized,
    ...shardStatus(corpus, length),
    sequence_length: length,
    tokenizer_sha256: catalogue.get("tokenizer_sha256") ?? "",
    last_refresh: catalogue.runs(20).find((r) => r.finished)?.finished ?? "",
    disk: diskUse(corpus),
  };
}

/** What the shards' manifest says of them, zeros where there is none. */
export function shardStatus(
  corpus: string,
  length: number,
): Pick<Status, "shards" | "rows" | "padding" | "split_documents"> {
  const manifest = readManifest(join(corpus, "shards", "manifest.json"));
  const splits = Object.values(manifest.splits ?? {});
  const sum = (of: (split: typeof splits[number]) => number | undefined) =>
    splits.reduce((n, s) => n + (of(s) ?? 0), 0);
  const percent = (part: number, all: number) =>
    all === 0 ? "" : `${(100 * part / all).toFixed(3)}%`;
  const places = sum((s) => s.rows) * length;
  return {
    shards: sum((s) => s.shards?.length),
    rows: sum((s) => s.rows),
    padding: percent(places - sum((s) => s.tokens), places),
    split_documents: percent(sum((s) => s.split_documents), sum((s) => s.documents)),
  };
}

function readManifest(path: string): ManifestView {
  return exists(path) ? readJson<ManifestView>(path, "manifest") : {};
}

/** Bytes on disk by kind. */
export function diskUse(corpus: string): Record<string, number> {
  const use: Record<string, number> = { catalogue: 0, documents: 0, tokens: 0, shards: 0, raw: 0 };
  const walk = (path: string, kind: string) => {
    for (const entry of Deno.readDirSync(path)) {
      const at = join(path, entry.name);
      if (entry.isDirectory) walk(at, kind);
      else use[kind] = (use[kind] ?? 0) + Deno.statSync(at).size;
    }
  };
  for (const entry of Deno.readDirSync(corpus)) {
    const at = join(corpus, entry.name);
    if (entry.isDirectory) walk(at, entry.name);
    else if (entry.name.startsWith("catalogue")) {
      use.catalogue = (use.catalogue ?? 0) + Deno.statSync(at).size;
    }
  }
  return use;
}
