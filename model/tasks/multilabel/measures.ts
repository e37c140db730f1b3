/**
 * Measures of texts that have any number of labels. Micro averages count every label of every text
 * alike; the macro F1 is the mean over labels that occur in the gold; the F1 of examples is BLUE's for
 * the Hallmarks of Cancer (Peng et al. 2019): the harmonic mean of the texts' mean precision and mean
 * recall. Sentences of one document can be put together first, as BLUE and BLURB score that set.
 * @module
 */
import { precisionRecall, ratioMeasures } from "../core/classification.ts";
import type { Counts, Measure } from "../core/task.ts";

/** The labels of one text: golden ones and predicted ones, by their numbers. */
export interface LabelSets {
  gold: ReadonlySet<number>;
  predicted: ReadonlySet<number>;
}

const shared = ({ gold, predicted }: LabelSets): number =>
  [...predicted].filter((label) => gold.has(label)).length;

/** The counts of one text over all labels. */
function countsOf(sets: LabelSets): Counts {
  const truePositives = shared(sets);
  return {
    truePositives,
    falsePositives: sets.predicted.size - truePositives,
    falseNegatives: sets.gold.size - truePositives,
  };
}

/** The counts of every label, over all texts or over a resample of them. */
export function countsByLabel(
  sets: readonly LabelSets[],
  labels: number,
  indices?: ArrayLike<number>,
): Counts[] {
  const counts = Array.from(
    { length: labels },
    (): Counts => ({ truePositives: 0, falsePositives: 0, falseNegatives: 0 }),
  );
  const length = indices ? indices.length : sets.length;
  for (let i = 0; i < length; i++) {
    const own = sets[indices ? indices[i] ?? 0 : i];
    if (!own) continue;
    for (const label of own.predicted) {
      const of = counts[label];
      if (!of) continue;
      if (own.gold.has(label)) of.truePositives++;
      else of.falsePositives++;
    }
    for (const label of own.gold) {
      const of = counts[label];
      if (of && !own.predicted.has(label)) of.falseNegatives++;
    }
  }
  return counts;
}

/** The mean F1 of the labels that occur in the gold. */
function macroF1(
  sets: readonly LabelSets[],
  labels: number,
  indices: ArrayLike<number>,
): number {
  const present = countsByLabel(sets, labels, indices)
    .filter((c) => c.truePositives + c.falseNegatives > 0);
  if (!present.length) return 0;
  return present.reduce((sum, c) => sum + precisionRecall(c).f1, 0) / present.length;
}

/**
 * The harmonic mean of mean precision and mean recall of texts. A text without golden labels has full
 * recall, and full precision where none is predicted; where some are, both are 0.
 */
function exampleF1(sets: readonly LabelSets[], indices: ArrayLike<number>): number {
  let precision = 0;
  let recall = 0;
  for (let i = 0; i < indices.length; i++) {
    const own = sets[indices[i] ?? 0];
    if (!own) continue;
    const { gold, predicted } = own;
    if (!gold.size) {
      const right = Number(!predicted.size);
      precision += right;
      recall += right;
      continue;
    }
    const both = shared(own);
    precision += predicted.size ? both / predicted.size : 0;
    recall += both / gold.size;
  }
  return precision + recall === 0
    ? 0
    : 2 * precision * recall / ((precision + recall) * indices.length);
}

/** Whether a text has all of its labels and no other. */
export const isExact = (sets: LabelSets): boolean =>
  sets.gold.size === sets.predicted.size && shared(sets) === sets.gold.size;

/** Micro F1, precision and recall, macro F1, the F1 of examples, and the share that is all right. */
export function labelSetMeasures(
  sets: readonly LabelSets[],
  labels: number,
  of = "",
): Measure[] {
  const count = sets.length;
  const key = (name: string) => of ? `${of}_${name}` : name;
  const named = (name: string) => of ? `${of} ${name}` : name;
  const [f1, precision, recall] = ratioMeasures(sets.map(countsOf), "micro");
  const micro = [f1, precision, recall].flatMap((measure) =>
    measure ? [{ ...measure, key: key(measure.key), name: named(measure.name) }] : []
  );
  const exact = sets.map((own) => Number(isExact(own)));
  return [
    ...micro,
    {
      key: key("f1_macro"),
      name: named("macro F1"),
      count,
      statistic: (indices) => macroF1(sets, labels, indices),
    },
    {
      key: key("f1_examples"),
      name: named("F1 of examples"),
      count,
      statistic: (indices) => exampleF1(sets, indices),
    },
    {
      key: key("exact"),
      name: named("all labels right"),
      count,
      statistic: (indices) => {
        let sum = 0;
        for (const i of indices) sum += exact[i] ?? 0;
        return indices.length ? sum / indices.length : 0;
      },
      values: exact,
    },
  ];
}

/** The labels of documents: those of their texts together; in the order of the first texts. */
export function byDocument(
  sets: readonly LabelSets[],
  documents: readonly (string | undefined)[],
): LabelSets[] {
  const all = new Map<string, { gold: Set<number>; predicted: Set<number> }>();
  sets.forEach(({ gold, predicted }, i) => {
    const name = documents[i] ?? `text ${i}`;
    const own = all.get(name) ?? { gold: new Set<number>(), predicted: new Set<number>() };
    gold.forEach((label) => own.gold.add(label));
    predicted.forEach((label) => own.predicted.add(label));
    all.set(name, own);
  });
  return [...all.values()];
}
