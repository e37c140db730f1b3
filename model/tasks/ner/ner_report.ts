/** Entity-level results of one or more systems on the same sentences. @module */
import { formatTable } from "../../../core/reporter.ts";
import { precisionRecall } from "../core/classification.ts";
import type { Measured } from "../core/choices.ts";
import { type EntityCounts, entityF1Of, sumEntityCounts } from "./ner.ts";
import { bootstrapInterval, pairedBootstrap, type PairedComparison } from "../../statistics/mod.ts";

/** Resamples; each sums the counts of thousands of sentences. */
export const NER_RESAMPLES = 2000;

/** Measures of one entity type, or of all. */
export interface EntityMeasures {
  precision: number;
  recall: number;
  f1: Measured;
  /** Golden entities. */
  entities: number;
}

/** A system's measures: of all entities, and by type. */
export interface NerMeasures {
  all: EntityMeasures;
  types: Record<string, EntityMeasures>;
}

/** Measures of a system from its counts by sentence. */
export function measureNer(sentences: EntityCounts[], seed: number): NerMeasures {
  const types = [...new Set(sentences.flatMap((s) => [...s.keys()]))].sort();
  const measure = (type?: string): EntityMeasures => {
    const counts = sumEntityCounts(sentences, type);
    const { f1, ...rest } = precisionRecall(counts);
    const options = { resamples: NER_RESAMPLES, seed };
    const interval = bootstrapInterval(sentences.length, entityF1Of(sentences, type), options);
    const standardError = (interval.high - interval.low) / (2 * 1.96);
    const entities = counts.truePositives + counts.falseNegatives;
    return { ...rest, f1: { value: f1, interval, standardError }, entities };
  };
  return { all: measure(), types: Object.fromEntries(types.map((t) => [t, measure(t)])) };
}

/** Paired bootstrap of two systems' F1 over the same sentences. */
export function compareNer(
  sentences: EntityCounts[],
  base: EntityCounts[],
  seed: number,
): PairedComparison {
  const options = { resamples: NER_RESAMPLES, seed };
  return pairedBootstrap(sentences.length, entityF1Of(sentences), entityF1Of(base), options);
}

const cells = (m: EntityMeasures) => [
  ...[m.precision, m.recall, m.f1.value].map((v) => v.toFixed(4)),
  `${m.f1.interval.low.toFixed(4)} to ${m.f1.interval.high.toFixed(4)}`,
];

/** One system by type. */
export function formatNer({ all, types }: NerMeasures): string {
  const row = (name: string, m: EntityMeasures) => [name, ...cells(m), String(m.entities)];
  return formatTable(
    ["type", "precision", "recall", "F1", "95% of F1", "entities"],
    [...Object.entries(types).map(([name, m]) => row(name, m)), row("all", all)],
  );
}

/** Several systems, all types together. */
export function formatNerSystems(systems: { name: string; measures: NerMeasures }[]): string {
  return formatTable(
    ["system", "precision", "recall", "F1", "95% of F1"],
    systems.map(({ name, measures }) => [name, ...cells(measures.all)]),
  );
}

/** Measures for programs. */
export function nerJson({ all, types }: NerMeasures): Record<string, unknown> {
  const flat = ({ precision, recall, f1, entities }: EntityMeasures) => ({
    precision,
    recall,
    f1: f1.value,
    f1_interval: [f1.interval.low, f1.interval.high],
    entities,
  });
  const byType = Object.entries(types).map(([name, m]) => [name, flat(m)]);
  return { ...flat(all), types: Object.fromEntries(byType) };
}
