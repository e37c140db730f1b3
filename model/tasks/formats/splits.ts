/**
 * The splits of a data set's folder: files or folders whose names say train, dev (devel, development,
 * valid, validation) or test. What is in them is found by looking.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { hashFile, sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { probe } from "./files.ts";
import { FORMATS } from "./mod.ts";

/** The parts of a set that is learned from. */
export interface Splits {
  train: string;
  develop: string;
  test: string;
}

/** The words by which names tell a split. */
const WORDS: Record<keyof Splits, RegExp> = {
  train: /^(train|training)$/,
  develop: /^(dev|devel|develop|development|valid|validation|val)$/,
  test: /^(test|testing|testset)$/,
};

/** The words of a name: CDR_TrainingSet.PubTator.txt is cdr, training, set, pub, tator, txt. */
const wordsOf = (name: string): string[] =>
  name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().split(/[^a-z0-9]+/).filter(Boolean);

/** Which split a name tells; undefined for none, and for more than one (train_dev). */
function splitOf(name: string): keyof Splits | undefined {
  const words = wordsOf(name);
  const found = (Object.keys(WORDS) as (keyof Splits)[])
    .filter((split) => words.some((word) => WORDS[split].test(word)));
  return found.length === 1 ? found[0] : undefined;
}

/**
 * The files (or folders) of a folder's splits.
 * @throws {UserError} where one is missing, or two could be it.
 */
export function findSplits(folder: string): Splits {
  const looked = probe(folder);
  if (!looked.isFolder) {
    throw new UserError(
      `Cannot read the data ${folder}: it is a file; name the folder of its splits`,
    );
  }
  const known = looked.names.filter((name) => {
    if (name.startsWith(".") || splitOf(name) === undefined) return false;
    const child = looked.child(name);
    return FORMATS.some((format) => format.recognise(child) > 0);
  });
  const of = (split: keyof Splits) => {
    const names = known.filter((name) => splitOf(name) === split);
    const [first, second] = names;
    if (first === undefined) {
      throw new UserError(
        `Cannot read the data ${folder}: no file in it is the ${
          split === "develop" ? "development (dev, devel or validation)" : split
        } split of a known format; "deno task tasks formats" lists them`,
      );
    }
    if (second !== undefined) {
      throw new UserError(
        `Cannot read the data ${folder}: ${first} and ${second} could both be its ${split} split; ` +
          `leave one of them in the folder`,
      );
    }
    return join(folder, first);
  };
  return { train: of("train"), develop: of("develop"), test: of("test") };
}

/** The SHA-256 of a file, or of all files below a folder with their names. */
export function sourceHash(path: string): string {
  if (!Deno.statSync(path).isDirectory) return hashFile(path);
  const names = [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
  return sha256(names.map((name) => `${name} ${sourceHash(join(path, name))}`).join("\n"));
}
