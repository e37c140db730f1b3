/** What is reported of the relations of sentences: micro and macro measures, and a row per label. @module */
import { nth } from "../../../core/nth.ts";
import { formatTable } from "../../../core/reporter.ts";
import {
  itemCounts,
  labelCounts,
  type Labelled,
  labelMeasures,
  precisionRecall,
  ratioBars,
  ratioMeasures,
} from "../core/classification.ts";
import { barsHtml } from "../../../core/page/mod.ts";
import type { Details } from "../core/report.ts";
import type { Measure } from "../core/task.ts";

/** Resamples; each goes over thousands of sentences several times. */
export const RESAMPLES = 2000;

/** Micro F1, precision and recall without the negative label; macro F1 and accuracy over all. */
export function relationMeasures(
  items: Labelled,
  labels: readonly string[],
  negative?: string,
): Measure[] {
  const left = negative === undefined ? undefined : labels.indexOf(negative);
  const [accuracy, macro] = labelMeasures(items, labels.length) as [Measure, Measure];
  return [...ratioMeasures(itemCounts(items, left), "micro"), macro, accuracy];
}

/** Precision, recall and F1 of every label. */
export function labelTable(
  items: Labelled,
  labels: readonly string[],
): Details {
  const rows = labelCounts(items, labels.length).map((counts, i) => ({
    label: nth(labels, i),
    support: counts.truePositives + counts.falseNegatives,
    ratios: precisionRecall(counts),
  }));
  return {
    text: formatTable(
      ["label", "precision", "recall", "F1", "sentences"],
      rows.map(({ label, support, ratios: { precision, recall, f1 } }) => [
        label,
        ...[precision, recall, f1].map((v) => v.toFixed(4)),
        String(support),
      ]),
    ),
    json: {
      labels: Object.fromEntries(
        rows.map(({ label, support, ratios }) => [label, { ...ratios, sentences: support }]),
      ),
    },
    html: [barsHtml(ratioBars(
      "By label",
      ["label", "sentences"],
      rows.map(({ label, support, ratios }) => ({ name: label, units: support, ...ratios })),
    ))],
  };
}
