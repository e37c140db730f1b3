/** The report as one HTML file that needs nothing else. @module */
import {
  type Bars,
  barsHtml,
  type Chart,
  chartCards,
  type ChartColumns,
  chartScripts,
  escapeHtml,
  headingHtml,
  type Highlight,
  htmlPage,
  tilesHtml,
} from "../../core/page/mod.ts";
import { formatBytes } from "../../core/reporter.ts";
import type { Count, Histogram, ReportFigures } from "./figures.ts";

const number = (value: number) => Math.round(value).toLocaleString("en-US");

/** Renders the report. */
export function reportPage(figures: ReportFigures): string {
  const { status, years, lengths, tokens } = figures;
  const tiles: Highlight[] = [
    { value: number(figures.documents), label: "live citations" },
    { value: number(figures.withAbstract), label: "with an abstract" },
    { value: number(figures.retracted), label: "retracted" },
    { value: number(status.superseded), label: "superseded records" },
    { value: number(status.deleted), label: "deleted" },
    { value: number(status.files), label: "PubMed files" },
    ...(status.tokens ? [{ value: number(status.tokens), label: "tokens" }] : []),
    ...(status.shards ? [{ value: number(status.shards), label: "shards" }] : []),
    {
      value: formatBytes(Object.values(status.disk).reduce((a, b) => a + b, 0)),
      label: "on disk",
    },
  ];
  const drawn = [
    yearChart(years),
    ...histogramChart("characters", lengths),
    ...tokens ? histogramChart("tokens", tokens) : [],
  ];
  const charts = drawn.map(({ chart }) => chart);
  const columns: ChartColumns = Object.assign({}, ...drawn.map((d) => d.columns));
  const notes = drawn.flatMap(({ note }) =>
    note ? [`<p class="faint">${escapeHtml(note)}</p>`] : []
  );
  const body = [
    headingHtml(
      "PubMed corpus",
      `The series of ${status.year}, files ${status.first_file} to ${status.last_file}, from ${status.source}`,
    ),
    tilesHtml(tiles),
    "<h2>Documents</h2>",
    chartCards(charts),
    ...notes,
    '<div class="columns">',
    counts("No training text, by reason", "reason", figures.dropped),
    counts("Languages", "language", figures.languages),
    counts("Publication types", "type", figures.types),
    counts("MeSH headings", "heading", figures.mesh),
    counts("Journals", "journal", figures.journals),
    "</div>",
  ].join("\n");
  return htmlPage("PubMed corpus", body, chartScripts(charts, columns));
}

/** A chart, its values, and what is said below it. */
interface Drawn {
  chart: Chart;
  columns: ChartColumns;
  note?: string;
}

/** Years without a citation are there too, so that the axis is even. */
function yearChart(years: Count[]): Drawn {
  const known = new Map(years);
  const numbers = years.map(([year]) => Number(year)).filter((year) => year > 0);
  const first = Math.min(...numbers);
  const count = numbers.length ? Math.max(...numbers) - first + 1 : 0;
  const all = Array.from({ length: count }, (_, i) => first + i);
  const none = known.get("");
  return {
    chart: {
      id: "years",
      title: "Citations by year of publication",
      x: { column: "year", label: "year", plain: true },
      series: [{ column: "citations", label: "citations", color: 0, bars: true }],
      fromZero: true,
    },
    columns: { year: all, citations: all.map((year) => known.get(String(year)) ?? 0) },
    ...none ? { note: `${number(none)} citations have no year.` } : {},
  };
}

/** How many documents are how long; nothing where there is none. */
function histogramChart(unit: string, { binWidth, counts, total, mean }: Histogram): Drawn[] {
  if (total === 0) return [];
  const names = { x: `${unit}_from`, y: `of_${unit}` };
  const last = counts.findLastIndex((n) => n > 0);
  const shown = counts.slice(0, last + 1);
  return [{
    chart: {
      id: `length_${unit}`,
      title: `Length of the training text, in ${unit}`,
      x: { column: names.x, label: unit },
      series: [{ column: names.y, label: "documents", color: 0, bars: true }],
      fromZero: true,
      bin: { width: binWidth, open: last === counts.length - 1 },
    },
    columns: { [names.x]: shown.map((_, i) => i * binWidth), [names.y]: shown },
    note: `${number(mean)} ${unit} on average, of ${number(total)} documents.`,
  }];
}

/** A table of counts with a bar each. */
function counts(title: string, what: string, all: Count[]): string {
  const rows: Bars["rows"] = all.map(([name, n]) => ({
    name: name || "(none)",
    value: n,
    cells: [number(n)],
  }));
  return barsHtml({ title, header: [what, "citations"], rows });
}
