/**
 * The data of a task as their authors released them: one file to score against, or a folder of
 * splits to learn from, each in any format that is known.
 * @module
 */
import type { OptionSpec } from "../../../core/cli.ts";
import { UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { resolve } from "../../../core/std.ts";
import { Random } from "../../mamba/random.ts";
import type { Given, Purpose, TaskData } from "../core/task.ts";
import { findSplits, sourceHash } from "./splits.ts";

/** The option that names a format. */
export const FORMAT: OptionSpec = {
  type: "string",
  placeholder: "FORMAT",
  help: "the files' format, where looking cannot tell; see tasks formats",
};

/** The option that names what the trivial system knows. */
export const TRAIN: OptionSpec = {
  type: "string",
  placeholder: "F",
  help: "the training split, whose commonest answer the trivial system gives",
};

/** How a task reads files. */
interface Reading<Item> {
  /** The items of files that belong together, file by file. */
  read(paths: readonly string[]): Item[][];
  /** The label set of those files. */
  labelsOf(...splits: Item[][]): readonly string[];
  /** What else decides what is learned from, for the hash of the data. */
  settings?: string[];
  /** What an item belongs to, such as its document, where a set is split: that stays together. */
  groupOf?(item: Item): string | undefined;
}

/** The share of a set that becomes a split that it lacks. */
const SHARE = 0.1;

/**
 * Evaluation asks of the file `--gold`, and knows the training split where the task has `--train` and
 * it is given; fine-tuning learns from the folder `--data`. A set without a development split has a
 * tenth of its training split as one, and a set without any splits a tenth each for development and for
 * testing, drawn by a fixed seed; both are told.
 * @throws {UserError} where a split is missing or not to be read.
 */
export function readReleased<Item>(
  given: Given,
  purpose: Purpose,
  { read, labelsOf, settings = [], groupOf }: Reading<Item>,
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
  const found = findSplits(data, given.string("format"));
  const files = "whole" in found
    ? [found.whole]
    : [found.train, ...(found.develop === undefined ? [] : [found.develop]), found.test];
  const splits = read(files);
  const notes: string[] = [];
  let train = splits[0] ?? [];
  let develop = splits.length > 2 ? splits[1] ?? [] : [];
  let test = "whole" in found ? [] : splits.at(-1) ?? [];
  if ("whole" in found) {
    [test, train] = drawItems(train, "test", groupOf);
    notes.push(
      `${data} has no splits: ${test.length} of its items are drawn for testing, by a fixed seed`,
    );
  }
  if (splits.length < 3) {
    [develop, train] = drawItems(train, "development", groupOf);
    notes.push(
      `${data} has no development split: ${develop.length} training items are drawn for it, by a ` +
        "fixed seed",
    );
  }
  if (!train.length || !develop.length || !test.length) {
    throw new UserError(
      `Cannot fine-tune on ${data}: it has ${train.length} items for training, ${develop.length} for ` +
        `development and ${test.length} for testing; each needs one at least`,
    );
  }
  return {
    labels: labelsOf(train, develop, test),
    train,
    develop,
    test,
    path: resolve(data),
    sha256: sha256([...files.map(sourceHash), ...settings].join("\n")),
    ...(notes.length ? { notes } : {}),
  };
}

/** Some of the items, groups together, and the others; each in the order of the file. */
function drawItems<Item>(
  items: readonly Item[],
  purpose: string,
  groupOf: Reading<Item>["groupOf"],
): [drawn: Item[], others: Item[]] {
  const groups = items.map((item, i) => groupOf?.(item) ?? `item ${i}`);
  const order = [...new Set(groups)];
  const random = new Random(0, `the ${purpose} split of a set that has none`);
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j] ?? "", order[i] ?? ""];
  }
  const drawn = new Set(order.slice(0, Math.max(1, Math.round(SHARE * order.length))));
  return [
    items.filter((_, i) => drawn.has(groups[i] ?? "")),
    items.filter((_, i) => !drawn.has(groups[i] ?? "")),
  ];
}

/**
 * The files or folders of records that data are made of: those of the splits, or the set itself.
 * @throws {UserError} as {@linkcode findSplits}.
 */
export function recordsAt(data: string): string[] {
  const found = findSplits(data);
  if ("whole" in found) return [found.whole];
  return [found.train, found.develop, found.test].filter((path) => path !== undefined);
}
