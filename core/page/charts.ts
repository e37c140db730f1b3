/**
 * Charts of a page: described here, drawn in the browser by uPlot and `charts.js`, which read the
 * values that lie in the page.
 * @module
 */
import plotScript from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import chartScript from "./charts.js" with { type: "text" };
import { escapeHtml } from "./html.ts";

/** Values by name; null is a gap. The columns of one chart are of equal length. */
export type ChartColumns = Record<string, (number | null)[]>;

/** What is drawn of a column. */
export interface ChartSeries {
  /** The column. */
  column: string;
  /** In the legend. */
  label: string;
  /** One of the page's colours, from 0; they repeat behind the last. */
  color: number;
  /** Smoothed as the page's control says, with the values themselves faint behind. */
  smooth?: boolean;
  /** A dot at each value. */
  points?: boolean;
  /** Bars in place of a line. */
  bars?: boolean;
  /** Columns of the ends of an interval around each value. */
  interval?: { low: string; high: string };
  /** Left out as long as it has no value. */
  optional?: boolean;
}

/** One chart. */
export interface Chart {
  /** Of its place in the page. */
  id: string;
  title: string;
  /** The column of the horizontal axis, in ascending order, and what it is called. */
  x: { column: string; label: string; /** Written as they are, as years. */ plain?: boolean };
  series: ChartSeries[];
  /** Whether the vertical axis follows the page's control to logarithms. */
  logarithmic?: boolean;
  fromZero?: boolean;
  /** Of bars: how much of the horizontal axis each stands for; the last one has no end where `open`. */
  bin?: { width: number; open?: boolean };
}

/** The places that charts are drawn in, as HTML. */
export function chartCards(charts: readonly Chart[]): string {
  const cards = charts.map(({ id, title }) =>
    `<div class="card chart"><h3>${escapeHtml(title)}</h3><div id="${id}"></div></div>`
  );
  return `<div class="charts">\n${cards.join("\n")}\n</div>`;
}

/** The controls that smooth lines and make axes logarithmic, as HTML. */
export function chartControls(remark = ""): string {
  return `<div class="controls">
<label>Smoothing <input id="smoothing" type="range" min="0" max="0.99" step="0.01" value="0.8"></label>
<label><input id="logarithmic" type="checkbox"> Logarithmic</label>
${remark ? `<span>${escapeHtml(remark)}</span>` : ""}
</div>`;
}

/** Script elements that draw charts in {@linkcode chartCards}; nothing where there are none. */
export function chartScripts(charts: readonly Chart[], columns: ChartColumns): string {
  if (!charts.length) return "";
  // "<" would let a string end the script element.
  const json = JSON.stringify({ charts, columns }).replaceAll("<", "\\u003c");
  return `<script type="application/json" id="data">${json}</script>
<script>${plotScript}</script>
<script>${chartScript}</script>`;
}
