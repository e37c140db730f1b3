/** Where everything lies in a corpus folder, and which names there are the pipeline's own. @module */
import { exists } from "../core/files.ts";
import { join } from "../core/std.ts";

/** The paths of a corpus; `corpus` is its folder, `source` a file such as "pubmed26n0001". */
export const corpusPaths = {
  /** Which files are in the corpus and which records are live. */
  catalogue: (corpus: string): string => join(corpus, "catalogue.sqlite"),
  /** The SHA-256 of the catalogue's file; see `catalogue/seal.ts`. */
  seal: (corpus: string): string => join(corpus, "catalogue.sha256"),
  /** Locked by the one process that changes the corpus; empty. */
  lock: (corpus: string): string => join(corpus, ".lock"),
  /** Parsed citations. */
  documents: (corpus: string, source: string): string =>
    join(corpus, "documents", source + ".parquet"),
  /** Records dropped, with their reasons. */
  rejected: (corpus: string, source: string): string => join(corpus, "rejected", source + ".jsonl"),
  /** A file's documents as tokens. */
  tokens: (corpus: string, source: string): string => join(corpus, "tokens", source + ".tokens"),
  /** Downloads: unfinished ones, and with --keep-raw all of them. */
  raw: (corpus: string): string => join(corpus, "raw"),
  /** A new year's series while it is built. */
  nextSeries: (corpus: string): string => join(corpus, "next-series"),
  /** The series that a new one has replaced, until it is removed. */
  oldSeries: (corpus: string): string => join(corpus, "old-series"),
  /** How far an exchange of series is; there only while one is under way. */
  swap: (corpus: string): string => join(corpus, "series-swap.json"),
  /** What a new series' folder belongs to. */
  seriesMark: (folder: string): string => join(folder, "series.json"),
};

/** Where a corpus keeps its shards. */
export const shardsFolder = (corpus: string): string => join(corpus, "shards");
/** Where a corpus keeps its manifest. */
export const manifestPath = (corpus: string): string => join(corpus, "shards", "manifest.json");
/** Which shards a building that was stopped has written. */
export const unfinishedPath = (corpus: string): string => join(corpus, "shards", "unfinished.json");
/** Where a corpus keeps the tokenizer that its shards were made with. */
export const tokenizerPath = (corpus: string): string => join(corpus, "tokenizer.json");
/** Where a corpus keeps its report of what is held out. */
export const contaminationPath = (corpus: string): string => join(corpus, "contamination.json");
/** Where a corpus keeps its report of near copies that are left out. */
export const duplicatesPath = (corpus: string): string => join(corpus, "duplicates.json");
/** Where a corpus keeps a further set of shards. */
export const setFolder = (corpus: string, name: string): string => join(corpus, "sets", name);
/** What a set of shards was made with; no other folder has it. */
export const setPath = (set: string): string => join(set, "set.json");
/** Where the documents of a folder with shards are: of a set, in the corpus that it is a part of. */
export const documentsHome = (folder: string): string =>
  exists(setPath(folder)) ? join(folder, "..", "..") : folder;
/** Where a corpus of texts lists its files; no other corpus has it. */
export const textsPath = (corpus: string): string => join(corpus, "texts.json");
/** Where a corpus of texts keeps a file's tokens. */
export const textTokensPath = (corpus: string, name: string): string =>
  join(corpus, "tokens", `${name}.tokens`);
/** Where a corpus of texts keeps a file's documents and their columns. */
export const textDocumentsPath = (corpus: string, name: string): string =>
  join(corpus, "documents", `${name}.parquet`);

/** Where a corpus of PubMed lists its source files for those who may not open its catalogue. */
export const sourceListPath = (corpus: string): string => join(corpus, "source-files.json");
/** Where parts of a run on many machines put what they make, until it is merged. */
export const partsPath = (corpus: string): string => join(corpus, "parts");
/** Parts that were merged, on their way out. */
export const mergedPartsPath = (corpus: string): string => join(corpus, "parts-merged");
/** Locked by all parts at work together, or by the one process that merges them; empty. */
export const partsLockPath = (corpus: string): string => join(corpus, ".parts-lock");

/** What belongs to one series of PubMed and goes when a new one takes its place. */
export const SERIES_ENTRIES: readonly string[] = [
  "documents",
  "rejected",
  "tokens",
  "shards",
  "raw",
  "contamination.json",
  "duplicates.json",
  "tokenizer.json",
  "source-files.json",
  "catalogue.sha256",
  "catalogue.sqlite-shm",
  "catalogue.sqlite-wal",
  "catalogue.sqlite",
];

/** Everything that the pipeline puts into the top of a corpus folder. */
const OWN_ENTRIES: ReadonlySet<string> = new Set([
  ...SERIES_ENTRIES,
  ...SERIES_ENTRIES.map((name) => `${name}.partial`),
  "catalogue.sqlite-journal",
  "sets",
  "pins",
  "texts.json",
  "texts.json.partial",
  ".lock",
  ".parts-lock",
  "parts",
  "parts-merged",
  "next-series",
  "old-series",
  "series-swap.json",
  "series-swap.json.partial",
  "series.json",
  "series.json.partial",
]);

/** True for what the pipeline puts into the top of a corpus folder. */
export const isOwnEntry = (name: string): boolean => OWN_ENTRIES.has(name);

const PUBMED = "pubmed\\d\\d+n\\d{4,6}";
const SHARD = "(train|validation|test)-\\d{5}\\.(tokens\\.npy|documents\\.parquet)";
const TEXT = ".+\\.(jsonl|ndjson|txt|parquet)";
/** Names of the pipeline's files, by their folder below the corpus. */
const OWN_FILES: Record<string, RegExp> = {
  "": new RegExp(
    "^(contamination\\.json|duplicates\\.json|tokenizer\\.json|source-files\\.json|texts\\.json|" +
      "series\\.json|series-swap\\.json|" +
      "catalogue\\.sha256|catalogue\\.sqlite(-wal|-shm|-journal)?)$",
  ),
  documents: new RegExp(`^(${PUBMED}\\.parquet|${TEXT}\\.parquet)$`),
  rejected: new RegExp(`^${PUBMED}\\.jsonl$`),
  tokens: new RegExp(`^(${PUBMED}|${TEXT})\\.tokens(\\.blocks)?$`),
  raw: new RegExp(`^${PUBMED}\\.xml\\.gz(\\.partial\\.json)?$`),
  shards: /^(manifest|unfinished)\.json$/,
  "shards/train": new RegExp(`^${SHARD}$`),
  "shards/validation": new RegExp(`^${SHARD}$`),
  "shards/test": new RegExp(`^${SHARD}$`),
};

/** The folders of a corpus that hold the pipeline's files, the inner ones first. */
export const OWN_FOLDERS: readonly string[] = [
  "shards/train",
  "shards/validation",
  "shards/test",
  "shards",
  "documents",
  "rejected",
  "tokens",
  "raw",
];

/** True for names that the pipeline gives to files of that folder, half-written ones too. */
export function isOwnFile(folder: string, name: string): boolean {
  return OWN_FILES[folder]?.test(name.replace(/\.partial$/, "")) === true;
}

/** True for a half-written file of the pipeline's. */
export function isOwnPartial(folder: string, name: string): boolean {
  return name.endsWith(".partial") && isOwnFile(folder, name);
}
