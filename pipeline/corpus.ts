/**
 * A corpus folder: its lock, its catalogue, and the remains of a killed or failed run.
 * @module
 */
import { join } from "../core/std.ts";
import { exists, refuseForeign, removeIfExists } from "../core/files.ts";
import { UserError } from "../core/errors.ts";
import { Catalogue } from "./catalogue/catalogue.ts";
import { breakSeal, checkSeal, removeSeal, setSeal } from "./catalogue/seal.ts";
import {
  corpusPaths,
  isOwnEntry,
  isOwnPartial,
  OWN_FOLDERS,
  textsPath,
  tokenizerPath,
} from "./corpus_paths.ts";
import { checkContamination } from "./overlap/contamination.ts";
import { finishSwap } from "./series_swap.ts";

/** Another process is changing the corpus. */
export class CorpusBusy extends UserError {}

/** A corpus folder that this process alone may change. */
interface HeldFolder {
  /** What the folder held before. */
  readonly before: ReadonlySet<string>;
  /** False where the folder was made now. */
  readonly existed: boolean;
  /** Lets others in. */
  release(): void;
}

/**
 * Makes the folder where it is not there and locks it.
 * @throws {CorpusBusy} where another process has it
 * @throws {UserError} where the folder holds something and is no corpus; nothing in it is touched
 */
export function holdFolder(folder: string): HeldFolder {
  const isCorpus = exists(corpusPaths.catalogue(folder)) || exists(textsPath(folder));
  let file: Deno.FsFile;
  let before: Set<string>;
  const existed = exists(folder);
  try {
    if (!isCorpus) refuseForeign(folder, "a corpus", isOwnEntry);
    Deno.mkdirSync(folder, { recursive: true });
    before = new Set([...Deno.readDirSync(folder)].map(({ name }) => name));
    file = Deno.openSync(corpusPaths.lock(folder), { write: true, create: true });
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`Cannot write the corpus folder ${folder}: ${(error as Error).message}`);
  }
  if (file.tryLockSync(true) && isStillThere(file, folder)) {
    return {
      before,
      existed,
      release: () => file.close(),
    };
  }
  file.close();
  throw new CorpusBusy(
    `Cannot change the corpus ${folder}: another process is at work on it; wait until it is done`,
  );
}

/** False where a failed first run of another process has removed the lock's file meanwhile. */
function isStillThere(file: Deno.FsFile, folder: string): boolean {
  const path = corpusPaths.lock(folder);
  return exists(path) && Deno.statSync(path).ino === file.statSync().ino;
}

/** A corpus opened for changing; only one process at a time has it. */
export class Corpus {
  readonly catalogue: Catalogue;
  /** True where there was no catalogue yet. */
  readonly fresh: boolean;
  readonly #held: HeldFolder;

  /**
   * Opens or makes the corpus in `folder`.
   * @throws {CorpusBusy} where another process has it.
   * @throws {UserError} where it is a corpus of other texts, or the folder is something else.
   */
  constructor(readonly folder: string) {
    if (exists(textsPath(folder))) {
      throw new UserError(
        `Cannot bring PubMed into ${folder}: it is a corpus of other texts; make another and mix them ` +
          "in training",
      );
    }
    this.#held = holdFolder(folder);
    try {
      finishSwap(folder);
      removePartials(folder);
      const path = corpusPaths.catalogue(folder);
      this.fresh = !exists(path);
      checkSealed(path);
      this.catalogue = new Catalogue(path);
      breakSeal(path);
    } catch (error) {
      this.#held.release();
      throw error;
    }
  }

  /** @throws {UserError} where it is not known for sure what is held out for evaluation */
  checkHeldOut(): void {
    checkContamination(this.folder, this.catalogue);
  }

  /** False once the catalogue is closed. */
  get isOpen(): boolean {
    return this.catalogue.isOpen;
  }

  /** Closes and seals the catalogue and lets others in. */
  close(): void {
    try {
      if (!this.catalogue.isOpen) return;
      this.catalogue.close();
      setSeal(corpusPaths.catalogue(this.folder));
    } catch {
      /* the seal stays broken, and the next command sets it */
    } finally {
      this.#held.release();
    }
  }

  /** Closes a corpus that a failed first run made and put nothing into, and removes it. */
  discard(): void {
    this.close();
    removeMade(this.folder, this.#held);
  }
}

/** @throws {UserError} where a catalogue was changed by anything but this program */
function checkSealed(path: string): void {
  if (!exists(path) || checkSeal(path) !== "wrong") return;
  const seal = path.replace(/sqlite$/, "sha256");
  throw new UserError(
    `Cannot change the corpus: its catalogue ${path} is not what was written, which ${seal} tells; put ` +
      `both back from a backup, or remove ${seal} if you know the catalogue to be right`,
  );
}

/** Removes files that a killed run was writing. Unfinished downloads stay, to be gone on with. */
export function removePartials(folder: string): void {
  for (const sub of ["", ...OWN_FOLDERS]) {
    const path = join(folder, sub);
    if (sub === "raw" || !exists(path)) continue;
    for (const entry of Deno.readDirSync(path)) {
      if (entry.isFile && isOwnPartial(sub, entry.name)) removeIfExists(join(path, entry.name));
    }
  }
}

/**
 * Removes what a failed first run made: its catalogue, its copy of the tokenizer, its empty folders.
 * Unfinished downloads are worth keeping, and whatever was there before stays.
 */
export function removeMade(folder: string, { before, existed }: HeldFolder): void {
  const made = (name: string) => !before.has(name);
  for (const sub of ["documents", "rejected", "tokens", "raw"].filter(made)) {
    try {
      Deno.removeSync(join(folder, sub));
    } catch { /* it is not there, or not empty */ }
  }
  const path = corpusPaths.catalogue(folder);
  if (exists(corpusPaths.raw(folder))) {
    if (made("catalogue.sqlite") && exists(path)) setSeal(path);
    return;
  }
  if (made("catalogue.sqlite")) {
    removeSeal(path);
    removeIfExists(path);
  }
  if (made("tokenizer.json")) removeIfExists(tokenizerPath(folder));
  if (made(".lock")) removeIfExists(corpusPaths.lock(folder));
  try {
    if (!existed) Deno.removeSync(folder);
  } catch { /* something else is in it */ }
}

/**
 * Opens the catalogue of an existing corpus for reading.
 * @throws {UserError} where there is none.
 */
export function readCatalogue(folder: string): Catalogue {
  const path = corpusPaths.catalogue(folder);
  if (!exists(path) && exists(textsPath(folder))) {
    throw new UserError(
      `Cannot do this with the corpus ${folder}: it is one of texts, and this needs PubMed's citations`,
    );
  }
  if (!exists(path) && exists(corpusPaths.swap(folder))) {
    throw new UserError(
      `Cannot read the corpus ${folder}: a new year's series is taking its place; try again, and if ` +
        'no command is at work on it, run "pipeline refresh"',
    );
  }
  if (!exists(path)) {
    throw new UserError(
      `Cannot find a corpus in ${folder}: it has no catalogue.sqlite; make one with "pipeline run"`,
    );
  }
  return new Catalogue(path, { readOnly: true });
}
