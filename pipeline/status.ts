/** What is in a corpus: the figures of `pipeline status`. @module */
import { join } from "../core/std.ts";
import { exists, readJson } from "../core/files.ts";
import type { Catalogue } from "./catalogue/catalogue.ts";
import { droppedOf } from "./catalogue/tables.ts";
import { readDropped } from "./overlap/dropped_duplicates.ts";
import type { Contamination } from "./overlap/contamination.ts";
import { contaminationPath } from "./corpus_paths.ts";
import { shownPlace } from "./source/source.ts";

/** What a split's shards hold. */
export interface SplitStatus {
  documents: number;
  /** Without padding. */
  tokens: number;
  rows: number;
}

/** Documents that training does not see. */
export interface HeldOutStatus {
  /** "validation", "test", or "evaluation sets" or "duplicates", whose documents are in no shard. */
  what: string;
  documents: number;
  /** In words. */
  why: string;
}

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
  /** Of all shards; what was dropped, replaced, deleted or held out from evaluation is not in them. */
  tokens: number;
  /** Of the token files: of every version of every document, in force or not. */
  tokens_of_all_versions: number;
  files_tokenized: number;
  shards: number;
  rows: number;
  /** What the shards hold, by split. */
  splits: Record<string, SplitStatus>;
  /** What the training split goes without, and why. */
  held_out: HeldOutStatus[];
  /** Of all positions, those that are padding: 0 to 1. */
  padding_share: number;
  /** Documents that lie in more than one row. */
  split_documents: number;
  sequence_length: number;
  tokenizer_sha256: string;
  /** ISO time of the last run or refresh that ended, "" where none did. */
  last_refresh: string;
  /** Bytes on disk by kind. */
  disk: Record<string, number>;
}

/** The part of the shards' manifest that is shown here. */
interface ManifestView {
  packing?: { seed?: number };
  validation?: number;
  test?: number;
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
  const copies = readDropped(corpus)?.dropped.length ?? 0;
  if (copies > 0) dropped.duplicate = copies;
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
    tokens_of_all_versions: tokens,
    files_tokenized: tokenized,
    ...shardStatus(corpus, length),
    sequence_length: length,
    tokenizer_sha256: catalogue.get("tokenizer_sha256") ?? "",
    last_refresh: catalogue.runs(20).find((r) => r.finished)?.finished ?? "",
    disk: diskUse(corpus),
  };
}

/** What is said of the shards. */
type ShardStatus = Pick<
  Status,
  "tokens" | "shards" | "rows" | "splits" | "held_out" | "padding_share" | "split_documents"
>;

/** What the shards' manifest says of them, zeros where there is none. */
export function shardStatus(corpus: string, length: number): ShardStatus {
  const manifest = readManifest(join(corpus, "shards", "manifest.json"));
  const splits = Object.values(manifest.splits ?? {});
  const sum = (of: (split: typeof splits[number]) => number | undefined) =>
    splits.reduce((n, s) => n + (of(s) ?? 0), 0);
  const tokens = sum((s) => s.tokens);
  const places = sum((s) => s.rows) * length;
  return {
    tokens,
    shards: sum((s) => s.shards?.length),
    rows: sum((s) => s.rows),
    splits: Object.fromEntries(
      Object.entries(manifest.splits ?? {}).map(([name, s]) => [
        name,
        { documents: s.documents ?? 0, tokens: s.tokens ?? 0, rows: s.rows ?? 0 },
      ]),
    ),
    held_out: [...heldOutSplits(manifest), ...heldOutReports(corpus)],
    padding_share: places === 0 ? 0 : (places - tokens) / places,
    split_documents: sum((s) => s.split_documents),
  };
}

/** The splits beside the training split, which are drawn by a hash of the PMID. */
function heldOutSplits({ splits, packing, ...shares }: ManifestView): HeldOutStatus[] {
  return (["validation", "test"] as const).flatMap((what) => {
    const documents = splits?.[what]?.documents ?? 0;
    const share = shares[what] ?? 0;
    if (documents === 0 && share === 0) return [];
    const percent = `${Number((100 * share).toFixed(4))}%`;
    return [{ what, documents, why: `${percent} of all, drawn by seed ${packing?.seed ?? 0}` }];
  });
}

/** What reports of the corpus hold out of all shards. */
function heldOutReports(corpus: string): HeldOutStatus[] {
  return [...heldOutForEvaluation(corpus), ...heldOutAsCopies(corpus)];
}

function heldOutAsCopies(corpus: string): HeldOutStatus[] {
  const report = readDropped(corpus);
  if (!report) return [];
  const { dropped, similarity } = report;
  const why =
    `near copies of an older document, with ${Number((100 * similarity).toFixed(2))}% of ` +
    "its runs of five words";
  return [{ what: "duplicates", documents: dropped.length, why }];
}

function heldOutForEvaluation(corpus: string): HeldOutStatus[] {
  const path = contaminationPath(corpus);
  if (!exists(path)) return [];
  const report = readJson<Partial<Contamination>>(path, "report");
  const overlap = report.held_out_by_overlap?.length ?? 0;
  const documents = report.documents_held_out ?? 0;
  const files = (report.against ?? []).map(({ file }) => file).join(", ");
  return [{
    what: "evaluation sets",
    documents,
    why: `${documents - overlap} named by PMID, ${overlap} by shared words, in ${files}`,
  }];
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
