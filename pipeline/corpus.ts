/**
 * A corpus folder: its lock, its settings, and the remains of a killed run.
 * @module
 */
import { join } from "../core/std.ts";
import { exists, PARTIAL_SUFFIX, removeIfExists } from "../core/files.ts";
import { UserError } from "../core/errors.ts";
import { Catalogue } from "./catalogue/catalogue.ts";
import { corpusPaths } from "./ingest/process_file.ts";

/** Another process is changing the corpus. */
export class CorpusBusy extends UserError {}

/** A corpus opened for changing; only one process at a time has it. */
export class Corpus {
  readonly catalogue: Catalogue;
  readonly #lock: Deno.FsFile;

  /**
   * Opens or makes the corpus in `folder`.
   * @throws {CorpusBusy} where another process has it.
   * @throws {UserError} where it is a corpus of other texts.
   */
  constructor(readonly folder: string) {
    if (exists(join(folder, "texts.json"))) {
      throw new UserError(
        `Cannot bring PubMed into ${folder}: it is a corpus of other texts; make another and mix them ` +
          "in training",
      );
    }
    this.#lock = lock(folder);
    try {
      removePartials(folder);
      this.catalogue = new Catalogue(corpusPaths.catalogue(folder));
    } catch (error) {
      this.#lock.close();
      throw error;
    }
  }

  /**
   * A setting that holds for the whole corpus: the recorded value, or `given`, or `fallback`.
   * @throws {UserError} where another value was given than was recorded.
   */
  setting(key: string, option: string, given: string | undefined, fallback: string): string {
    const recorded = this.catalogue.get(key);
    if (recorded !== undefined && given !== undefined && given !== recorded) {
      throw new UserError(
        `Cannot use ${option} ${given}: the corpus ${this.folder} was made with ${recorded}; leave ` +
          `${option} away, or make another corpus`,
      );
    }
    return recorded ?? given ?? fallback;
  }

  /** False once the catalogue is closed. */
  get isOpen(): boolean {
    return this.catalogue.isOpen;
  }

  /** Closes the catalogue and lets others in. */
  close(): void {
    this.catalogue.close();
    this.#lock.close();
  }
}

/**
 * Makes the folder and locks it, until the file is closed.
 * @throws {CorpusBusy} where another process has it.
 */
export function lock(folder: string): Deno.FsFile {
  let file: Deno.FsFile;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    file = Deno.openSync(corpusPaths.lock(folder), { write: true, create: true });
  } catch (error) {
    throw new UserError(`Cannot write the corpus folder ${folder}: ${(error as Error).message}`);
  }
  if (file.tryLockSync(true)) return file;
  file.close();
  throw new CorpusBusy(
    `Cannot change the corpus ${folder}: another process is at work on it; wait until it is done`,
  );
}

/** Removes files that a killed run was writing. Unfinished downloads stay, to be gone on with. */
export function removePartials(folder: string): void {
  for (const sub of ["", "documents", "rejected", "tokens", "shards"]) {
    const path = join(folder, sub);
    if (!exists(path)) continue;
    for (const entry of Deno.readDirSync(path)) {
      if (entry.isFile && entry.name.endsWith(PARTIAL_SUFFIX)) {
        removeIfExists(join(path, entry.name));
      }
    }
  }
}

/**
 * Removes a corpus that a failed first run made and put nothing into. Unfinished downloads are worth
 * keeping, and so is whatever else lies in the folder.
 */
export function removeEmptyCorpus(folder: string, existed: boolean): void {
  const ours = /^(catalogue\.sqlite(-wal|-shm)?|\.lock|tokenizer\.json)$/;
  for (const sub of ["documents", "rejected", "tokens", "raw"]) {
    try {
      Deno.removeSync(join(folder, sub));
    } catch { /* it is not there, or not empty */ }
  }
  if (exists(join(folder, "raw"))) return;
  for (const { name } of [...Deno.readDirSync(folder)]) {
    if (ours.test(name)) removeIfExists(join(folder, name));
  }
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
  if (!exists(path) && exists(join(folder, "texts.json"))) {
    throw new UserError(
      `Cannot do this with the corpus ${folder}: it is one of texts, and this needs PubMed's citations`,
    );
  }
  if (!exists(path)) {
    throw new UserError(
      `Cannot find a corpus in ${folder}: it has no catalogue.sqlite; make one with "pipeline run"`,
    );
  }
  return new Catalogue(path, { readOnly: true });
}
