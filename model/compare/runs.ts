/** Runs as a comparison reads them: their records, curves, and what they came to item by item. @module */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { basename, join, resolve } from "../../core/std.ts";
import {
  readMetrics,
  readRun,
  readValidations,
  type RunFigures,
  runFigures,
  type RunFile,
  type StepMetrics,
} from "../training/mod.ts";
import type { Statistic } from "../statistics/mod.ts";

/** A measure of a run by items that it may share with another run. */
export interface ItemMeasure {
  /** In JSON: "validation_loss", "accuracy", "f1". */
  key: string;
  /** As in tables. */
  name: string;
  /** Of all items. */
  value: number;
  /** Digits behind the point. */
  digits: number;
  /** After which step, of a measure that is taken again and again. */
  step?: number;
  /** What the items are, and of which data: only measures of the same can be paired. */
  items: { units: string; of: string };
  /** The items by a name of their own, with what they count; not empty. */
  counts: Map<string, readonly number[]>;
  /** The measure of some items, by their counts. */
  statistic(counts: readonly (readonly number[])[]): Statistic;
}

/** A run to be compared. */
export interface ComparedRun {
  /** As it was named. */
  path: string;
  /** Short, and different from the others'. */
  name: string;
  record: RunFile;
  metrics: StepMetrics[];
  figures: RunFigures;
  measures: ItemMeasure[];
}

/**
 * Reads run folders.
 * @throws {UserError} where one is no run, or is named twice
 */
export function readRuns(paths: readonly string[]): ComparedRun[] {
  const twice = paths.find((path, i) =>
    paths.some((p, j) => j < i && resolve(p) === resolve(path))
  );
  if (twice !== undefined) {
    throw new UserError(`Cannot compare the run ${twice} with itself: name each run once`);
  }
  const short = paths.map((path) => basename(resolve(path)));
  return paths.map((path, i): ComparedRun => {
    if (!exists(join(path, "run.json")) && exists(join(path, "seed-0", "run.json"))) {
      throw new UserError(
        `Cannot compare ${path}: it holds a run for each of several seeds; name one of them, such ` +
          `as ${join(path, "seed-0")}`,
      );
    }
    const record = readRun(path);
    const metrics = readMetrics(path);
    const own = short[i] ?? path;
    return {
      path,
      name: short.filter((name) => name === own).length > 1 ? path : own,
      record,
      metrics,
      figures: runFigures(metrics),
      measures: record.task === undefined
        ? validationMeasures(path, record, metrics)
        : taskMeasures(path, record.task, record.corpus.manifest_sha256),
    };
  });
}

/** The validation loss of the checkpoint that a run would give: that of the lowest one. */
function validationMeasures(
  path: string,
  { corpus }: RunFile,
  metrics: readonly StepMetrics[],
): ItemMeasure[] {
  const losses = metrics.flatMap(({ step, validation_loss: loss }) =>
    loss === undefined || !Number.isFinite(loss) ? [] : [{ step, loss }]
  );
  if (!losses.length) return [];
  const best = losses.reduce((a, b) => b.loss < a.loss ? b : a);
  const scored = readValidations(path).find(({ step }) => step === best.step);
  const counts = new Map<string, readonly number[]>();
  for (const { corpus: name, rows, nll, targets } of scored?.parts ?? []) {
    rows.forEach((row, i) => counts.set(`${name} ${row}`, [nll[i] ?? NaN, targets[i] ?? NaN]));
  }
  return [{
    key: "validation_loss",
    name: "validation loss",
    value: best.loss,
    digits: 4,
    step: best.step,
    items: { units: "rows", of: corpus.manifest_sha256 },
    counts,
    statistic: meanLoss,
  }];
}

/** Nats per scored token; the counts of a row are its summed loss and its tokens. */
function meanLoss(counts: readonly (readonly number[])[]): Statistic {
  return (indices) => {
    let nll = 0;
    let tokens = 0;
    for (const index of indices) {
      nll += counts[index]?.[0] ?? NaN;
      tokens += counts[index]?.[1] ?? NaN;
    }
    return nll / tokens;
  };
}

/** The mean of a count. */
function meanCount(counts: readonly (readonly number[])[]): Statistic {
  return (indices) => {
    let sum = 0;
    for (const index of indices) sum += counts[index]?.[0] ?? NaN;
    return sum / indices.length;
  };
}

/** F1 of sums; the counts of an item are what was found rightly, found wrongly and missed. */
function f1Score(counts: readonly (readonly number[])[]): Statistic {
  return (indices) => {
    let right = 0;
    let others = 0;
    for (const index of indices) {
      const [found = NaN, wrong = NaN, missed = NaN] = counts[index] ?? [];
      right += 2 * found;
      others += wrong + missed;
    }
    return right + others === 0 ? 0 : right / (right + others);
  };
}

/** A line of a samples file, as far as comparing takes it. */
interface Sample {
  doc_id?: number;
  target?: unknown;
  doc_hash?: string;
  acc?: number;
  counts?: { true_positives: number; false_positives: number; false_negatives: number };
}

/** The test scores of a fine-tuning run, from the samples that it wrote last. */
function taskMeasures(path: string, task: string, data: string): ItemMeasure[] {
  const prefix = `samples_${task}_`;
  const newest = [...Deno.readDirSync(path)].map(({ name }) => name)
    .filter((name) => name.startsWith(prefix) && name.endsWith(".jsonl")).sort().at(-1);
  if (newest === undefined) return [];
  const file = join(path, newest);
  const lines = Deno.readTextFileSync(file).split("\n").filter(Boolean)
    .map((line) => JSON.parse(line) as Sample);
  const nameOf = ({ doc_id, doc_hash, target }: Sample) =>
    `${doc_id} ${doc_hash ?? ""} ${JSON.stringify(target)}`;
  const measures: ItemMeasure[] = [];
  const add = (
    key: string,
    name: string,
    statistic: ItemMeasure["statistic"],
    countsOf: (line: Sample) => readonly number[] | undefined,
  ) => {
    const counts = new Map<string, readonly number[]>();
    for (const line of lines) {
      const own = countsOf(line);
      if (own) counts.set(nameOf(line), own);
    }
    if (!counts.size) return;
    const all = [...counts.values()];
    const value = statistic(all)(Uint32Array.from(all, (_, i) => i));
    const items = { units: "items", of: data };
    measures.push({ key, name, value, digits: 4, items, counts, statistic });
  };
  add(
    "f1",
    "test F1",
    f1Score,
    ({ counts }) =>
      counts && [counts.true_positives, counts.false_positives, counts.false_negatives],
  );
  add("accuracy", "test accuracy", meanCount, ({ acc }) => acc === undefined ? undefined : [acc]);
  return measures;
}
