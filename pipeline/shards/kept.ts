/**
 * Shards that training runs still need. A run pins the manifest that it began with in `pins/` of the
 * corpus; before shards change, the pinned ones are kept in `sets/kept-HASH/` by hard links, which take
 * no room for what stays the same. `pipeline prune` removes what no run needs any more.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import {
  exists,
  hashFile,
  readJson,
  removeIfExists,
  sha256,
  writeAtomic,
} from "../../core/files.ts";
import { dirname, join, resolve } from "../../core/std.ts";
import { documentsHome, setFolder, setPath } from "../corpus_paths.ts";
import { type Manifest, manifestPath, shardsFolder, tokenizerPath } from "./manifest.ts";

/** Where a corpus lists the runs that need its shards. */
const pinsFolder = (corpus: string): string => join(corpus, "pins");

/** A run's pin. */
export interface Pin {
  format: 1;
  /** The run's folder. */
  run: string;
  /** The manifests that it needs. */
  manifests: string[];
}

/** A kept set of shards. */
export interface KeptSet {
  folder: string;
  manifest_sha256: string;
  /** Bytes of files that are only there; what the shards of today share with it is not counted. */
  bytes: number;
  /** Runs that need it. */
  runs: string[];
}

const KEPT = "kept-";

/** True for the name of a kept set, which no other set may have. */
export const isKeptName = (name: string): boolean => name.startsWith(KEPT);

const keptFolder = (home: string, manifest: string): string =>
  setFolder(home, KEPT + manifest.slice(0, 12));

const pinPath = (home: string, run: string): string =>
  join(pinsFolder(home), sha256(resolve(run)).slice(0, 12) + ".json");

/**
 * Notes that a run needs the shards of a corpus or of one of its sets as they are.
 * @returns false where the corpus cannot be written to: then nothing is kept for the run
 */
export function pinShards(folder: string, run: string, manifests: readonly string[]): boolean {
  const path = pinPath(documentsHome(folder), run);
  const pin: Pin = { format: 1, run: resolve(run), manifests: [...new Set(manifests)] };
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    writeAtomic(path, JSON.stringify(pin, null, 1) + "\n");
    return true;
  } catch {
    return false;
  }
}

/**
 * {@linkcode pinShards} for a run that reads several folders, of which some may be sets of the same
 * corpus: that has one pin for all of them.
 */
export function pinShardsOfAll(
  run: string,
  needed: readonly { folder: string; manifests: readonly string[] }[],
): void {
  const homes = new Map<string, { folder: string; manifests: string[] }>();
  for (const { folder, manifests } of needed) {
    const home = resolve(documentsHome(folder));
    const before = homes.get(home)?.manifests ?? [];
    homes.set(home, { folder, manifests: [...before, ...manifests] });
  }
  for (const { folder, manifests } of homes.values()) pinShards(folder, run, manifests);
}

/** Takes a run's pin away; nothing where there is none. */
export function unpinShards(folder: string, run: string): void {
  try {
    removeIfExists(pinPath(documentsHome(folder), run));
  } catch { /* a corpus that cannot be written to has no pin of ours */ }
}

/** The pins of a corpus. */
export function readPins(corpus: string): Pin[] {
  const folder = pinsFolder(corpus);
  if (!exists(folder)) return [];
  return [...Deno.readDirSync(folder)].map(({ name }) => name).filter((n) => n.endsWith(".json"))
    .sort().map((name) => readJson<Pin>(join(folder, name), "pin of a run"));
}

/** The folder of shards with this manifest, which reads as a corpus; undefined where they were not kept. */
export function keptSet(folder: string, manifest: string): string | undefined {
  const kept = keptFolder(documentsHome(folder), manifest);
  return exists(manifestPath(kept)) ? kept : undefined;
}

/**
 * Keeps the shards of a corpus, or of one of its sets, if a run has pinned them. To be called before any
 * of them is written anew or removed.
 */
export function keepPinned(folder: string): void {
  const home = documentsHome(folder);
  if (!exists(manifestPath(folder))) return;
  const pins = readPins(home);
  if (!pins.length) return;
  const hash = hashFile(manifestPath(folder));
  if (!pins.some(({ manifests }) => manifests.includes(hash))) return;
  const kept = keptFolder(home, hash);
  if (exists(manifestPath(kept))) return;
  const manifest = readJson<Manifest>(manifestPath(folder), "manifest");
  const files = filesOf(manifest).filter((path) => exists(join(shardsFolder(folder), path)));
  for (const path of files) {
    const to = join(shardsFolder(kept), path);
    Deno.mkdirSync(dirname(to), { recursive: true });
    removeIfExists(to);
    link(join(shardsFolder(folder), path), to);
  }
  writeAtomic(tokenizerPath(kept), Deno.readFileSync(tokenizerPath(folder)));
  const record = { format: 1, kept_from: resolve(folder), manifest_sha256: hash };
  writeAtomic(setPath(kept), JSON.stringify(record, null, 1) + "\n");
  // Last: a set without a manifest is none.
  writeAtomic(manifestPath(kept), Deno.readFileSync(manifestPath(folder)));
}

/** Hard links take no room; where the disk knows none, a copy does. */
function link(from: string, to: string): void {
  try {
    Deno.linkSync(from, to);
  } catch {
    Deno.copyFileSync(from, to);
  }
}

const filesOf = ({ splits }: Manifest): string[] =>
  Object.values(splits).flatMap(({ shards }) =>
    shards.flatMap((shard) => [shard.tokens_file.path, shard.documents_file.path])
  );

/** True for a run that may still go on: its folder is there, and it is not done. */
function isNeeded({ run }: Pin): boolean {
  return exists(join(run, "run.json")) && !exists(join(run, "DONE"));
}

/**
 * Removes the pins of runs that are done or gone, and the kept sets that no other run needs.
 * @param dryRun whether to say only what would be removed
 * @throws {UserError} where a set's record is damaged
 */
export function pruneShards(
  corpus: string,
  dryRun = false,
): { removed: KeptSet[]; kept: KeptSet[]; pins: string[] } {
  const pins = readPins(corpus);
  const idle = pins.filter((pin) => !isNeeded(pin));
  const needed = pins.filter(isNeeded);
  const sets = join(corpus, "sets");
  const names = exists(sets) ? [...Deno.readDirSync(sets)].map(({ name }) => name).sort() : [];
  const all = names.filter(isKeptName).map((name): KeptSet => {
    const folder = join(sets, name);
    const record = exists(setPath(folder))
      ? readJson<{ manifest_sha256?: unknown }>(setPath(folder), "shard set")
      : { manifest_sha256: "" }; // a keeping that was killed
    const hash = record.manifest_sha256;
    if (typeof hash !== "string") {
      throw new UserError(
        `Cannot prune ${corpus}: ${
          setPath(folder)
        } does not say which manifest the set has; remove ` +
          `${folder} by hand if no run needs it`,
      );
    }
    const runs = needed.filter(({ manifests }) => manifests.includes(hash)).map(({ run }) => run);
    return { folder, manifest_sha256: hash, bytes: ownBytes(shardsFolder(folder)), runs };
  });
  const removed = all.filter(({ runs }) => runs.length === 0);
  if (!dryRun) {
    for (const { folder } of removed) Deno.removeSync(folder, { recursive: true });
    for (const { run } of idle) removeIfExists(pinPath(corpus, run));
  }
  return {
    removed,
    kept: all.filter(({ runs }) => runs.length > 0),
    pins: idle.map(({ run }) => run),
  };
}

/** Bytes of the files below a folder that no other name leads to. */
function ownBytes(folder: string): number {
  if (!exists(folder)) return 0;
  let bytes = 0;
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) bytes += ownBytes(path);
    else {
      const { nlink, size } = Deno.statSync(path);
      if ((nlink ?? 1) < 2) bytes += size;
    }
  }
  return bytes;
}
