/**
 * Runs beside each other: figures, measures with paired intervals against the first run, and what
 * differs in their configurations.
 * @module
 */
import { formatDuration } from "../../core/reporter.ts";
import {
  bootstrapInterval,
  formatInterval,
  type Interval,
  pairedBootstrap,
} from "../statistics/mod.ts";
import { flatten, type RunFile } from "../training/mod.ts";
import type { ComparedRun, ItemMeasure } from "./runs.ts";

/** A measure of one run, and how it differs from the first run's. */
export interface MeasuredRun {
  value: number;
  /** Over the items; NaN where there are none to draw from. */
  interval: Interval;
  /** After which step, where it is taken again and again. */
  step?: number;
  /** This run's less the first run's, over the items that both have; undefined where there are none. */
  difference?: { value: number; interval: Interval; p: number; items: number };
}

/** A measure of all runs. */
export interface ComparedMeasure {
  key: string;
  name: string;
  digits: number;
  /** What is resampled: "rows". */
  units: string;
  /** By run; undefined where a run has no such measure. */
  runs: (MeasuredRun | undefined)[];
}

/** What {@linkcode compareRuns} finds. */
export interface RunComparison {
  runs: ComparedRun[];
  measures: ComparedMeasure[];
  /** Settings that are not the same in all runs, with the value of each run. */
  configuration: { key: string; values: string[] }[];
}

const RESAMPLES = 2000;

/**
 * Compares runs with the first one.
 * @param seed of the bootstrap
 */
export function compareRuns(runs: ComparedRun[], seed: number): RunComparison {
  const keys = [...new Set(runs.flatMap(({ measures }) => measures.map(({ key }) => key)))];
  const measures = keys.flatMap((key): ComparedMeasure[] => {
    const own = runs.map((run) => run.measures.find((measure) => measure.key === key));
    const known = own.find((measure) => measure !== undefined);
    if (!known) return [];
    const { name, digits, items: { units } } = known;
    const compared = own.map((measure) => measure && measured(measure, own[0], seed));
    return [{ key, name, digits, units, runs: compared }];
  });
  return { runs, measures, configuration: configurationDifferences(runs) };
}

/** A measure with its interval, and beside the first run's. */
function measured(
  measure: ItemMeasure,
  first: ItemMeasure | undefined,
  seed: number,
): MeasuredRun {
  const { value, step, counts, statistic } = measure;
  const options = { resamples: RESAMPLES, seed };
  const found: MeasuredRun = {
    value,
    interval: bootstrapInterval(counts.size, statistic([...counts.values()]), options),
    ...step === undefined ? {} : { step },
  };
  const comparable = first && first !== measure && first.items.of === measure.items.of;
  if (!comparable) return found;
  const shared = [...counts.keys()].filter((item) => first.counts.has(item));
  if (shared.length < 2) return found;
  const pick = (from: ItemMeasure) =>
    from.statistic(shared.map((item) => from.counts.get(item) ?? []));
  const { difference, interval, pValue } = pairedBootstrap(
    shared.length,
    pick(measure),
    pick(first),
    options,
  );
  return { ...found, difference: { value: difference, interval, p: pValue, items: shared.length } };
}

/** The settings of a run by name, those of the model and the machine with them. */
function settingsOf({ record }: ComparedRun): Map<string, string> {
  const { init, corpus, task, parameters, sequence_length: tokens, device, versions } = record;
  return new Map([
    ["initial weights", init],
    ["corpus", corpus.path],
    ["corpus manifest", corpus.manifest_sha256.slice(0, 12)],
    ...task === undefined ? [] : [["task", task] as const],
    ["parameters", parameters.toLocaleString("en")],
    ["tokens per row", String(tokens)],
    ["device", device],
    ["program", versions.program],
    ...flatten(record.config satisfies RunFile["config"]).map(([key, value]) =>
      [key, value === "" ? "none" : String(value)] as const
    ),
  ]);
}

function configurationDifferences(runs: ComparedRun[]): RunComparison["configuration"] {
  const settings = runs.map(settingsOf);
  const keys = [...new Set(settings.flatMap((own) => [...own.keys()]))];
  return keys.flatMap((key) => {
    const values = settings.map((own) => own.get(key) ?? "–");
    return new Set(values).size > 1 ? [{ key, values }] : [];
  });
}

/**
 * The rows of the one table: figures, then measures with their differences from the first run, then the
 * settings that differ. The first cell names the row; then there is one for each run.
 */
export function comparisonRows({ runs, measures, configuration }: RunComparison): string[][] {
  const whole = (n: number) => Math.round(n).toLocaleString("en");
  const row = (name: string, cell: (run: ComparedRun) => string) => [name, ...runs.map(cell)];
  const lastLoss = ({ metrics }: ComparedRun) =>
    metrics.findLast(({ loss }) => Number.isFinite(loss))?.loss.toFixed(4) ?? "–";
  return [
    row("steps", ({ metrics }) => whole(metrics.at(-1)?.step ?? 0)),
    row("tokens", ({ figures }) => whole(figures.tokens)),
    row("training time", ({ figures }) => formatDuration(figures.seconds)),
    row("tokens/s", ({ figures }) => whole(figures.tokensPerSecond)),
    row("last training loss", lastLoss),
    ...measures.flatMap(measureRows),
    // The steps stand above already: what was taken, not what was set.
    ...configuration.filter(({ key }) => key !== "steps").map((
      { key, values },
    ) => [key, ...values]),
  ];
}

const signed = (value: number, digits: number) =>
  (value < 0 ? "-" : "+") + Math.abs(value).toFixed(digits);

function measureRows({ name, digits, units, runs }: ComparedMeasure): string[][] {
  const row = (label: string, cell: (run: MeasuredRun, index: number) => string) => [
    label,
    ...runs.map((run, i) => run ? cell(run, i) : "–"),
  ];
  const paired =
    (tell: (difference: NonNullable<MeasuredRun["difference"]>) => string) =>
    (run: MeasuredRun, index: number) =>
      run.difference ? tell(run.difference) : index === 0 ? "" : "not paired";
  const steps = runs.some((run) => run?.step !== undefined);
  const differs = runs.some((run) => run?.difference);
  return [
    row(name, ({ value }) => value.toFixed(digits)),
    row("  95%", ({ interval }) => formatInterval(interval, digits)),
    ...steps ? [row("  at step", ({ step }) => step?.toLocaleString("en") ?? "–")] : [],
    ...name === "validation loss"
      ? [row("  perplexity", ({ value }) => Math.exp(value).toFixed(2))]
      : [],
    row("  against the first", paired(({ value }) => signed(value, digits))),
    ...differs
      ? [
        row(
          "  95%, paired",
          paired(({ interval: { low, high } }) =>
            `${signed(low, digits)} to ${signed(high, digits)}`
          ),
        ),
        row("  p", paired(({ p }) => p.toFixed(4))),
        row(`  ${units} of both`, paired(({ items }) => items.toLocaleString("en"))),
      ]
      : [],
  ];
}

/** The comparison for programs. */
export function comparisonJson({ runs, measures, configuration }: RunComparison) {
  return {
    runs: runs.map(({ path, record, metrics, figures }, i) => ({
      run: path,
      ...record.task === undefined ? {} : { task: record.task },
      steps: metrics.at(-1)?.step ?? 0,
      tokens: figures.tokens,
      seconds: figures.seconds,
      tokens_per_second: figures.tokensPerSecond,
      loss: metrics.findLast(({ loss }) => Number.isFinite(loss))?.loss ?? null,
      measures: Object.fromEntries(
        measures.flatMap(({ key, runs: all }) => {
          const own = all[i];
          return own ? [[key, measureJson(own)]] : [];
        }),
      ),
    })),
    configuration: Object.fromEntries(configuration.map(({ key, values }) => [key, values])),
  };
}

function measureJson({ value, interval, step, difference }: MeasuredRun) {
  const ends = ({ low, high }: Interval) => Number.isNaN(low) ? null : [low, high];
  return {
    value,
    interval: ends(interval),
    ...step === undefined ? {} : { step },
    difference: difference
      ? {
        value: difference.value,
        interval: ends(difference.interval),
        p: difference.p,
        items: difference.items,
      }
      : null,
  };
}
