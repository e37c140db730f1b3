/** Measures of entities and relations together. @module */
import { precisionRecall, ratioMeasures } from "../core/classification.ts";
import type { Counts, Measure } from "../core/task.ts";
import { compareEntities, entitiesOf, type Entity, sumEntityCounts } from "../ner/ner.ts";
import { type JointAnswer, NO_RELATION } from "./head.ts";
import { candidatePairs, type JointSentence, relationOf } from "./sentences.ts";

/** Which parts a model learned, and so is scored by. */
export type Parts = "joint" | "entities" | "relations";

/** What is found, made up and missed in one sentence. */
interface SentenceCounts {
  entities: Counts;
  /** Relations of the golden entities. */
  given: Counts;
  /** Relations with both of their entities, all three right. */
  found: Counts;
}

const bounds = ({ type, start, end }: Entity): string => `${start} ${end} ${type}`;

/** The counts of one sentence. */
function countSentence(
  { entities, relations }: JointSentence,
  { tags, given, found }: JointAnswer,
  pairs: ReadonlySet<string>,
): SentenceCounts {
  const said = entitiesOf(tags);
  const own: Counts = { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
  let reached = 0;
  candidatePairs(entities, pairs).forEach(({ first, second }, i) => {
    const right = relationOf(relations, first, second) ?? NO_RELATION;
    const answer = given[i] ?? NO_RELATION;
    if (right !== NO_RELATION) reached++;
    if (answer === right) {
      if (right !== NO_RELATION) own.truePositives++;
      return;
    }
    if (answer !== NO_RELATION) own.falsePositives++;
    if (right !== NO_RELATION) own.falseNegatives++;
  });
  // Relations between types that the model does not know as related are missed.
  own.falseNegatives += relations.length - reached;
  const keyOf = (list: readonly Entity[], type: string, first: number, second: number) => {
    const one = list[first];
    const other = list[second];
    if (!one || !other) return undefined;
    const both = pairs.has(`${other.type} > ${one.type}`) &&
      pairs.has(`${one.type} > ${other.type}`);
    const names = [bounds(one), bounds(other)];
    if (both) names.sort();
    return [...names, type].join("\t");
  };
  const gold = new Set(
    relations.flatMap((r) => keyOf(entities, r.type, r.first, r.second) ?? []),
  );
  const answered = new Set(found.flatMap((r) => keyOf(said, r.type, r.first, r.second) ?? []));
  const truePositives = [...answered].filter((key) => gold.has(key)).length;
  return {
    entities: sumEntityCounts([compareEntities([...entities], said)]),
    given: own,
    found: {
      truePositives,
      falsePositives: answered.size - truePositives,
      falseNegatives: gold.size - truePositives,
    },
  };
}

/** The counts of sentences. */
export const countSentences = (
  items: readonly JointSentence[],
  answers: readonly JointAnswer[],
  pairs: ReadonlySet<string>,
): SentenceCounts[] =>
  items.map((item, i) =>
    countSentence(item, answers[i] ?? { tags: [], given: [], found: [] }, pairs)
  );

/** The mean of the F1 of entities and that of relations, which chooses a joint model's checkpoint. */
function meanF1(counts: readonly SentenceCounts[]): Measure {
  const f1 = (part: "entities" | "given", indices: ArrayLike<number>) => {
    const sum: Counts = { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
    for (let i = 0; i < indices.length; i++) {
      const own = counts[indices[i] ?? 0]?.[part];
      if (!own) continue;
      sum.truePositives += own.truePositives;
      sum.falsePositives += own.falsePositives;
      sum.falseNegatives += own.falseNegatives;
    }
    return precisionRecall(sum).f1;
  };
  return {
    key: "f1_mean",
    name: "mean F1",
    count: counts.length,
    statistic: (indices) => (f1("entities", indices) + f1("given", indices)) / 2,
  };
}

/** The measures of the parts that a model has learned; the first one chooses its checkpoint. */
export function jointMeasures(counts: readonly SentenceCounts[], parts: Parts): Measure[] {
  const part = (which: keyof SentenceCounts, prefix: string) =>
    ratioMeasures(counts.map((c) => c[which]), prefix);
  const entities = part("entities", "entity");
  const given = part("given", "relation");
  if (parts === "entities") return entities;
  if (parts === "relations") return given;
  return [meanF1(counts), ...entities, ...given, ...part("found", "end-to-end")];
}
