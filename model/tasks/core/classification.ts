/** Measures of classification by label: accuracy, F1 by label, macro and micro. @module */
import type { Statistic } from "../../statistics/mod.ts";

/** Gold and predicted label numbers of the same items; a prediction of -1 is "no answer". */
export interface Labelled {
  gold: ArrayLike<number>;
  predicted: ArrayLike<number>;
}

/** Share of items whose prediction is right; missing answers are wrong. */
export function accuracy({ gold, predicted }: Labelled, indices?: ArrayLike<number>): number {
  const count = (indices ?? gold).length;
  let right = 0;
  for (let i = 0; i < count; i++) {
    const item = indices ? indices[i]! : i;
    if (gold[item] === predicted[item]) right++;
  }
  return count === 0 ? 0 : right / count;
}

/** True positives, false positives and false negatives. */
export interface Counts {
  /** Found, and right. */
  truePositives: number;
  /** Found, but wrong. */
  falsePositives: number;
  /** Not found. */
  falseNegatives: number;
}

/** Precision, recall and F1; each 0 where its denominator is 0, as scikit-learn's default. */
export interface PrecisionRecall {
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

/** The counts of every label, 0 to `labels` - 1. */
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
    const item = indices ? indices[i]! : i;
    const want = gold[item]!;
    const got = predicted[item]!;
    if (want === got) {
      counts[want]!.truePositives++;
    } else {
      counts[want]!.falseNegatives++;
      if (got >= 0) counts[got]!.falsePositives++;
    }
  }
  return counts;
}

/** The unweighted mean of the labels' F1. */
export function macroF1(items: Labelled, labels: number, indices?: ArrayLike<number>): number {
  const counts = labelCounts(items, labels, indices);
  return counts.reduce((sum, c) => sum + precisionRecall(c).f1, 0) / labels;
}

/** Accuracy as a statistic to resample. */
export function accuracyOf(items: Labelled): Statistic {
  return (indices) => accuracy(items, indices);
}

/** Macro F1 as a statistic to resample. */
export function macroF1Of(items: Labelled, labels: number): Statistic {
  return (indices) => macroF1(items, labels, indices);
}
