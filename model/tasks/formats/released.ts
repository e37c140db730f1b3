/**
 * The data of a task as their authors released them: one file to score against, or a folder of
 * splits to learn from, each in any format that is known.
 * @module
 */
import type { OptionSpec } from "../../../core/cli.ts";
import { sha256 } from "../../../core/files.ts";
import { resolve } from "../../../core/std.ts";
import type { Given, Purpose, TaskData } from "../core/task.ts";
import { findSplits, sourceHash } from "./splits.ts";

/** The option that names a format. */
export const FORMAT: OptionSpec = {
  type: "string",
  placeholder: "FORMAT",
  help: "the files' format, where looking cannot tell; see tasks formats",
};

/** How a task reads files. */
interface Reading<Item> {
  /** The items of files that belong together, file by file. */
  read(paths: readonly string[]): Item[][];
  /** The label set of those files. */
  labelsOf(...splits: Item[][]): readonly string[];
  /** What else decides what is learned from, for the hash of the data. */
  settings?: string[];
}

/**
 * Evaluation asks of the file `--gold`, and knows the training split where the task has `--train` and
 * it is given; fine-tuning learns from the folder `--data`.
 * @throws {UserError} where a split is missing or not to be read.
 */
export function readReleased<Item>(
  given: Given,
  purpose: Purpose,
  { read, labelsOf, settings = [] }: Reading<Item>,
): TaskData<Item> {
  if (purpose === "evaluate") {
    const gold = given.string("gold") ?? "";
    const known = given.string("train");
    const [test = [], train = []] = read(known === undefined ? [gold] : [gold, known]);
    return {
      labels: labelsOf(test, train),
      train,
      develop: [],
      test,
      path: resolve(gold),
      sha256: sourceHash(gold),
    };
  }
  const data = given.string("data") ?? "";
  const found = findSplits(data);
  const files = [found.train, found.develop, found.test];
  const [train = [], develop = [], test = []] = read(files);
  return {
    labels: labelsOf(train, develop, test),
    train,
    develop,
    test,
    path: resolve(data),
    sha256: sha256([...files.map(sourceHash), ...settings].join("\n")),
  };
}
