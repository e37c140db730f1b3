/**
 * A run as one HTML file that needs nothing else: its curves, its figures, what the model wrote.
 * @module
 */
import {
  type Chart,
  chartCards,
  chartControls,
  chartScripts,
  escapeHtml,
  headingHtml,
  type Highlight,
  htmlPage,
  type PageTable,
  tableHtml,
  tilesHtml,
} from "../../core/page/mod.ts";
import { type StepMetrics } from "../training/mod.ts";

/** Text that the model wrote. */
export interface ReportSample {
  /** What it was given. */
  prompt: string;
  /** How it went on. */
  text: string;
}

/** What a report shows; parts that are empty are left out of the page. */
export interface ReportData {
  /** The page's heading. */
  title: string;
  /** One line under the title: model, device, corpus. */
  subtitle: string;
  /** The figures to see first. */
  highlights: Highlight[];
  /** By ascending step. */
  metrics: StepMetrics[];
  /** In the order of the page. */
  tables: PageTable[];
  /** In the order of the page. */
  samples: ReportSample[];
}

/** Curves are drawn from at most so many points; each then stands for the mean of its steps. */
const MAX_POINTS = 4000;

/** The report as one self-contained HTML page. */
export function reportHtml(data: ReportData): string {
  const points = thinOut(data.metrics, MAX_POINTS);
  const stepsPerPoint = Math.ceil(data.metrics.length / MAX_POINTS);
  const body = [
    headingHtml(data.title, data.subtitle),
    tilesHtml(data.highlights),
    points.length ? curveCards(stepsPerPoint) : "",
    samples(data.samples),
    ...data.tables.map(tableHtml),
  ].join("\n");
  return htmlPage(data.title, body, points.length ? curveScripts(curveColumns(points)) : "");
}

/** Averages runs of consecutive steps so that at most `most` points are left; the last step stays. */
export function thinOut(metrics: StepMetrics[], most: number): StepMetrics[] {
  if (metrics.length <= most) return metrics;
  const size = Math.ceil(metrics.length / most);
  const out: StepMetrics[] = [];
  for (let at = 0; at < metrics.length; at += size) {
    const group = metrics.slice(at, at + size);
    const last = group.at(-1);
    if (!last) break;
    // Of those that are finite: a step left out must not leave a gap in the curve.
    const mean = (key: "loss" | "learning_rate" | "grad_norm" | "tokens_per_second") => {
      const values = group.map((m) => m[key]).filter(Number.isFinite);
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    };
    out.push({
      step: last.step,
      tokens: last.tokens,
      loss: mean("loss"),
      learning_rate: mean("learning_rate"),
      grad_norm: mean("grad_norm"),
      tokens_per_second: mean("tokens_per_second"),
      validation_loss: group.findLast((m) => m.validation_loss !== undefined)?.validation_loss,
    });
  }
  return out;
}

/** The curves of a run. */
const CURVES: Chart[] = [
  {
    id: "loss",
    title: "Loss, nats per token",
    x: { column: "step", label: "step" },
    series: [
      { column: "loss", label: "loss", color: 0, smooth: true },
      { column: "validation", label: "validation", color: 1, points: true, optional: true },
    ],
    logarithmic: true,
  },
  {
    id: "learning_rate",
    title: "Learning rate",
    x: { column: "step", label: "step" },
    series: [{ column: "learning_rate", label: "learning rate", color: 2 }],
  },
  {
    id: "grad_norm",
    title: "Gradient norm before clipping",
    x: { column: "step", label: "step" },
    series: [{ column: "grad_norm", label: "gradient norm", color: 1 }],
    logarithmic: true,
  },
  {
    id: "tokens_per_second",
    title: "Throughput, tokens per second",
    x: { column: "step", label: "step" },
    series: [{ column: "tokens_per_second", label: "tokens/s", color: 0 }],
    fromZero: true,
  },
];

/** The places that {@linkcode curveScripts} draw in, as HTML. */
export function curveCards(stepsPerPoint: number): string {
  return `<h2>Training</h2>
${chartControls(stepsPerPointNote(stepsPerPoint))}
${chartCards(CURVES)}`;
}

/** What is said where a point stands for more than one step. */
export function stepsPerPointNote(stepsPerPoint: number): string {
  return stepsPerPoint > 1 ? `each point is the mean of ${stepsPerPoint} steps` : "";
}

function samples(all: ReportSample[]): string {
  if (!all.length) return "";
  const cards = all.map(({ prompt, text }) =>
    `<div class="card"><p class="sample"><mark>${escapeHtml(prompt)}</mark>${
      escapeHtml(text)
    }</p></div>`
  );
  return `<h2>What the model wrote</h2>\n<div class="charts">${cards.join("\n")}</div>`;
}

/** Metrics by column, as the page's scripts take them. */
export type CurveColumns = Record<string, (number | null)[]>;

/** The columns that are drawn. */
export function curveColumns(points: StepMetrics[]): CurveColumns {
  // JSON has no infinities; a gap in the curve stands for them.
  const column = (key: keyof StepMetrics) =>
    points.map(({ [key]: value }) => value !== undefined && Number.isFinite(value) ? value : null);
  return {
    step: column("step"),
    loss: column("loss"),
    validation: column("validation_loss"),
    tokens: column("tokens"),
    learning_rate: column("learning_rate"),
    grad_norm: column("grad_norm"),
    tokens_per_second: column("tokens_per_second"),
  };
}

/** Script elements that draw columns in {@linkcode curveCards}. */
export function curveScripts(columns: CurveColumns): string {
  return chartScripts(CURVES, columns);
}
