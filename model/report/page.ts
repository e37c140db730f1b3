/**
 * A run as one HTML file that needs nothing else: its curves, its figures, what the model wrote.
 * @module
 */
import plotScript from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import plotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import chartScript from "./charts.js" with { type: "text" };
import pageStyle from "./page.css" with { type: "text" };
import type { StepMetrics } from "../training/metrics.ts";

export type {};

/** A table of finished strings. */
export interface ReportTable {
  /** The heading above it. */
  title: string;
  /** A line of small print below it. */
  note?: string;
  /** The columns' names. */
  header: string[];
  /** Rows of cells; a column of numbers aligns right. */
  rows: string[][];
}

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
  highlights: { label: string; value: string }[];
  /** By ascending step. */
  metrics: StepMetrics[];
  /** In the order of the page. */
  tables: ReportTable[];
  /** In the order of the page. */
  samples: ReportSample[];
}

/** Curves are drawn from at most so many points; each then stands for the mean of its steps. */
const MAX_POINTS = 4000;

/** The report as one self-contained HTML page. */
export function reportHtml(data: ReportData): string {
  const points = thinOut(data.metrics, MAX_POINTS);
  const stepsPerPoint = Math.ceil(data.metrics.length / MAX_POINTS);
  const body = `<h1>${escapeHtml(data.title)}</h1>
<p class="faint">${escapeHtml(data.subtitle)}</p>
${tiles(data.highlights)}
${points.length ? curveCards(stepsPerPoint) : ""}
${samples(data.samples)}
${data.tables.map(table).join("\n")}`;
  return htmlPage(data.title, body, points.length ? curveScripts(curveColumns(points)) : "");
}

/** A page in the report's style; `body` and `scripts` are HTML. */
export function htmlPage(title: string, body: string, scripts: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="pubmamba">
<link rel="icon" href="data:,">
<title>${escapeHtml(title)}</title>
<style>${plotStyle}${pageStyle}</style>
</head>
<body>
<main>
${body}
</main>
${scripts}
</body>
</html>
`;
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

function tiles(highlights: ReportData["highlights"]): string {
  const items = highlights.map(({ label, value }) =>
    `<div class="tile"><b>${escapeHtml(value)}</b><span>${escapeHtml(label)}</span></div>`
  );
  return items.length ? `<div class="tiles">${items.join("")}</div>` : "";
}

/** The places that {@linkcode curveScripts} draw in, as HTML. */
export function curveCards(stepsPerPoint: number): string {
  const chart = (id: string, title: string) =>
    `<div class="card chart"><h3>${title}</h3><div id="${id}"></div></div>`;
  const note = stepsPerPoint > 1
    ? `<span>each point is the mean of ${stepsPerPoint} steps</span>`
    : "";
  return `<h2>Training</h2>
<div class="controls">
<label>Smoothing <input id="smoothing" type="range" min="0" max="0.99" step="0.01" value="0.8"></label>
<label><input id="logarithmic" type="checkbox"> Logarithmic</label>
${note}
</div>
<div class="charts">
${chart("loss", "Loss, nats per token")}
${chart("learning_rate", "Learning rate")}
${chart("grad_norm", "Gradient norm before clipping")}
${chart("tokens_per_second", "Throughput, tokens per second")}
</div>`;
}

function table({ title, note, header, rows }: ReportTable): string {
  const number = (cell: string) => /^[-+−]?[\d.,]+ ?[%a-zA-Zµ/]{0,4}$/.test(cell);
  const numeric = header.map((_, i) => rows.length > 0 && rows.every((r) => number(r[i] ?? "")));
  const cells = (row: string[], tag: string) =>
    row.map((cell, i) =>
      `<${tag}${numeric[i] ? ' class="number"' : ""}>${escapeHtml(cell)}</${tag}>`
    ).join("");
  return `<h2>${escapeHtml(title)}</h2>
<div class="card"><table class="figures">
<thead><tr>${cells(header, "th")}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells(row, "td")}</tr>`).join("\n")}</tbody>
</table></div>${note ? `\n<p class="faint">${escapeHtml(note)}</p>` : ""}`;
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
  // "<" would let a string end the script element.
  const json = JSON.stringify(columns).replaceAll("<", "\\u003c");
  return `<script type="application/json" id="data">${json}</script>
<script>${plotScript}</script>
<script>${chartScript}</script>`;
}

/** Text as HTML. */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
