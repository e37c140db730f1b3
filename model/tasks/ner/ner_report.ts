/** Entity-level results by type of entity. @module */
import { formatTable } from "../../../core/reporter.ts";
import { barsHtml, escapeHtml, matrixHtml, namedLines } from "../../../core/page/mod.ts";
import { precisionRecall, ratioBars } from "../core/classification.ts";
import type { Details } from "../core/report.ts";
import {
  entitiesOf,
  type Entity,
  type EntityCounts,
  sumEntityCounts,
  type TaggedSentence,
} from "./ner.ts";

/** Resamples; each sums the counts of thousands of sentences. */
export const NER_RESAMPLES = 2000;

/** Precision, recall and F1 of every type of entity. */
export function typeTable(
  sentences: readonly EntityCounts[],
): Details {
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
    html: [barsHtml(ratioBars(
      "By type of entity",
      ["type", "entities"],
      rows.map(({ type, entities, ...ratios }) => ({ name: type, units: entities, ...ratios })),
    ))],
  };
}

/**
 * A sentence with its golden and its predicted entities marked, for the pages.
 * @param types predictions of other types are not shown; all are by default
 */
export function markedSentence(
  { tokens, tags }: TaggedSentence,
  predicted: readonly string[],
  types?: readonly string[],
): string {
  const gold = entitiesOf(tags);
  const found = entitiesOf(predicted).filter((e) => types?.includes(e.type) ?? true);
  const same = (a: Entity) => (b: Entity) =>
    a.start === b.start && a.end === b.end && a.type === b.type;
  const mark = (entities: readonly Entity[], others: readonly Entity[], otherwise: string) => {
    const parts: string[] = [];
    let at = 0;
    for (const entity of entities) {
      parts.push(...tokens.slice(at, entity.start).map(escapeHtml));
      const kind = others.some(same(entity)) ? "right" : otherwise;
      const words = escapeHtml(tokens.slice(entity.start, entity.end).join(" "));
      const type = escapeHtml(entity.type);
      parts.push(`<mark class="${kind}">${words}<small>${type}</small></mark>`);
      at = entity.end;
    }
    return [...parts, ...tokens.slice(at).map(escapeHtml)].join(" ");
  };
  return namedLines([
    ["gold", mark(gold, found, "missed")],
    ["predicted", mark(found, gold, "wrong")],
  ]);
}

/** How often entities of each type were given each type. */
interface TypeConfusion {
  /** Of the rows; the last, "none", is of predictions where there is no entity of these bounds. */
  gold: string[];
  /** Of the columns; the last, "none", is of entities that were not found with these bounds. */
  predicted: string[];
  matrix: number[][];
}

/** The confusion of types as a section of a page. */
export function confusionSection(confusion: TypeConfusion): string {
  return matrixHtml(
    "Types where the bounds are right",
    confusion,
    'The row "none" is of what was found where there is nothing, the column "none" of what was not ' +
      "found with its bounds.",
  );
}

/** Compares types where the bounds are equal. */
export function typeConfusion(
  sentences: readonly TaggedSentence[],
  predicted: readonly (readonly string[])[],
  types?: readonly string[],
): TypeConfusion {
  const cells = new Map<string, number>();
  const names = new Set<string>();
  const count = (gold: string, said: string) => {
    const key = `${gold}\t${said}`;
    cells.set(key, (cells.get(key) ?? 0) + 1);
    for (const name of [gold, said]) if (name !== NONE) names.add(name);
  };
  sentences.forEach(({ tags }, i) => {
    const at = (e: Entity) => `${e.start} ${e.end}`;
    const found = entitiesOf(predicted[i] ?? []).filter((e) => types?.includes(e.type) ?? true);
    const left = new Map(found.map((e) => [at(e), e.type]));
    for (const entity of entitiesOf(tags)) {
      count(entity.type, left.get(at(entity)) ?? NONE);
      left.delete(at(entity));
    }
    for (const type of left.values()) count(NONE, type);
  });
  const all = [...[...names].sort(), NONE];
  const matrix = all.map((gold) => all.map((said) => cells.get(`${gold}\t${said}`) ?? 0));
  return { gold: all, predicted: all, matrix };
}

const NONE = "none";
