/**
 * What a set came to: every system's measures with their intervals, over the seeds of its runs, and the
 * paired difference from the base and from the trivial system. Wins, ties and losses are counted as
 * Jeong et al. count them ("The Limited Impact of Medical Adaptation of Large Language and
 * Vision-Language Models", 2024): a win where the 95% interval of the paired difference lies above 0, a
 * loss where it lies below, else a tie.
 * @module
 */
import { allUnits } from "../core/report.ts";
import type { Score } from "../core/task.ts";
import {
  bootstrapInterval,
  DEFAULT_RESAMPLES,
  type Interval,
  pairedBootstrap,
  type Spread,
  spreadOf,
  type Statistic,
} from "../../statistics/mod.ts";

/** How a system came to its answers. */
export type RowKind = "trivial" | "system" | "asked" | "taught";

/** One system's scores on a set. */
export interface ScoredSystem {
  kind: RowKind;
  /** The model's name, the system's, or what the trivial system does. */
  name: string;
  /** One per seed; one alone where nothing is drawn. */
  scores: Score[];
  /** Of a model that was taught: what the search chose. */
  learningRate?: number;
  /** Its score on the development split, for the chosen setting. */
  development?: number;
}

/** One measure of a system. */
export interface RowMeasure {
  key: string;
  name: string;
  /** The mean over the seeds. */
  value: number;
  /** Percentile bootstrap over questions, sentences or documents; undefined where there are too few. */
  interval?: Interval;
  /** What was resampled. */
  count: number;
}

/** A paired difference from another system. */
export interface Difference {
  /** Whom it is compared with. */
  from: string;
  difference: number;
  interval: Interval;
  p: number;
  outcome: Outcome;
}

/** What a paired difference says. */
export type Outcome = "win" | "tie" | "loss";

/** A row of the table. */
export interface Row {
  kind: RowKind;
  name: string;
  /** The first one is the set's main measure. */
  measures: RowMeasure[];
  /** Of the main measure, where there are several seeds. */
  spread?: Spread;
  seeds: number;
  learningRate?: number;
  development?: number;
  /** Of the main measure: from the base, as it was asked or taught. */
  againstBase?: Difference;
  /** Of the main measure. */
  againstTrivial?: Difference;
}

/** A set's rows. */
export interface SetSummary {
  id: string;
  task: string;
  place: string;
  /** As in "940 sentences". */
  count: number;
  units: string;
  /** What there is to know about how the data were read, such as a split that was drawn. */
  notes: readonly string[];
  rows: Row[];
}

/** The mean over seeds of a measure as one statistic, so that resamples are the same for all seeds. */
export function overSeeds(scores: readonly Score[], key: string): Statistic | undefined {
  const statistics = scores.flatMap((score) =>
    score.measures.filter((m) => m.key === key).map((m) => m.statistic)
  );
  if (!statistics.length || statistics.length < scores.length) return undefined;
  if (statistics.length === 1) return statistics[0];
  return (indices) =>
    statistics.reduce((sum, statistic) => sum + statistic(indices), 0) / statistics.length;
}

/** How a difference counts. */
export function outcomeOf({ low, high }: Interval): Outcome {
  return low > 0 ? "win" : high < 0 ? "loss" : "tie";
}

/** The row of a system, with its differences from the base and the trivial system. */
export function rowOf(
  system: ScoredSystem,
  base: ScoredSystem | undefined,
  trivial: ScoredSystem | undefined,
  seed: number,
): Row {
  const { kind, name, scores, learningRate, development } = system;
  const [first] = scores;
  if (!first) throw new RangeError(`The system ${name} has no scores`);
  const resamples = first.resamples ?? DEFAULT_RESAMPLES;
  const measures = first.measures.map(({ key, name, count }): RowMeasure => {
    const statistic = overSeeds(scores, key);
    if (!statistic) throw new RangeError(`The measure ${key} is not there for every seed`);
    const interval = bootstrapInterval(count, statistic, { resamples, seed });
    const value = statistic(allUnits(count));
    return { key, name, value, count, ...(Number.isNaN(interval.low) ? {} : { interval }) };
  });
  const [primary] = first.measures;
  const valuesOfSeeds = primary === undefined ? [] : scores.map((score) => {
    const statistic = overSeeds([score], primary.key);
    return statistic ? statistic(allUnits(primary.count)) : NaN;
  });
  const against = (other: ScoredSystem | undefined): Difference | undefined => {
    if (!other || !primary || primary.count < 2 || other === system) return undefined;
    const own = overSeeds(scores, primary.key);
    const theirs = overSeeds(other.scores, primary.key);
    if (!own || !theirs) return undefined;
    const { difference, interval, pValue } = pairedBootstrap(primary.count, own, theirs, {
      resamples,
      seed,
    });
    return { from: other.name, difference, interval, p: pValue, outcome: outcomeOf(interval) };
  };
  const againstBase = against(base);
  const againstTrivial = against(trivial);
  return {
    kind,
    name,
    measures,
    seeds: scores.length,
    ...(scores.length > 1 ? { spread: spreadOf(valuesOfSeeds) } : {}),
    ...(learningRate === undefined ? {} : { learningRate }),
    ...(development === undefined ? {} : { development }),
    ...(againstBase ? { againstBase } : {}),
    ...(againstTrivial ? { againstTrivial } : {}),
  };
}

/**
 * All rows of a set. A model that was asked is compared with the base as it was asked (as it was taught,
 * where the base is only taught), one that was taught with the base as it was taught, and a system from a
 * file with the base as it was taught, or else asked.
 */
export function rowsOf(
  systems: readonly ScoredSystem[],
  baseName: string | undefined,
  seed: number,
): Row[] {
  const trivial = systems.find(({ kind }) => kind === "trivial");
  const baseOf = (kind: RowKind) => systems.find((s) => s.kind === kind && s.name === baseName);
  return systems.map((system) => {
    const { kind } = system;
    const base = kind === "trivial"
      ? undefined
      : kind === "system"
      ? baseOf("taught") ?? baseOf("asked")
      // A task that models are only taught can still be put to a model of another kind in words.
      : baseOf(kind) ?? (kind === "asked" ? baseOf("taught") : undefined);
    return rowOf(system, base, kind === "trivial" ? undefined : trivial, seed);
  });
}

/** How often a model won, tied and lost against its base. */
export interface Tally {
  name: string;
  kind: RowKind;
  win: number;
  tie: number;
  loss: number;
}

/** Counts over all sets, by model and by how it came to its answers. */
export function tally(sets: readonly SetSummary[]): Tally[] {
  const tallies = new Map<string, Tally>();
  for (const { kind, name, againstBase } of sets.flatMap((set) => set.rows)) {
    if (!againstBase) continue;
    const key = `${kind} ${name}`;
    const own = tallies.get(key) ?? { name, kind, win: 0, tie: 0, loss: 0 };
    own[againstBase.outcome]++;
    tallies.set(key, own);
  }
  return [...tallies.values()];
}
