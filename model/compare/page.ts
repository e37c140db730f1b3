/** A comparison of runs as one page: curves over one another, and the table. @module */
import {
  type Chart,
  chartCards,
  type ChartColumns,
  chartControls,
  chartScripts,
  headingHtml,
  htmlPage,
  tableHtml,
} from "../../core/page/mod.ts";
import { stepsPerPointNote, thinOut } from "../report/mod.ts";
import type { StepMetrics } from "../training/mod.ts";
import { comparisonRows, type RunComparison } from "./compare.ts";

/** Points of a run's curve; each then stands for the mean of its steps. */
const MOST_POINTS = 1000;

/** What is drawn of the runs, each as a chart. */
const CURVES: {
  key: string;
  title: string;
  value(metrics: StepMetrics): number | undefined;
  smooth?: boolean;
  points?: boolean;
  logarithmic?: boolean;
}[] = [
  {
    key: "loss",
    title: "Training loss, nats per token",
    value: (m) => m.loss,
    smooth: true,
    logarithmic: true,
  },
  {
    key: "validation",
    title: "Validation loss, nats per token",
    value: (m) => m.validation_loss,
    points: true,
    logarithmic: true,
  },
  { key: "development", title: "Development score", value: (m) => devScore(m), points: true },
  { key: "learning_rate", title: "Learning rate", value: (m) => m.learning_rate },
  {
    key: "grad_norm",
    title: "Gradient norm before clipping",
    value: (m) => m.grad_norm,
    smooth: true,
    logarithmic: true,
  },
  {
    key: "tokens_per_second",
    title: "Throughput, tokens per second",
    value: (m) => m.tokens_per_second,
    smooth: true,
  },
];

/** The development score of a fine-tuning run, on the steps that end an epoch. */
function devScore(metrics: StepMetrics): number | undefined {
  const { dev_score: score } = metrics as StepMetrics & { dev_score?: number };
  return score;
}

/** The page. */
export function comparisonPage(comparison: RunComparison): string {
  const { runs } = comparison;
  const perStep = runs.map(({ metrics, figures }) => figures.tokens / (metrics.at(-1)?.step ?? 1));
  // Steps of different sizes are no measure of progress: tokens are then drawn against, too.
  const differ = perStep.some((tokens) => Math.abs(tokens - (perStep[0] ?? 0)) > 1);
  const axes = differ ? ["step", "tokens"] as const : ["step"] as const;
  const drawn = axes.flatMap((axis) =>
    CURVES.filter((_, i) => axis === "step" || i < 2).map((curve) =>
      drawCurve(comparison, curve, axis)
    )
  ).filter(({ chart }) => chart.series.length > 0);
  const charts = drawn.map(({ chart }) => chart);
  const columns: ChartColumns = Object.assign({}, ...drawn.map((one) => one.columns));
  const title = `${runs.map(({ name }) => name).join(", ")}`;
  const longest = Math.max(...runs.map(({ metrics }) => metrics.length));
  const body = [
    headingHtml(
      `Comparison of ${title}`,
      `${runs.length} runs compared; differences are from the first one, ${runs[0]?.name}`,
    ),
    "<h2>Training</h2>",
    chartControls(stepsPerPointNote(Math.ceil(longest / MOST_POINTS))),
    chartCards(charts),
    tableHtml({
      title: "Results, and what differs in the configurations",
      header: ["", ...runs.map(({ name }) => name)],
      rows: comparisonRows(comparison),
      note:
        "95% bootstrap intervals; differences are paired, over the rows or items that both runs were " +
        "scored on. Validation losses are the lowest of each run.",
    }),
  ].join("\n");
  return htmlPage(`Comparison of ${title}`, body, chartScripts(charts, columns));
}

/** One chart of all runs. Curves share one axis: the steps, or tokens, of any of them. */
function drawCurve(
  { runs }: RunComparison,
  { key, title, value, smooth, points, logarithmic }: (typeof CURVES)[number],
  axis: "step" | "tokens",
): { chart: Chart; columns: ChartColumns } {
  const told = runs.map(({ metrics }) => {
    const all = metrics.filter((m) => Number.isFinite(value(m) ?? NaN));
    return points ? all : thinOut(all, MOST_POINTS);
  });
  const places = [...new Set(told.flatMap((all) => all.map((m) => m[axis])))].sort((a, b) => a - b);
  const name = `${key}_${axis}`;
  const columns: ChartColumns = { [name]: places };
  const series = told.flatMap((all, i): Chart["series"] => {
    if (!all.length) return [];
    const known = new Map(all.map((m) => [m[axis], value(m) ?? null]));
    const column = `${name}_${i}`;
    columns[column] = places.map((place) => known.get(place) ?? null);
    return [{ column, label: runs[i]?.name ?? "", color: i, smooth, points }];
  });
  return {
    columns,
    chart: {
      id: name,
      title: axis === "tokens" ? `${title}, by tokens` : title,
      x: { column: name, label: axis },
      series,
      logarithmic,
    },
  };
}
