/**
 * Pages for people: one HTML file that needs nothing else, with the looks that all reports share.
 * Everything here returns HTML, and escapes what it is given as text.
 * @module
 */
import plotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import pageStyle from "./page.css" with { type: "text" };

/** A table of finished strings. */
export interface PageTable {
  /** The heading above it. */
  title: string;
  /** A line of small print below it. */
  note?: string;
  /** The columns' names. */
  header: string[];
  /** Rows of cells; a column of numbers aligns right. */
  rows: string[][];
}

/** A figure to see first. */
export interface Highlight {
  /** What it is, in small print. */
  label: string;
  /** As it is written. */
  value: string;
}

/** Text as HTML. */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/**
 * A page in the reports' style; `body` and `scripts` are HTML. It loads nothing, wherever it is opened.
 * @param connects whether it asks the server that it came from for more
 */
export function htmlPage(title: string, body: string, scripts = "", connects = false): string {
  const policy = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    "img-src data:",
    ...scripts ? ["script-src 'unsafe-inline'"] : [],
    ...connects ? ["connect-src 'self'"] : [],
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="generator" content="pubmamba">
<link rel="icon" href="data:,">
<title>${escapeHtml(title)}</title>
<style>${scripts ? plotStyle : ""}${pageStyle}</style>
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

/** A page's heading with a line of small print under it. */
export function headingHtml(title: string, subtitle: string): string {
  return `<h1>${escapeHtml(title)}</h1>\n<p class="faint">${escapeHtml(subtitle)}</p>`;
}

/** The figures to see first, as tiles; nothing where there are none. */
export function tilesHtml(highlights: readonly Highlight[]): string {
  const items = highlights.map(({ label, value }) =>
    `<div class="tile"><b>${escapeHtml(value)}</b><span>${escapeHtml(label)}</span></div>`
  );
  return items.length ? `<div class="tiles">${items.join("")}</div>` : "";
}

const note = (text: string | undefined): string =>
  text ? `\n<p class="faint note">${escapeHtml(text)}</p>` : "";

/** A table under its heading; it scrolls by itself where the page is narrower. */
export function tableHtml({ title, note: small, header, rows }: PageTable): string {
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
</table></div>${note(small)}`;
}

/** Names with a bar each. */
export interface Bars {
  title: string;
  note?: string;
  /** The columns' names: of the names, and of the values. */
  header: [name: string, value: string, ...more: string[]];
  rows: {
    name: string;
    /** How long the bar is. */
    value: number;
    /** How the value is written, and further columns behind it. */
    cells: [value: string, ...more: string[]];
  }[];
  /** The value that a whole bar stands for; the greatest of the rows where not said. */
  most?: number;
}

/** A table with a bar for each row. */
export function barsHtml({ title, note: small, header, rows, most }: Bars): string {
  const whole = most ?? Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
  const [name, ...others] = header;
  const head = [
    `<th>${escapeHtml(name)}</th>`,
    ...others.map((text) => `<th class="number">${escapeHtml(text)}</th>`),
    "<th></th>",
  ].join("");
  const lines = rows.map(({ name, value, cells }) =>
    [
      `<tr><td>${escapeHtml(name)}</td>`,
      ...cells.map((cell) => `<td class="number">${escapeHtml(cell)}</td>`),
      `<td class="bar"><i style="width:${(100 * value / whole).toFixed(1)}%"></i></td></tr>`,
    ].join("")
  );
  const body = rows.length
    ? `<table class="figures bars"><thead><tr>${head}</tr></thead>
<tbody>${lines.join("\n")}</tbody></table>`
    : '<p class="faint">None.</p>';
  return `<section><h2>${escapeHtml(title)}</h2>
<div class="card">${body}</div>${note(small)}</section>`;
}

/** How often what should be one thing was taken for another. */
export interface ConfusionMatrix {
  /** Of the rows. */
  gold: readonly string[];
  /** Of the columns. */
  predicted: readonly string[];
  matrix: readonly (readonly number[])[];
}

/** A confusion matrix whose cells are shaded by their share of the row. */
export function matrixHtml(
  title: string,
  { gold, predicted, matrix }: ConfusionMatrix,
  small?: string,
): string {
  const rows = gold.map((name, i) => {
    const counts = matrix[i] ?? [];
    const sum = counts.reduce((a, b) => a + b, 0);
    const cells = counts.map((count, j) => {
      const share = sum ? count / sum : 0;
      const kind = predicted[j] === name ? "hit" : "miss";
      const said = `${name} taken for ${predicted[j] ?? ""}: ${count} of ${sum}`;
      return `<td class="number ${kind}" style="--share:${(60 * share).toFixed(1)}%" title="${
        escapeHtml(said)
      }">${count.toLocaleString("en")}</td>`;
    });
    return `<tr><th scope="row">${escapeHtml(name)}</th>${cells.join("")}</tr>`;
  });
  const head = predicted.map((name) => `<th class="number" scope="col">${escapeHtml(name)}</th>`);
  return `<h2>${escapeHtml(title)}</h2>
<div class="card"><table class="figures matrix">
<thead><tr><th>gold \\ found</th>${head.join("")}</tr></thead>
<tbody>${rows.join("\n")}</tbody>
</table></div>${note(small)}`;
}

/** Named lines of an item, such as what was asked, what is right and what was said; values are HTML. */
export function namedLines(lines: readonly (readonly [name: string, html: string])[]): string {
  return `<dl>${
    lines.map(([name, html]) => `<dt>${escapeHtml(name)}</dt><dd>${html}</dd>`).join("")
  }</dl>`;
}
