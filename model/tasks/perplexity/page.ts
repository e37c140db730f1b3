/** The perplexity of held-out documents as a page: by year as a chart, by other facets as tables. @module */
import {
  type Chart,
  chartCards,
  type ChartColumns,
  chartScripts,
  escapeHtml,
  headingHtml,
  htmlPage,
  type PageTable,
  tableHtml,
  tilesHtml,
} from "../../../core/page/mod.ts";
import { isHubId } from "../../../core/locations.ts";
import { basename } from "../../../core/std.ts";
import { type PerplexityResult } from "../../training/mod.ts";
import { formatInterval } from "../../statistics/mod.ts";
import type { GroupLoss } from "./document_losses.ts";

/** What {@linkcode perplexityPage} shows. */
export interface PerplexityPage {
  /** The model as it was named. */
  model: string;
  /** The corpus as it was named. */
  corpus: string;
  result: PerplexityResult;
  /** By facet. */
  by?: Record<string, GroupLoss[]>;
  /** The model it was adapted from, and what was found between the two. */
  base?: { name: string; result: PerplexityResult; comparison: string };
}

/** What a model is called at the head of a page: a checkpoint by its run and step, a folder by its name. */
export function shortName(model: string): string {
  const [, run, step] = /([^/\\]+)[/\\]checkpoints[/\\]step-0*(\d+)[/\\]?$/.exec(model) ?? [];
  if (run !== undefined) return `${run}, step ${Number(step).toLocaleString("en")}`;
  return isHubId(model) ? model : basename(model);
}

/** The page. */
export function perplexityPage({ model, corpus, result, by = {}, base }: PerplexityPage): string {
  const whole = (n: number) => n.toLocaleString("en");
  const years = by.year?.filter(({ group }) => /^\d{4}$/.test(group)) ?? [];
  const charts = years.length > 1 ? [YEARS] : [];
  const finite = (value: number) => Number.isFinite(value) ? value : null;
  const columns: ChartColumns = {
    year: years.map(({ group }) => Number(group)),
    perplexity: years.map((year) => finite(year.perplexity)),
    low: years.map(({ interval }) => finite(interval.low)),
    high: years.map(({ interval }) => finite(interval.high)),
  };
  const highlights = [
    {
      value: result.perplexity.toFixed(3),
      label: `perplexity, 95% ${formatInterval(result.interval, 3)}`,
    },
    { value: result.loss.toFixed(4), label: "loss, nats per token" },
    ...result.bits_per_byte === undefined
      ? []
      : [{ value: result.bits_per_byte.toFixed(4), label: "bits per byte" }],
    {
      value: whole(result.rows),
      label: result.rows < result.of_rows
        ? `rows of ${whole(result.of_rows)}, drawn by seed ${result.seed}`
        : "rows, all there are",
    },
    { value: whole(result.tokens), label: "scored tokens" },
  ];
  const body = [
    headingHtml(
      `Perplexity: ${shortName(model)}`,
      `${model} on the ${result.split} split of ${corpus}; every scored token weighs the same`,
    ),
    tilesHtml(highlights),
    ...base ? [tableHtml(baseTable(model, result, base)), paragraph(base.comparison)] : [],
    ...charts.length ? ["<h2>By year of publication</h2>", chartCards(charts)] : [],
    ...Object.entries(by).map(([facet, groups]) => tableHtml(groupsTable(facet, groups))),
  ].join("\n");
  return htmlPage(`Perplexity: ${shortName(model)}`, body, chartScripts(charts, columns));
}

const YEARS: Chart = {
  id: "years",
  title: "Perplexity with 95% intervals",
  x: { column: "year", label: "year", plain: true },
  series: [{
    column: "perplexity",
    label: "perplexity",
    color: 0,
    points: true,
    interval: { low: "low", high: "high" },
  }],
};

const paragraph = (text: string): string => `<p class="note">${escapeHtml(text)}</p>`;

function baseTable(
  model: string,
  own: PerplexityResult,
  base: { name: string; result: PerplexityResult },
): PageTable {
  const row = (name: string, { loss, perplexity, interval }: PerplexityResult) => [
    name,
    loss.toFixed(4),
    perplexity.toFixed(3),
    formatInterval(interval, 3),
  ];
  return {
    title: "Beside its base",
    header: ["model", "loss", "perplexity", "95% interval"],
    rows: [row(model, own), row(base.name, base.result)],
  };
}

function groupsTable(facet: string, groups: readonly GroupLoss[]): PageTable {
  return {
    title: `By ${facet}`,
    header: [facet, "documents", "tokens", "perplexity", "95% interval"],
    rows: groups.map(({ group, documents, tokens, perplexity, interval }) => [
      group,
      documents.toLocaleString("en"),
      tokens.toLocaleString("en"),
      perplexity.toFixed(3),
      formatInterval(interval, 3),
    ]),
    note: "The intervals are over documents: there is none where there is one document only.",
  };
}
