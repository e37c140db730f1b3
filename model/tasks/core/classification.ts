/** Measures of classification by label: accuracy, F1 by label, macro and micro. @module */
import { fail } from "../../../core/errors.ts";
import { float64At, nth, uint32At } from "../../../core/nth.ts";
import type { Statistic } from "../../statistics/mod.ts";
import type { Counts, Measure } from "./task.ts";
import type { Bars } from "../../../core/page/mod.ts";

/** Gold and predicted label numbers of the same items; a prediction of -1 is "no answer". */
export interface Labelled {
  gold: ArrayLike<number>;
  predicted: ArrayLike<number>;
}

/** Stands for no answer. */
const NONE = -1;

/** Share of items whose prediction is right; missing answers are wrong. */
export function accuracy({ gold, predicted }: Labelled, indices?: ArrayLike<number>): number {
  const count = (indices ?? gold).length;
  let right = 0;
  for (let i = 0; i < count; i++) {
    const item = indices?.[i] ?? i;
    if (gold[item] === predicted[item]) right++;
  }
  return count === 0 ? 0 : right / count;
}

/**
 * How often each golden label was answered by each label: rows are golden, columns predicted; the last
 * column is no answer, or one that is no label.
 */
export function confusionMatrix({ gold, predicted }: Labelled, labels: number): number[][] {
  const matrix = Array.from({ length: labels }, () => new Array<number>(labels + 1).fill(0));
  for (let i = 0; i < gold.length; i++) {
    const got = nth(predicted, i);
    const column = got >= 0 && got < labels ? got : labels;
    const row = matrix[nth(gold, i)];
    if (row) row[column] = (row[column] ?? 0) + 1;
  }
  return matrix;
}

/** Counts for programs. */
export function countsJson(counts: Counts | undefined): Record<string, number> {
  return {
    true_positives: counts?.truePositives ?? 0,
    false_positives: counts?.falsePositives ?? 0,
    false_negatives: counts?.falseNegatives ?? 0,
  };
}

/** Precision, recall and F1; each 0 where its denominator is 0, as scikit-learn's default. */
interface PrecisionRecall {
  precision: number;
  recall: number;
  f1: number;
}

/** Precision, recall and their harmonic mean from counts. */
export function precisionRecall(counts: Counts): PrecisionRecall {
  const { truePositives: tp, falsePositives: fp, falseNegatives: fn } = counts;
  const ratio = (a: number, b: number) => b === 0 ? 0 : a / b;
  return {
    precision: ratio(tp, tp + fp),
    recall: ratio(tp, tp + fn),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
  };
}

/**
 * The counts of every label, 0 to `labels` - 1. A predicted number beyond them is an answer that is
 * no label: wrong, and nobody's false positive.
 */
export function labelCounts(
  { gold, predicted }: Labelled,
  labels: number,
  indices?: ArrayLike<number>,
): Counts[] {
  const counts = Array.from(
    { length: labels },
    () => ({ truePositives: 0, falsePositives: 0, falseNegatives: 0 }),
  );
  const count = (indices ?? gold).length;
  for (let i = 0; i < count; i++) {
    const item = indices?.[i] ?? i;
    const want = gold[item] ?? NONE;
    const got = predicted[item] ?? NONE;
    const wanted = counts[want] ?? fail(`item ${item} has the golden label ${want} of ${labels}`);
    if (want === got) {
      wanted.truePositives++;
      continue;
    }
    wanted.falseNegatives++;
    const other = counts[got];
    if (other) other.falsePositives++;
  }
  return counts;
}

/**
 * The unweighted mean of the F1 of those labels that occur in the gold: a label that nobody asked for
 * has no recall to speak of. An answer outside of the labels is wrong like any other.
 */
export function macroF1(items: Labelled, labels: number, indices?: ArrayLike<number>): number {
  const present = labelCounts(items, labels, indices)
    .filter((c) => c.truePositives + c.falseNegatives > 0);
  if (!present.length) return 0;
  return present.reduce((sum, c) => sum + precisionRecall(c).f1, 0) / present.length;
}

/** Accuracy as a statistic to resample. */
function accuracyOf(items: Labelled): Statistic {
  return (indices) => accuracy(items, indices);
}

/** Macro F1 as a statistic to resample. */
function macroF1Of(items: Labelled, labels: number): Statistic {
  return (indices) => macroF1(items, labels, indices);
}

/** Accuracy and macro F1 with what resamples them. */
export function labelMeasures(items: Labelled, labels: number): Measure[] {
  const count = items.gold.length;
  const values = Array.from(items.gold, (gold, i) => Number(gold === items.predicted[i]));
  return [
    { key: "acc", name: "accuracy", count, statistic: accuracyOf(items), values },
    { key: "f1_macro", name: "macro F1", count, statistic: macroF1Of(items, labels) },
  ];
}

/**
 * Precision, recall and F1 of sums of counts.
 * @param prefix before the measures' keys and names: "micro"
 */
export function ratioMeasures(counts: readonly Counts[], prefix = ""): Measure[] {
  const flat = new Float64Array(3 * counts.length);
  counts.forEach((c, i) => flat.set([c.truePositives, c.falsePositives, c.falseNegatives], 3 * i));
  const sumOf = (indices: Uint32Array): Counts => {
    const sum = { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
    for (let i = 0; i < indices.length; i++) {
      const at = 3 * uint32At(indices, i);
      sum.truePositives += float64At(flat, at);
      sum.falsePositives += float64At(flat, at + 1);
      sum.falseNegatives += float64At(flat, at + 2);
    }
    return sum;
  };
  return (["f1", "precision", "recall"] as const).map((ratio) => ({
    key: prefix ? `${ratio}_${prefix}` : ratio,
    name: `${prefix} ${ratio === "f1" ? "F1" : ratio}`.trim(),
    count: counts.length,
    counts,
    statistic: (indices: Uint32Array) => precisionRecall(sumOf(indices))[ratio],
  }));
}

/**
 * The counts of each item by itself, for micro averages. With one label per item and no negative label,
 * precision, recall and F1 are then the accuracy, but for missing answers.
 * @param negative the label that means "none of the others": as in the official scorers it is neither
 * found nor missed
 */
export function itemCounts({ gold, predicted }: Labelled, negative?: number): Counts[] {
  return Array.from(gold, (want, i) => {
    const got = nth(predicted, i);
    const right = got === want;
    return {
      truePositives: Number(right && want !== negative),
      falsePositives: Number(!right && got >= 0 && got !== negative),
      falseNegatives: Number(!right && want !== negative),
    };
  });
}

/** Precision, recall and F1 of every label or type, as bars of a page. */
export function ratioBars(
  title: string,
  header: [label: string, units: string],
  rows: readonly (PrecisionRecall & { name: string; units: number })[],
): Bars {
  return {
    title,
    header: [header[0], "F1", "precision", "recall", header[1]],
    rows: rows.map(({ name, precision, recall, f1, units }) => ({
      name,
      value: f1,
      cells: [f1.toFixed(4), precision.toFixed(4), recall.toFixed(4), units.toLocaleString("en")],
    })),
    most: 1,
  };
}
