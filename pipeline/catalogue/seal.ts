/**
 * The seal of a catalogue: `catalogue.sha256` beside it, with the hash of the whole file, so that a
 * byte that changed anywhere in it is found, also one that SQLite does not look at. Whoever changes
 * the catalogue breaks the seal first and sets it again at the end; a killed command leaves it broken.
 * The lines are those of `sha256sum`, which can check them too.
 * @module
 */
import { basename } from "../../core/std.ts";
import { exists, hashFile, removeIfExists, writeAtomic } from "../../core/files.ts";

/** What stands in a broken seal. */
const BROKEN = "the catalogue is being changed, or the last change was cut short\n";

/** What a look at the seal says. */
type SealState = "whole" | "broken" | "missing" | "wrong";

/** Where the seal of the catalogue at `path` lies. */
const sealOf = (path: string): string => path.replace(/\.sqlite$/, "") + ".sha256";

/** Breaks the seal; to be called before the first change. */
export function breakSeal(path: string): void {
  if (readSeal(path) !== BROKEN) writeAtomic(sealOf(path), BROKEN);
}

/**
 * Seals a catalogue that is closed. Leaves empty files for SQLite's log and shared memory, without
 * which a catalogue cannot be read where nothing can be written.
 */
export function setSeal(path: string): void {
  for (const ending of ["-wal", "-shm"]) {
    if (!exists(path + ending)) {
      Deno.writeFileSync(path + ending, new Uint8Array(), { createNew: true });
    }
  }
  writeAtomic(sealOf(path), hashesOf(path));
}

/** The seal's text, "" where there is none. */
export function readSeal(path: string): string {
  try {
    return Deno.readTextFileSync(sealOf(path));
  } catch {
    return "";
  }
}

/** Hashes the catalogue and compares it with its seal. */
export function checkSeal(path: string): SealState {
  const text = readSeal(path);
  if (text === BROKEN) return "broken";
  if (text === "") return exists(sealOf(path)) ? "wrong" : "missing";
  return text === hashesOf(path) ? "whole" : "wrong";
}

/** Takes the seal away, with SQLite's own files; for a catalogue that goes itself. */
export function removeSeal(path: string): void {
  for (const file of [sealOf(path), path + "-wal", path + "-shm"]) removeIfExists(file);
}

/** A line for the catalogue, and one for its log where that holds what is not in the catalogue yet. */
function hashesOf(path: string): string {
  return [path, path + "-wal"]
    .filter((file) => exists(file) && (file === path || Deno.statSync(file).size > 0))
    .map((file) => `${hashFile(file)}  ${basename(file)}\n`)
    .join("");
}
