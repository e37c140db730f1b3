/** The report as one HTML file that needs nothing else. @module */
import { formatBytes } from "../../core/reporter.ts";
import type { Count, Histogram, ReportFigures } from "./figures.ts";

const STYLE = `
:root { color-scheme: light dark; --bar: #3b7dd8; --soft: #8883; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .note { opacity: .7; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.tiles div { border: 1px solid var(--soft); border-radius: .5rem; padding: .5rem .9rem; }
.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2.5rem; }
table { border-collapse: collapse; width: 100%; } td { padding: .1rem .4rem; vertical-align: middle; }
td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums; width: 5rem; }
td:nth-child(3) { width: 40%; } .bar { background: var(--bar); height: .75rem; border-radius: 2px; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); } svg text { fill: currentColor; font-size: 11px; }
`;

const escape = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const number = (value: number) => Math.round(value).toLocaleString("en-US");

/** Renders the report. */
export function reportPage(figures: ReportFigures): string {
  const { status } = figures;
  const tiles: [string, string][] = [
    [number(figures.documents), "live citations"],
    [number(figures.withAbstract), "with an abstract"],
    [number(figures.retracted), "retracted"],
    [number(status.superseded), "superseded records"],
    [number(status.deleted), "deleted"],
    [number(status.files), "PubMed files"],
    ...(status.tokens ? [[number(status.tokens), "tokens"] as [string, string]] : []),
    ...(status.shards ? [[number(status.shards), "shards"] as [string, string]] : []),
    [formatBytes(Object.values(status.disk).reduce((a, b) => a + b, 0)), "on disk"],
  ];
  const sections = [
    `<h2>Year of publication</h2>${columnChart(everyYear(figures.years))}`,
    `<h2>Length of the training text, in characters</h2>${histogramChart(figures.lengths)}`,
    ...(figures.tokens
      ? [`<h2>Length of the training text, in tokens</h2>${histogramChart(figures.tokens)}`]
      : []),
    `<div class="columns">`,
    table("No training text, by reason", figures.dropped),
    table("Languages", figures.languages),
    table("Publication types", figures.types),
    table("MeSH headings", figures.mesh),
    table("Journals", figures.journals),
    "</div>",
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>PubMed corpus</title><style>${STYLE}</style></head><body>
<h1>PubMed corpus</h1>
<p class="note">The series of ${status.year}, files ${status.first_file} to ${status.last_file}, from ${
    escape(status.source)
  }</p>
<div class="tiles">${tiles.map(([n, t]) => `<div><b>${n}</b>${t}</div>`).join("")}</div>
${sections.join("\n")}
</body></html>
`;
}

/** Years without a citation too, so that the axis is even; those without a year come last. */
function everyYear(years: Count[]): Count[] {
  const known = new Map(years);
  const numbers = years.map(([y]) => Number(y)).filter((y) => y > 0);
  const first = Math.min(...numbers);
  const last = Math.max(...numbers);
  const all: Count[] = [];
  for (let y = first; y <= last; y++) all.push([String(y), known.get(String(y)) ?? 0]);
  const none = known.get("");
  return none ? [...all, ["none", none]] : all;
}

function table(title: string, counts: Count[]): string {
  const most = Math.max(1, ...counts.map(([, n]) => n));
  const rows = counts.map(([name, n]) =>
    `<tr><td>${escape(name || "(none)")}</td><td>${
      number(n)
    }</td><td><div class="bar" style="width:${(100 * n / most).toFixed(1)}%"></div></td></tr>`
  );
  const body = rows.length ? `<table>${rows.join("")}</table>` : "<p>None.</p>";
  return `<section><h2>${title}</h2>${body}</section>`;
}

/** Upright bars with a label under every few. */
function columnChart(counts: Count[]): string {
  const width = 1000;
  const height = 180;
  const most = Math.max(1, ...counts.map(([, n]) => n));
  const step = width / Math.max(1, counts.length);
  const every = Math.ceil(counts.length / 20);
  const bars = counts.map(([name, n], i) => {
    const h = height * n / most;
    const x = (i * step).toFixed(1);
    const w = Math.max(0.5, step - 1).toFixed(1);
    const label = i % every === 0 ? `<text x="${x}" y="${height + 14}">${escape(name)}</text>` : "";
    return `<rect x="${x}" y="${(height - h).toFixed(1)}" width="${w}" height="${
      h.toFixed(1)
    }"><title>${escape(name)}: ${number(n)}</title></rect>${label}`;
  });
  return `<svg viewBox="0 0 ${width} ${height + 20}" role="img">${bars.join("")}</svg>`;
}

function histogramChart({ binWidth, counts, total, mean }: Histogram): string {
  const last = counts.length - 1;
  const bins = counts.map((n, i): Count => [`${i * binWidth}${i === last ? "+" : ""}`, n]);
  return `${columnChart(bins)}<p class="note">${number(total)} documents, ${
    number(mean)
  } on average</p>`;
}
