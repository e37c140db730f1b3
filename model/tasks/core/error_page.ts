/** A page of what a system got wrong, the worst first: one HTML file that needs nothing else. @module */
import { escapeXml } from "../formats/xml.ts";
import type { ReportFile } from "./task.ts";

/** One wrong item. */
export interface WrongItem {
  /** What it is called: an id, or the number of a sentence. */
  id: string;
  /** Mean negative log-probability of what is right, in nats; undefined where no model told. */
  loss?: number;
  /** What was asked, said and right: HTML, already escaped. */
  html: string;
}

/** Items beyond these are only counted: a page is for reading. */
const MOST_ITEMS = 1000;

/**
 * The page of a system's errors, by falling loss.
 * @param total how many items there are, right ones too
 */
export function errorPage(
  task: string,
  system: string,
  wrong: readonly WrongItem[],
  total: number,
): ReportFile {
  const sorted = [...wrong].sort((a, b) => (b.loss ?? 0) - (a.loss ?? 0));
  const items = sorted.slice(0, MOST_ITEMS).map(({ id, loss, html }) =>
    `<article><h2>${escapeXml(id)}${
      loss === undefined || Number.isNaN(loss) ? "" : `<span>loss ${loss.toFixed(3)}</span>`
    }</h2>\n${html}</article>`
  );
  const left = wrong.length - items.length;
  const contents = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Errors of ${escapeXml(system)} on ${escapeXml(task)}</title>
<style>${STYLE}</style>
<h1>Errors on ${escapeXml(task)}</h1>
<p>${escapeXml(system)}: ${wrong.length} of ${total} are wrong, the highest loss first.</p>
${items.join("\n")}
${left > 0 ? `<p>${left} more are not shown.</p>\n` : ""}</html>
`;
  return { key: "errors", name: `errors_${task}`, extension: ".html", contents };
}

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid #8884; padding: .5rem 0; }
h2 { font-size: 1rem; margin: 0 0 .25rem; display: flex; justify-content: space-between; }
h2 span { font-weight: normal; opacity: .7; }
dl { display: grid; grid-template-columns: 6rem 1fr; gap: .1rem .5rem; margin: 0; }
dt { opacity: .7; }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
mark { border-radius: .2rem; padding: 0 .15rem; }
mark.right { background: #7c78; }
mark.wrong { background: #f766; }
mark.missed { background: #fb36; }
mark small { opacity: .7; margin-left: .25rem; }
`;

/** Named lines of an item: what was asked, what is right, what was said. */
export function namedLines(lines: readonly (readonly [name: string, html: string])[]): string {
  return `<dl>${
    lines.map(([name, html]) => `<dt>${escapeXml(name)}</dt><dd>${html}</dd>`).join("")
  }</dl>`;
}
