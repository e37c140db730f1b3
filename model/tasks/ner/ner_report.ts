/** Entity-level results by type of entity. @module */
import { formatTable } from "../../../core/reporter.ts";
import { precisionRecall } from "../core/classification.ts";
import { type EntityCounts, sumEntityCounts } from "./ner.ts";

/** Resamples; each sums the counts of thousands of sentences. */
export const NER_RESAMPLES = 2000;

/** Precision, recall and F1 of every type of entity. */
export function typeTable(
  sentences: readonly EntityCounts[],
): { text: string; json: Record<string, unknown> } {
  const types = [...new Set(sentences.flatMap((s) => [...s.keys()]))].sort();
  const rows = types.map((type) => {
    const counts = sumEntityCounts(sentences, type);
    const entities = counts.truePositives + counts.falseNegatives;
    return { type, ...precisionRecall(counts), entities };
  });
  const all = sumEntityCounts(sentences);
  return {
    text: formatTable(
      ["type", "precision", "recall", "F1", "entities"],
      rows.map(({ type, precision, recall, f1, entities }) => [
        type,
        ...[precision, recall, f1].map((v) => v.toFixed(4)),
        String(entities),
      ]),
    ),
    json: {
      entities: all.truePositives + all.falseNegatives,
      types: Object.fromEntries(rows.map(({ type, ...measures }) => [type, measures])),
    },
  };
}
