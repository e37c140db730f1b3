/** Relations in words: labels of sentences from a system's file, and relations of whole documents. @module */
import { formatTable } from "../../../core/reporter.ts";
import {
  type Counts,
  labelCounts,
  type Labelled,
  macroF1,
  macroF1Of,
  precisionRecall,
} from "../core/classification.ts";
import { bootstrapInterval, type Interval } from "../../statistics/mod.ts";
import type { TaskReport } from "../core/task.ts";
import { sumCounts } from "./relations.ts";

const RESAMPLES = 2000;

const formatInterval = (i: Interval) => `${i.low.toFixed(4)} to ${i.high.toFixed(4)}`;

/**
 * Labels of sentences. With one label per sentence, micro F1 is the share of right labels. Macro F1
 * is over the gold file's labels: a label that only the system uses has no recall.
 * @param labels the gold file's first, then those that only the system uses
 * @param known how many of them are the gold file's
 */
export function reportSentences(
  items: Labelled,
  labels: readonly string[],
  known: number,
  seed: number,
): TaskReport {
  const count = items.gold.length;
  const counts = labelCounts(items, labels.length);
  const micro = precisionRecall(sumCounts(counts));
  const microInterval = bootstrapInterval(
    count,
    (indices) => precisionRecall(sumCounts(labelCounts(items, labels.length, indices))).f1,
    { resamples: RESAMPLES, seed },
  );
  const macro = macroF1(items, labels.length) * labels.length / known;
  const macroInterval = bootstrapInterval(
    count,
    (indices) => macroF1Of(items, labels.length)(indices) * labels.length / known,
    { resamples: RESAMPLES, seed },
  );
  const rows = counts.map((c, i) => {
    const { precision, recall, f1 } = precisionRecall(c);
    const support = c.truePositives + c.falseNegatives;
    return [labels[i]!, ...[precision, recall, f1].map((v) => v.toFixed(4)), "", String(support)];
  });
  const all = String(count);
  const { precision, recall, f1 } = micro;
  rows.push(
    ["macro", "", "", macro.toFixed(4), formatInterval(macroInterval), all],
    [
      "micro",
      ...[precision, recall, f1].map((v) => v.toFixed(4)),
      formatInterval(microInterval),
      all,
    ],
  );
  return {
    score: f1,
    notes: [],
    text: formatTable(
      ["label", "precision", "recall", "F1", "95% interval of F1", "sentences"],
      rows,
    ),
    json: {
      micro_f1: f1,
      macro_f1: macro,
      intervals: { micro_f1: microInterval, macro_f1: macroInterval },
      sentences: count,
      labels: Object.fromEntries(labels.map((l, i) => [l, precisionRecall(counts[i]!)])),
    },
  };
}

/** Relations of whole documents. */
export function reportDocuments(counts: Counts[], seed: number): TaskReport {
  const total = sumCounts(counts);
  const measures = precisionRecall(total);
  const interval = bootstrapInterval(
    counts.length,
    (indices) => precisionRecall(sumCounts(counts, indices)).f1,
    { seed },
  );
  const relations = total.truePositives + total.falseNegatives;
  return {
    score: measures.f1,
    notes: [],
    text: formatTable(
      ["precision", "recall", "F1", "95% interval of F1", "relations", "documents"],
      [[
        ...[measures.precision, measures.recall, measures.f1].map((v) => v.toFixed(4)),
        formatInterval(interval),
        String(relations),
        String(counts.length),
      ]],
    ),
    json: { ...measures, interval, relations, documents: counts.length },
  };
}
