/**
 * Files that a corpus's record (the catalogue, or the list of texts) has the hash of, so that their
 * loss or change is noticed. The hash of what is being written is recorded first: a command killed
 * between the two leaves a file that one of the two hashes fits.
 * @module
 */
import { exists, hashFile, sha256, writeAtomic } from "../core/files.ts";

/** Where a corpus keeps what must be known of it: names and values. */
export interface CorpusRecord {
  get(key: string): string | undefined;
  set(key: string, value: string): void;
  unset(key: string): void;
}

/** The names of the files in the record. */
export type RecordedFile = "contamination" | "duplicates" | "manifest";

/** How a file compares with the record: "unknown" is a file that was never recorded. */
type RecordedState = "none" | "unknown" | "whole" | "missing" | "changed";

/** Writes a file and records its hash. */
export function writeRecorded(
  record: CorpusRecord,
  name: RecordedFile,
  path: string,
  text: string,
): void {
  record.set(`${name}_next_sha256`, sha256(text));
  writeAtomic(path, text);
  recordFile(record, name, path);
}

/** Records the hash of a file that is there. */
export function recordFile(record: CorpusRecord, name: RecordedFile, path: string): void {
  record.set(`${name}_sha256`, hashFile(path));
  record.unset(`${name}_next_sha256`);
}

/** Forgets a file's hash; to be called before the file is written by other means. */
export function forgetFile(record: CorpusRecord, name: RecordedFile): void {
  record.unset(`${name}_sha256`);
  record.unset(`${name}_next_sha256`);
}

/** Compares a file with the record. */
export function stateOfRecorded(
  record: Pick<CorpusRecord, "get">,
  name: RecordedFile,
  path: string,
): RecordedState {
  const known = [record.get(`${name}_sha256`), record.get(`${name}_next_sha256`)];
  const recorded = known[0] !== undefined;
  // A first report whose writing was cut short before it appeared holds nothing out yet.
  if (!exists(path)) return recorded ? "missing" : "none";
  if (known.every((hash) => hash === undefined)) return "unknown";
  return known.includes(hashFile(path)) ? "whole" : "changed";
}
