/**
 * The splits of a data set's folder: files or folders whose names say train, dev (devel, development,
 * valid, validation) or test. What is in them is found by looking.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { hashFile, sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { probe } from "./files.ts";
import { FORMATS, likelyFormat } from "./mod.ts";
import { type SplitName, splitOf } from "./split_names.ts";

export { splitOf } from "./split_names.ts";

/** The parts of a set that is learned from. */
export interface Splits {
  train: string;
  /** Undefined where the set has none, or an empty file in its place, as BioBERT's GAD has. */
  develop: string | undefined;
  test: string;
}

/**
 * The files (or folders) of a folder's splits, or the set itself where it is one that has no splits: a
 * file, or a folder that a format reads as a whole. Where a set is released in several formats side by
 * side, as BC5CDR is, one that every split has is taken.
 * @param format takes only files of this format
 * @throws {UserError} where one is missing, or two could be it.
 */
export function findSplits(folder: string, format?: string): Splits | { whole: string } {
  const looked = probe(folder);
  const isSet = FORMATS.some((format) => format.recognise(looked) > 0);
  if (!looked.isFolder) {
    if (isSet) return { whole: folder };
    throw new UserError(
      `Cannot read the data ${folder}: it is a file of no known format; name the folder of its splits`,
    );
  }
  const told = looked.names.filter((name) => !name.startsWith(".") && splitOf(name) !== undefined);
  const formats = new Map(told.map((name) => [name, likelyFormat(looked.child(name))?.name]));
  const asked = told.filter((name) => formats.get(name) === format);
  const found = format !== undefined && asked.length
    ? asked
    : told.filter((name) => formats.get(name) !== undefined);
  const known = inOneFormat(found, formats);
  const of = (split: SplitName): string | undefined => {
    const [first, second] = known.filter((name) => splitOf(name) === split);
    if (first === undefined || second === undefined) {
      return first === undefined ? undefined : join(folder, first);
    }
    throw new UserError(
      `Cannot read the data ${folder}: ${first} and ${second} could both be its ${split} split; ` +
        `leave one of them in the folder`,
    );
  };
  const train = of("train");
  const test = of("test");
  const develop = of("develop");
  const unread = told.find((name) =>
    splitOf(name) === "develop" && develop === undefined && !isEmpty(join(folder, name))
  );
  if (train !== undefined && test !== undefined && unread === undefined) {
    return { train, develop, test };
  }
  if (train === undefined && test === undefined) {
    if (isSet) return { whole: folder };
    // A release unpacks into a folder of its own.
    // Links to folders are not followed: they may lead in a circle.
    const below = looked.isFolder
      ? [...Deno.readDirSync(folder)].filter((entry) => entry.isDirectory).map(({ name }) => name)
      : [];
    const [only] = below;
    if (only !== undefined && below.length === 1) return findSplits(join(folder, only), format);
    if (likelyFormat(looked)) return { whole: folder };
  }
  const missing = train === undefined
    ? "training"
    : test === undefined
    ? "test"
    : "development (dev, devel or validation)";
  throw new UserError(
    `Cannot read the data ${folder}: no file in it is the ${missing} split of a known format; ` +
      `"deno task tasks formats" lists them`,
  );
}

/** Of files in several formats those in the first one that every split has once; else all of them. */
function inOneFormat(
  names: readonly string[],
  formats: ReadonlyMap<string, string | undefined>,
): readonly string[] {
  const splits = [...new Set(names.map(splitOf))];
  const double = splits.some((split) => names.filter((n) => splitOf(n) === split).length > 1);
  if (!double) return names;
  for (const { name: format } of FORMATS) {
    const own = names.filter((name) => formats.get(name) === format);
    if (splits.every((split) => own.filter((n) => splitOf(n) === split).length === 1)) return own;
  }
  return names;
}

/** Whether there is nothing in a file, or no file in a folder. */
function isEmpty(path: string): boolean {
  const { isDirectory, size } = Deno.statSync(path);
  return isDirectory ? [...Deno.readDirSync(path)].length === 0 : size < 3;
}

/**
 * The folders of a set's folds, by their numbers: of a folder that holds no splits itself but numbered
 * folders that do, as BioBERT's GAD and EU-ADR are released (1 to 10). Empty for another one.
 */
export function findFolds(folder: string): { name: string; path: string }[] {
  const looked = probe(folder);
  if (!looked.isFolder || looked.names.some((name) => splitOf(name) === "train")) return [];
  const numbered = looked.names.flatMap((name) => {
    const [, number] = /^\D*(\d+)$/.exec(name) ?? [];
    if (number === undefined) return [];
    const child = looked.child(name);
    const has = (split: SplitName) => child.names.some((inner) => splitOf(inner) === split);
    return child.isFolder && has("train") && has("test")
      ? [{ name, path: join(folder, name), number: Number(number) }]
      : [];
  });
  return numbered.length < 2
    ? []
    : numbered.sort((a, b) => a.number - b.number).map(({ name, path }) => ({ name, path }));
}

/** The SHA-256 of a file, or of all files below a folder with their names. */
export function sourceHash(path: string): string {
  if (!Deno.statSync(path).isDirectory) return hashFile(path);
  const names = [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
  return sha256(names.map((name) => `${name} ${sourceHash(join(path, name))}`).join("\n"));
}
