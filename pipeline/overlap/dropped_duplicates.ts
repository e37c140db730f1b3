/**
 * Near copies that no shard holds: `duplicates.json` in the corpus folder. Of documents that are nearly
 * equal the oldest, which has the lowest number, is kept.
 * @module
 */
import { exists, readJson } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { duplicatesPath } from "../corpus_paths.ts";
import {
  type CorpusRecord,
  recordFile,
  stateOfRecorded,
  writeRecorded,
} from "../recorded_files.ts";

/** Two documents that are nearly equal, by PMID or number, in either order. */
export interface SimilarPair {
  pmid: number;
  other: number;
  similarity: number;
}

/** A document that is left out. */
export interface DroppedDuplicate {
  /** Its PMID, or its number in a corpus of texts. */
  pmid: number;
  /** The older document that is kept. */
  kept: number;
  /** The share of runs of five words that both have. */
  similarity: number;
}

/** `duplicates.json`. */
export interface DroppedDuplicates {
  format: 1;
  /** Pairs at least so similar were taken for copies. */
  similarity: number;
  documents_checked: number;
  /** In ascending order. */
  dropped: DroppedDuplicate[];
}

/**
 * Which documents of the pairs are left out: each that has an older one among those kept. A copy of a
 * document that is itself left out stays, unless it is near enough to one that is kept.
 */
export function chooseDropped(pairs: readonly SimilarPair[]): DroppedDuplicate[] {
  const older = new Map<number, { pmid: number; similarity: number }[]>();
  for (const { pmid, other, similarity } of pairs) {
    const [first, second] = pmid < other ? [pmid, other] : [other, pmid];
    const known = older.get(second) ?? [];
    known.push({ pmid: first, similarity });
    older.set(second, known);
  }
  const dropped = new Map<number, DroppedDuplicate>();
  for (const pmid of [...older.keys()].sort((a, b) => a - b)) {
    const kept = (older.get(pmid) ?? []).filter((o) => !dropped.has(o.pmid))
      .sort((a, b) => a.pmid - b.pmid)[0];
    if (kept) dropped.set(pmid, { pmid, kept: kept.pmid, similarity: kept.similarity });
  }
  return [...dropped.values()];
}

/** Writes the report into the corpus folder, and its hash into the corpus's record. */
export function writeDropped(
  corpus: string,
  report: DroppedDuplicates,
  record: CorpusRecord,
): void {
  const text = JSON.stringify(report, null, 1) + "\n";
  writeRecorded(record, "duplicates", duplicatesPath(corpus), text);
}

/**
 * What a corpus leaves out as near copies; undefined where it was never asked to.
 * @param record what the corpus knows of the file
 * @throws {UserError} where the file is missing, changed or damaged
 */
export function readDropped(
  corpus: string,
  record?: Pick<CorpusRecord, "get">,
): DroppedDuplicates | undefined {
  const path = duplicatesPath(corpus);
  if (record) refuseDoubtful(path, stateOfRecorded(record, "duplicates", path));
  if (!exists(path)) return undefined;
  const report = readJson<DroppedDuplicates>(path, "report");
  if (!Array.isArray(report.dropped)) {
    throw new UserError(
      `Cannot read ${path}: it names no documents; run "pipeline duplicates --drop" again`,
    );
  }
  return report;
}

/**
 * Checks the report against the corpus's record.
 * @throws {UserError} where it is missing or is not what was written
 */
export function checkDropped(corpus: string, record: CorpusRecord): void {
  const path = duplicatesPath(corpus);
  const state = stateOfRecorded(record, "duplicates", path);
  if (state === "unknown" || state === "whole") recordFile(record, "duplicates", path);
  if (state === "none") record.unset("duplicates_next_sha256");
  refuseDoubtful(path, state);
}

function refuseDoubtful(path: string, state: ReturnType<typeof stateOfRecorded>): void {
  if (state !== "missing" && state !== "changed") return;
  throw new UserError(
    `Cannot tell which near copies the corpus leaves out: ${path} is ` +
      `${
        state === "missing" ? "missing" : "not what was written"
      }; put it back from a backup, or run ` +
      '"pipeline duplicates --drop" again',
  );
}
