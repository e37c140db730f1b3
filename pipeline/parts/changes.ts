/**
 * `changes/<source>.changes`: what one source file brings to the catalogue. A line of JSON (the job,
 * the catalogue's row, how many events there are), then the events as little-endian 32-bit
 * integers, then the SHA-256 of all that. There once the file's documents and tokens are.
 * @module
 */
import { createHash } from "node:crypto";
import { UserError } from "../../core/errors.ts";
import { writeAtomic } from "../../core/files.ts";
import type { FileEvents } from "../catalogue/catalogue.ts";
import type { PartJob } from "./job.ts";

/** The columns of events, in the order in which they are written. */
const RECORDS = ["pmids", "versions", "ordinals"] as const;
const DELETIONS = ["deletedPmids", "deletedVersions", "deletedOrdinals"] as const;
const NEWLINE = 10;
const HASH_BYTES = 32;

/** What a source file brings: `Row` is the catalogue's, or that of a list of texts. */
export interface Changes<Row> {
  job: PartJob;
  row: Row;
  events: FileEvents;
}

/** No events, for files whose records the catalogue does not list. */
export const noEvents = (): FileEvents => ({
  pmids: new Int32Array(0),
  versions: new Int32Array(0),
  ordinals: new Int32Array(0),
  deletedPmids: new Int32Array(0),
  deletedVersions: new Int32Array(0),
  deletedOrdinals: new Int32Array(0),
});

/** Writes changes; the same bytes whoever does. */
export function writeChanges<Row>(path: string, { job, row, events }: Changes<Row>): void {
  const { pmids, deletedPmids } = events;
  const header = { job, row, records: pmids.length, deletions: deletedPmids.length };
  const parts = [
    new TextEncoder().encode(JSON.stringify(header) + "\n"),
    ...[...RECORDS, ...DELETIONS].map((name) => littleEndian(events[name])),
  ];
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(size + HASH_BYTES);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  bytes.set(createHash("sha256").update(bytes.subarray(0, size)).digest(), size);
  writeAtomic(path, bytes);
}

/** @throws {UserError} where the file is missing, damaged or no file of changes */
export function readChanges<Row>(path: string): Changes<Row> {
  const fail = (what: string): never => {
    throw new UserError(
      `Cannot use the changes ${path}: ${what}; remove the file and run its part again`,
    );
  };
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(path);
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    return fail(missing ? "there is no such file" : (error as Error).message);
  }
  const size = bytes.length - HASH_BYTES;
  const end = bytes.indexOf(NEWLINE);
  const hash = size < 0 ? undefined : createHash("sha256").update(bytes.subarray(0, size)).digest();
  if (!hash || end < 0 || hash.some((byte, i) => byte !== bytes[size + i])) {
    return fail("the file is not what was written");
  }
  const { job, row, records, deletions } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(0, end)),
  ) as { job: PartJob; row: Row; records: number; deletions: number };
  if (end + 1 + 4 * 3 * (records + deletions) !== size) {
    return fail(`it has ${size} bytes, which ${records} records do not fill`);
  }
  const events = noEvents();
  let at = end + 1;
  const read = (name: keyof FileEvents, count: number) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, count * 4);
    events[name] = Int32Array.from({ length: count }, (_, i) => view.getInt32(i * 4, true));
    at += count * 4;
  };
  for (const name of RECORDS) read(name, records);
  for (const name of DELETIONS) read(name, deletions);
  return { job, row, events };
}

function littleEndian(values: Int32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setInt32(i * 4, value, true));
  return bytes;
}
