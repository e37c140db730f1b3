/**
 * Puts the corpus of a new series, which was built in `next-series/` of the corpus folder, in the
 * place of the old one. All of it happens inside the corpus folder and under its lock: a note says
 * how far it is, every step can be repeated, and a swap that was cut short is ended by the next
 * command. Only what belongs to a series moves; whatever else lies in the folder stays.
 * @module
 */
import { join } from "../core/std.ts";
import { readJson, removeIfExists, syncFolder, writeAtomic } from "../core/files.ts";
import { messageOf, UserError } from "../core/errors.ts";
import { keepPinned } from "./shards/mod.ts";
import { corpusPaths, isOwnFile, OWN_FOLDERS, SERIES_ENTRIES } from "./corpus_paths.ts";

/** What `series.json` says, the mark of a folder that the program made and may remove. */
interface SeriesMark {
  format: 1;
  what: typeof WHAT;
  /** SHA-256 of the report of what is held out that was carried along; "" where there is none. */
  held_out: string;
}

const WHAT = "a PubMed series, made by pubmamba beside the one in the folder above";

/** How far a swap is: the old series goes out, the new one comes in, the old one is removed. */
type Phase = "out" | "in" | "clean";

/** True where something has this name, even a link that leads nowhere. */
function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const namesIn = (folder: string): string[] =>
  isThere(folder) ? [...Deno.readDirSync(folder)].map(({ name }) => name) : [];

/** The mark of a series' folder; undefined where there is none that the program wrote. */
function readMark(folder: string): SeriesMark | undefined {
  const path = corpusPaths.seriesMark(folder);
  if (!isThere(path)) return undefined;
  const mark = readJson<Partial<SeriesMark> | null>(path, "mark of a series");
  return mark?.format === 1 && mark.what === WHAT ? mark as SeriesMark : undefined;
}

/** Marks a folder as a series of the program's making. */
export function markSeries(folder: string, heldOut: string): void {
  const mark: SeriesMark = { format: 1, what: WHAT, held_out: heldOut };
  writeAtomic(corpusPaths.seriesMark(folder), JSON.stringify(mark, null, 1) + "\n");
}

/** Which report of what is held out a new series was given; undefined where it was given none yet. */
export const heldOutGiven = (folder: string): string | undefined => readMark(folder)?.held_out;

/**
 * Makes the folder of a new series, or finds the one of a build that was stopped.
 * @throws {UserError} where something else has its name, or that of the old series
 */
export function prepareNextSeries(corpus: string): string {
  const next = corpusPaths.nextSeries(corpus);
  const old = corpusPaths.oldSeries(corpus);
  removeSeries(old, corpus);
  for (const folder of [next, old]) {
    const inTheWay = namesIn(folder).length > 0 && readMark(folder) === undefined;
    if (inTheWay || folder === old && isThere(old)) {
      throw new UserError(
        `Cannot build a new year's series in ${corpus}: ${folder} holds files that are not of this ` +
          "program's making; move them elsewhere",
      );
    }
  }
  for (const name of SERIES_ENTRIES) refuseElsewhere(corpus, name);
  if (readMark(next) === undefined) markSeries(next, "");
  return next;
}

/** @throws {UserError} where a part of the corpus lies on another disk, for it could not be exchanged by renaming */
function refuseElsewhere(corpus: string, name: string): void {
  const path = join(corpus, name);
  if (!isThere(path)) return;
  const { isSymlink, dev } = Deno.lstatSync(path);
  if (!isSymlink && dev === Deno.statSync(corpus).dev) return;
  throw new UserError(
    `Cannot build a new year's series in ${corpus}: ${path} is a link or another disk; make a corpus ` +
      "of the new series in another folder",
  );
}

/** Puts the finished series in `next-series/` in its place. Its catalogue and the old one must be closed. */
export function swapIn(corpus: string): void {
  const next = corpusPaths.nextSeries(corpus);
  if (readMark(next) === undefined || !isThere(corpusPaths.catalogue(next))) {
    throw new Error(`There is no finished series in ${next}`);
  }
  keepPinned(corpus);
  enter(corpus, "out");
  finishSwap(corpus);
}

/** Ends a swap that was begun; nothing where there is none. The folder must be locked. */
export function finishSwap(corpus: string): void {
  const note = corpusPaths.swap(corpus);
  if (!isThere(note)) return;
  const phase = readJson<{ phase?: Phase } | null>(note, "note of a swap")?.phase;
  if (phase !== "out" && phase !== "in" && phase !== "clean") {
    throw new UserError(
      `Cannot end the change of series in ${corpus}: ${note} does not say how far it is; put it back ` +
        "from a backup",
    );
  }
  const next = corpusPaths.nextSeries(corpus);
  const old = corpusPaths.oldSeries(corpus);
  if (phase === "out") {
    markSeries(old, "");
    moveOut(corpus, old);
    enter(corpus, "in");
  }
  if (phase !== "clean") {
    move(next, corpus, SERIES_ENTRIES);
    enter(corpus, "clean");
  }
  removeSeries(old, corpus);
  removeSeries(next, corpus);
  removeIfExists(note);
  syncFolder(corpus);
}

/**
 * Moves the old series out of the way, the catalogue first, so that nobody reads a half of each. Where
 * the system does not let a part of it go, all of it comes back.
 */
function moveOut(corpus: string, old: string): void {
  try {
    move(corpus, old, [...SERIES_ENTRIES].reverse());
  } catch (error) {
    move(old, corpus, SERIES_ENTRIES);
    removeSeries(old, corpus);
    removeIfExists(corpusPaths.swap(corpus));
    throw new UserError(
      `Cannot put the new series in the place of the old one in ${corpus}: ${
        messageOf(error)
      }; the old ` +
        `one is as it was, the new one is in ${corpusPaths.nextSeries(corpus)}`,
    );
  }
}

function enter(corpus: string, phase: Phase): void {
  writeAtomic(corpusPaths.swap(corpus), JSON.stringify({ phase }) + "\n");
}

/** Moves what is there of `names`; what was moved before is not there any more. */
function move(from: string, to: string, names: readonly string[]): void {
  for (const name of names) {
    const source = join(from, name);
    const target = join(to, name);
    if (!isThere(source)) continue;
    if (isThere(target)) {
      throw new UserError(
        `Cannot move ${source} to ${target}: something is there already; move that elsewhere and run ` +
          "the same command again",
      );
    }
    Deno.renameSync(source, target);
  }
  syncFolder(from);
  syncFolder(to);
}

/**
 * Removes a folder of a series that bears the mark: the program's own files one by one, mark and
 * catalogue last. Files of others found in it go to the same place in the corpus, or stay where
 * they are if that is taken.
 */
function removeSeries(folder: string, corpus: string): void {
  // The mark goes just before the folder, so an empty one may be without it.
  if (isThere(folder)) removeIfEmpty(folder);
  if (readMark(folder) === undefined) return;
  for (const sub of OWN_FOLDERS) {
    const at = join(folder, sub);
    if (!isThere(at)) continue;
    for (const entry of [...Deno.readDirSync(at)]) {
      const path = join(at, entry.name);
      if (entry.isFile && isOwnFile(sub, entry.name)) removeIfExists(path);
      else if (!OWN_FOLDERS.includes(`${sub}/${entry.name}`)) {
        giveBack(path, join(corpus, sub, entry.name));
      }
    }
    removeIfEmpty(at);
  }
  const last = ["catalogue.sqlite", "series.json"];
  for (const name of namesIn(folder)) {
    if (name === ".lock") removeIfExists(join(folder, name));
    else if (last.includes(name) || OWN_FOLDERS.includes(name)) continue;
    else if (isOwnFile("", name)) removeIfExists(join(folder, name));
    else giveBack(join(folder, name), join(corpus, name));
  }
  if (namesIn(folder).some((name) => !last.includes(name))) return;
  for (const name of last) removeIfExists(join(folder, name));
  removeIfEmpty(folder);
}

function giveBack(path: string, to: string): void {
  if (isThere(to)) return;
  Deno.mkdirSync(join(to, ".."), { recursive: true });
  Deno.renameSync(path, to);
}

function removeIfEmpty(folder: string): void {
  if (namesIn(folder).length === 0) Deno.removeSync(folder);
}
