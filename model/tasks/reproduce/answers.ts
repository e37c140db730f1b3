/** Answer files of systems from elsewhere: one file a set, called as the set is. @module */
import { UserError } from "../../../core/errors.ts";
import { hashFile } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { FoundSet } from "./find.ts";

/** A system from elsewhere with the folder of its answers. */
export interface NamedSystem {
  label: string;
  folder: string;
}

/** A system's file of answers to a set. */
export interface AnswerFile {
  label: string;
  path: string;
  digest: string;
}

/** A file's name without its last extension. */
const stemOf = (name: string): string => name.replace(/\.[^.]*$/, "");

/**
 * Every system's files by the set's id.
 * @throws {UserError} where a folder is missing, or a file of it is called as no set is.
 */
export function findAnswers(
  systems: readonly NamedSystem[],
  sets: readonly FoundSet[],
): Map<string, AnswerFile[]> {
  const bySet = new Map<string, AnswerFile[]>(sets.map(({ id }) => [id, []]));
  for (const { label, folder } of systems) {
    for (const name of namesIn(folder)) {
      const path = join(folder, name);
      const id = [name, stemOf(name)].find((candidate) => bySet.has(candidate));
      const files = id === undefined ? undefined : bySet.get(id);
      if (!files) {
        throw new UserError(
          `Cannot use the answers ${path}: no set is called "${
            stemOf(name)
          }"; call the file by its ` +
            `set, one of ${[...bySet.keys()].join(", ")}`,
        );
      }
      if (files.some((file) => file.label === label)) {
        throw new UserError(`Cannot use the answers ${path}: ${label} has two files of this set`);
      }
      files.push({ label, path, digest: hashFile(path) });
    }
  }
  return bySet;
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].filter((entry) => entry.isFile)
      .map(({ name }) => name).filter((name) => !name.startsWith(".")).sort();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw error;
    }
    throw new UserError(
      `Cannot read the answers in ${folder}: there is no such folder; name a folder with a file ` +
        `for each set`,
    );
  }
}
