/**
 * Reports of any task, made of its scores: each system's measures with their intervals, the trivial
 * system and the base beside the model, paired tests, and sentences that say what follows from them.
 * @module
 */
import { fail } from "../../../core/errors.ts";
import { nth } from "../../../core/nth.ts";
import { formatTable } from "../../../core/reporter.ts";
import { type Highlight, type PageTable, tableHtml } from "../../../core/page/mod.ts";
import { errorPage, type JudgedItem } from "./error_page.ts";
import { countsJson } from "./classification.ts";
import { latexTable } from "./latex.ts";
import { exampleSections, measuresTable as measuresOf, shortName } from "./page.ts";
import { measureFields } from "./results_files.ts";
import {
  bootstrapInterval,
  formatInterval as formatWith,
  type Interval,
  mcNemar,
  type McNemarResult,
  pairedBootstrap,
  type PairedComparison,
  standardError,
} from "../../statistics/mod.ts";
import type {
  Measured,
  MeasuredSystem,
  ReportFile,
  ReportRequest,
  Score,
  SystemAnswers,
  TaskReport,
  TaskResults,
} from "./task.ts";

/** Two systems compared on the same items. */
interface Comparison {
  /** By the measure's key. */
  measures: Record<string, PairedComparison>;
  /** Where items are right or wrong as wholes. */
  mcNemar?: McNemarResult;
}

/** Every unit of a measure once. */
export function allUnits(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** Values, intervals and standard errors of all measures. */
export function measureScore(score: Score, seed: number): Record<string, Measured> {
  const { resamples } = score;
  return Object.fromEntries(score.measures.map(({ key, count, statistic, values }) => {
    const interval = bootstrapInterval(count, statistic, { resamples, seed });
    return [key, {
      value: statistic(allUnits(count)),
      interval,
      standardError: values ? standardError(values) : (interval.high - interval.low) / (2 * 1.96),
    }];
  }));
}

/** Paired tests of two systems that answered the same items. */
function compareScores(own: Score, other: Score, seed: number): Comparison {
  const { resamples } = own;
  const measures = Object.fromEntries(own.measures.flatMap(({ key, count, statistic }) => {
    const same = other.measures.find((m) => m.key === key);
    if (!same || count === 0) return [];
    return [[key, pairedBootstrap(count, statistic, same.statistic, { resamples, seed })]];
  }));
  const paired = own.right && other.right && mcNemar(own.right, other.right);
  return paired ? { measures, mcNemar: paired } : { measures };
}

/** The trivial system that a model has to beat, such as the majority's answer. */
export interface TrivialSystem {
  /** Under which it stands in the JSON. */
  key: string;
  /** As in the table: "always yes". */
  name: string;
  score: Score;
}

/** What a task's report is made of. */
export interface ReportParts<Item, Answer> {
  request: ReportRequest<Item, Answer>;
  /** The task's name, as in tables and file names. */
  name: string;
  /** What is counted: "questions". */
  units: string;
  score(answers: readonly Answer[]): Score;
  trivial?: TrivialSystem;
  notes?: string[];
  /** A further table of one system, such as one row per label. */
  details?(answers: readonly Answer[]): Details;
  /** How the task was put, for the harness's `configs`. */
  config: Record<string, unknown>;
  /** Of the first system. */
  samples(answers: readonly Answer[]): Record<string, unknown>[];
  files?: ReportFile[];
  /**
   * What the first system got wrong, and right ones worth showing, for the pages; nothing where the
   * task shows none.
   */
  judged?(answers: readonly Answer[]): JudgedItem[];
}

/** What a task tells of one system beyond its measures. */
export interface Details {
  /** For the terminal. */
  text: string;
  /** Its part of the JSON. */
  json: Record<string, unknown>;
  /** Sections of the page, as HTML. */
  html?: string[];
}

/** The report of a task. */
export function reportSystems<Item, Answer>(parts: ReportParts<Item, Answer>): TaskReport {
  const { request, name, units, trivial, details } = parts;
  const { data, seed, development } = request;
  const [own, ...others] = request.systems as [SystemAnswers<Answer>, ...SystemAnswers<Answer>[]];
  const measure = (key: string, systemName: string, score: Score): MeasuredSystem => ({
    key,
    name: systemName,
    score,
    measured: measureScore(score, seed),
  });
  const first = measure(own.role, own.name, parts.score(own.answers));
  const rest = others.map((s) => measure(s.role, s.name, parts.score(s.answers)));
  const floor = trivial && measure(trivial.key, trivial.name, trivial.score);
  const systems = [...floor ? [floor] : [], first, ...rest];
  const count = data.test.length;
  const comparisons = rest.map((other) => ({
    other,
    comparison: compareScores(first.score, other.score, seed),
  }));
  const against = (key: string) => comparisons.find(({ other }) => other.key === key)?.comparison;
  const above = floor && compareScores(first.score, floor.score, seed);
  const primary = first.score.measures[0] ?? fail(`${name} has no measure`);
  const own_details = details?.(own.answers);
  const text = [
    systemsTable(`${name}, ${count} ${units}`, systems),
    ...own_details ? [own_details.text] : [],
    ...comparisons.map(({ other, comparison }) =>
      comparisonText(first.score, other, comparison, units)
    ),
    own.role === "system" && !rest.length
      ? ""
      : verdict(first.score, against("base"), floor && above && { floor, above }),
  ].filter(Boolean).join("\n\n");
  const withBase = against("base");
  const withOther = against("other");
  const chosen = development
    ? { development: { step: development.step, [jsonName(primary.name)]: development.score } }
    : {};
  const more = {
    ...chosen,
    ...Object.fromEntries(
      systems.map((s) => [s.key, { name: s.name, ...flatJson(s) }]),
    ),
    ...withBase ? { comparison: comparisonJson(first.score, withBase) } : {},
    ...withOther ? { comparison_with_other: comparisonJson(first.score, withOther) } : {},
    ...above ? { comparison_with_trivial: comparisonJson(first.score, above) } : {},
    ...own_details?.json,
  };
  const fields: Record<string, unknown> = {};
  for (const { key } of first.score.measures) {
    Object.assign(fields, measureFields(key, measureOf(first, key)));
  }
  const results: TaskResults & { more: Record<string, unknown> } = {
    name,
    count,
    resamples: first.score.resamples,
    fields,
    config: parts.config,
    samples: withUnits(parts.samples(own.answers), first.score),
    more,
  };
  const judged = parts.judged?.(own.answers);
  return {
    systems,
    score: measureOf(first, primary.key).value,
    notes: parts.notes ?? [],
    text,
    latex: latexTable(`${name}, ${count} ${units}`, systems),
    json: { task: name, [units]: count, ...flatJson(first), ...more },
    results,
    page: {
      title: `${name}: ${shortName(own.name)}`,
      highlights: highlightsOf(first, `${units} asked`, count),
      sections: [
        tableHtml(measuresOf("Measures", systems)),
        ...comparisons.map(({ other, comparison }) =>
          tableHtml(comparisonTable(first.score, other, comparison))
        ),
        ...own_details?.html ?? [],
        ...judged ? exampleSections(judged, count) : [],
      ],
    },
    files: [
      ...parts.files ?? [],
      ...judged ? [errorPage(name, own.name, judged, count)] : [],
    ],
  };
}

/** The measures as a page shows them first. */
function highlightsOf({ score, measured }: MeasuredSystem, units: string, count: number) {
  const all = score.measures.flatMap(({ key, name }): Highlight[] => {
    const m = measured[key];
    if (!m) return [];
    return [{ value: m.value.toFixed(4), label: `${name}, 95% ${formatInterval(m.interval)}` }];
  });
  return [...all.slice(0, MOST_HIGHLIGHTS), { value: count.toLocaleString("en"), label: units }];
}

const MOST_HIGHLIGHTS = 5;

/** The differences between two systems as a table of the page. */
function comparisonTable(
  score: Score,
  other: MeasuredSystem,
  { measures, mcNemar: test }: Comparison,
): PageTable {
  const rows = score.measures.flatMap(({ key, name }) => {
    const c = measures[key];
    if (!c) return [];
    const { low, high } = c.interval;
    return [[name, signed(c.difference), `${signed(low)} to ${signed(high)}`, formatP(c.pValue)]];
  });
  if (test) {
    rows.push([
      "McNemar's test of whole items",
      `${test.onlyFirst} right only here, ${test.onlySecond} only there`,
      "",
      formatP(test.pValue),
    ]);
  }
  return {
    title: `Against ${other.key === "base" ? "its base" : other.name}`,
    header: ["measure", "difference", "95% interval", "p"],
    rows,
    note: "Of the same items: a paired bootstrap.",
  };
}

/** Lines of samples with what the measures count of each, so that runs can be compared later. */
function withUnits(samples: Record<string, unknown>[], score: Score): Record<string, unknown>[] {
  const ratio = score.measures.find((m) => m.counts?.length === samples.length);
  const counts = ratio?.counts;
  if (!counts) return samples;
  return samples.map((sample, i) => ({ ...sample, counts: countsJson(counts[i]) }));
}

/** A measure's name in JSON: "macro F1" is macro_f1. */
function jsonName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
}

/** What a system reached in a measure. */
const measureOf = ({ name, measured }: MeasuredSystem, key: string): Measured =>
  measured[key] ?? fail(`${name} was not measured in ${key}`);

/** A system's measures for programs. */
function flatJson(system: MeasuredSystem): Record<string, unknown> {
  return Object.fromEntries(system.score.measures.flatMap(({ key, name }): [string, unknown][] => {
    const { value, interval } = measureOf(system, key);
    return [[jsonName(name), value], [`${jsonName(name)}_interval`, [interval.low, interval.high]]];
  }));
}

function comparisonJson(score: Score, { measures, mcNemar: test }: Comparison) {
  const named = score.measures.flatMap(({ key, name }): [string, unknown][] => {
    const c = measures[key];
    if (!c) return [];
    const { difference, interval, pValue } = c;
    return [[jsonName(name), { difference, interval: [interval.low, interval.high], p: pValue }]];
  });
  return {
    ...Object.fromEntries(named),
    ...test
      ? { mcnemar: { only_model: test.onlyFirst, only_base: test.onlySecond, p: test.pValue } }
      : {},
  };
}

/** An interval as tables show it. */
function formatInterval(interval: Interval): string {
  return formatWith(interval, 4);
}

/** An interval where room is scarce. */
const shortInterval = ({ low, high }: Interval) => `${low.toFixed(4)}-${high.toFixed(4)}`;

/** More measures than these make rows of measures instead of rows of systems. */
const MOST_COLUMNS = 3;

/** All systems with all measures: a row per system, or per measure where there are many of them. */
function systemsTable(title: string, systems: readonly MeasuredSystem[]): string {
  const [{ score: { measures } }] = systems as [MeasuredSystem];
  if (measures.length > MOST_COLUMNS) return measuresTable(title, systems);
  const shown = measures.length === MOST_COLUMNS ? shortInterval : formatInterval;
  return formatTable(
    [title, ...measures.flatMap(({ name }) => [name, "95%"])],
    systems.map((system) => [
      system.name,
      ...measures.flatMap(({ key }) => {
        const m = measureOf(system, key);
        return [m.value.toFixed(4), shown(m.interval)];
      }),
    ]),
  );
}

function measuresTable(title: string, systems: readonly MeasuredSystem[]): string {
  const [{ score: { measures } }] = systems as [MeasuredSystem];
  // Measures of questions of several kinds tell how many there are of each.
  const differ = measures.some(({ count }) => count !== nth(measures, 0).count);
  // Long names, such as folders, stand above the table; their columns are headed by their part.
  const named = systems.filter(({ key, name }) =>
    key !== "system" && name.length > LONGEST_HEADING
  );
  const table = formatTable(
    [
      "measure",
      ...systems.flatMap((s) => [named.includes(s) ? s.key : heading(s), "95%"]),
      ...differ ? ["of"] : [],
    ],
    measures.map(({ key, name, count }) => [
      name,
      ...systems.flatMap((system) => {
        const m = measureOf(system, key);
        return [m.value.toFixed(4), count ? shortInterval(m.interval) : "-"];
      }),
      ...differ ? [String(count)] : [],
    ]),
  );
  if (!named.length) return table;
  return [`${title}: ${named.map(({ key, name }) => `${key} ${name}`).join(", ")}`, table]
    .join("\n\n");
}

const heading = ({ key, name }: MeasuredSystem) => key === "system" ? key : name;

const LONGEST_HEADING = 12;

const signed = (value: number) => (value < 0 ? "" : "+") + value.toFixed(4);

const formatP = (p: number) => p < 0.0001 ? p.toExponential(1) : p.toFixed(4);

/** The differences in words. */
function comparisonText(
  score: Score,
  other: MeasuredSystem,
  { measures, mcNemar: test }: Comparison,
  units: string,
): string {
  const whom = other.key === "base" ? "its base" : other.name;
  const differences = score.measures.flatMap(({ key, name }) => {
    const c = measures[key];
    if (!c) return [];
    const { low, high } = c.interval;
    return [
      `${name} ${signed(c.difference)} (95% ${signed(low)} to ${signed(high)}, ` +
      `p = ${formatP(c.pValue)})`,
    ];
  });
  const items = test
    ? [
      `McNemar p = ${formatP(test.pValue)} (${test.onlyFirst} ${units} right only here, ` +
      `${test.onlySecond} only there)`,
    ]
    : [];
  const all = [...differences, ...items];
  return all.length > 2
    ? `Against ${whom}:\n  ${all.join("\n  ")}`
    : `Against ${whom}: ${all.join(", ")}`;
}

/** What the first measure says against the base, and against the trivial system. */
function verdict(
  { measures: [primary] }: Score,
  base: Comparison | undefined,
  trivial: { floor: MeasuredSystem; above: Comparison } | undefined,
): string {
  const { key } = primary ?? fail("a score has one measure at least");
  const sign = (comparison: Comparison | undefined) => {
    const interval = comparison?.measures[key]?.interval;
    if (!interval) return undefined;
    return interval.low > 0 ? 1 : interval.high < 0 ? -1 : 0;
  };
  const againstBase = sign(base);
  const againstTrivial = sign(trivial?.above);
  const floor = trivial ? `the trivial system (${trivial.floor.name})` : "";
  const sentences = [
    againstBase === undefined
      ? ""
      : againstBase > 0
      ? "It is better than its base."
      : againstBase < 0
      ? "It is worse than its base."
      : "This does not show a difference from its base.",
    againstTrivial === undefined
      ? ""
      : againstTrivial > 0
      ? `It is better than ${floor}.`
      : againstTrivial < 0
      ? `It is worse than ${floor}.`
      : `This does not show that it is better than ${floor}.`,
  ];
  if (againstBase === 1 && againstTrivial !== undefined && againstTrivial < 1) {
    // The first sentence alone would sound like success.
    return `It is better than its base, but ${
      againstTrivial < 0 ? "worse than" : "this does not show that it is better than"
    } ${floor}.`;
  }
  return sentences.filter(Boolean).join(" ");
}
