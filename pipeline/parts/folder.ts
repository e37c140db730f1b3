/**
 * The folder of the parts in a corpus: what is made by many machines before one merges it. A part
 * works in a folder of its own below `work/`, and a file gets its place by a rename, so two
 * processes that work on the same part leave the same bytes and never half of a file.
 * @module
 */
import { join } from "../../core/std.ts";
import { exists, refuseForeign, removeIfExists, syncFolder } from "../../core/files.ts";
import { messageOf, UserError } from "../../core/errors.ts";
import {
  corpusPaths,
  isOwnEntry,
  mergedPartsPath,
  partsLockPath,
  partsPath,
  textsPath,
} from "../corpus_paths.ts";

/** Where things lie in the folder of the parts. */
export const partPaths = {
  /** What all parts agree on. */
  job: (corpus: string): string => join(partsPath(corpus), "job.json"),
  tokenizer: (corpus: string, sha256: string): string =>
    join(partsPath(corpus), "tokenizers", `${sha256}.json`),
  changes: (corpus: string, source: string): string =>
    join(partsPath(corpus), "changes", `${source}.changes`),
  report: (corpus: string, part: number, parts: number): string =>
    join(partsPath(corpus), "reports", `part-${part}-of-${parts}.json`),
  reports: (corpus: string): string => join(partsPath(corpus), "reports"),
  /** The folders of processes at work. */
  work: (corpus: string): string => join(partsPath(corpus), "work"),
};

/** A folder of the parts' that this process works in. */
export interface PartFolder extends Disposable {
  /** What is written here is nobody else's. */
  readonly work: string;
  /** Gives a file in `work` its place among the parts, at once and for good. */
  place(from: string, to: string): void;
}

/**
 * Enters the folder of the parts to work on one of them, with others at the same time.
 * @throws {UserError} where the folder is no corpus, or the parts are being merged
 */
export function enterParts(corpus: string, name: string): PartFolder {
  const isCorpus = exists(corpusPaths.catalogue(corpus)) || exists(textsPath(corpus));
  if (!isCorpus) refuseForeign(corpus, "a corpus", isOwnEntry);
  const lock = openLock(corpus);
  try {
    if (!tryLock(lock, false)) {
      throw new UserError(
        `Cannot work on part ${name} of ${corpus}: "pipeline finish" is merging the parts there; wait ` +
          "until it is done",
      );
    }
    const work = join(
      partPaths.work(corpus),
      `${name.replace("/", "-of-")}-${crypto.randomUUID().slice(0, 8)}`,
    );
    Deno.mkdirSync(work, { recursive: true });
    return {
      work,
      place(from, to) {
        const folder = join(to, "..");
        Deno.mkdirSync(folder, { recursive: true });
        Deno.renameSync(from, to);
        syncFolder(folder);
      },
      [Symbol.dispose]() {
        removeIfExists(work, { recursive: true });
        lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/**
 * Enters the folder of the parts alone, to merge them.
 * @throws {UserError} where a part is at work
 */
export function holdParts(corpus: string): Disposable {
  const lock = openLock(corpus);
  if (!tryLock(lock, true)) {
    lock.close();
    throw new UserError(
      `Cannot finish ${corpus}: a part is still at work on it; wait until all parts have ended`,
    );
  }
  removeMerged(corpus);
  return { [Symbol.dispose]: () => lock.close() };
}

/**
 * Takes the parts away after they were merged, what killed parts were at among them: all at once for
 * those who look, file by file after.
 */
export function dropParts(corpus: string): void {
  Deno.renameSync(partsPath(corpus), mergedPartsPath(corpus));
  syncFolder(corpus);
  removeMerged(corpus);
}

function removeMerged(corpus: string): void {
  removeIfExists(mergedPartsPath(corpus), { recursive: true });
}

function openLock(corpus: string): Deno.FsFile {
  try {
    Deno.mkdirSync(corpus, { recursive: true });
    return Deno.openSync(partsLockPath(corpus), { write: true, create: true });
  } catch (error) {
    throw new UserError(`Cannot write the corpus folder ${corpus}: ${messageOf(error)}`);
  }
}

/** Some file systems of clusters know no locks: there the scheduler keeps parts and merging apart. */
function tryLock(file: Deno.FsFile, exclusive: boolean): boolean {
  try {
    return file.tryLockSync(exclusive);
  } catch (error) {
    if (/not supported|not implemented|ENOSYS|ENOTSUP|EOPNOTSUPP|ENOLCK/i.test(messageOf(error))) {
      return true;
    }
    throw error;
  }
}
