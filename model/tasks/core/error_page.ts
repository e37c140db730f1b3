/** Items with what was said of them, as pages show them; and a page of what a system got wrong. @module */
import { escapeHtml, headingHtml, htmlPage, namedLines } from "../../../core/page/mod.ts";
import type { ReportFile } from "./task.ts";

export { namedLines };

/** One item with an answer to it. */
export interface JudgedItem {
  /** What it is called: an id, or the number of a sentence. */
  id: string;
  /** Whether the answer is right. */
  right: boolean;
  /** Mean negative log-probability of what is right, in nats; undefined where no model told. */
  loss?: number;
  /** What was asked, said and right: HTML, already escaped. */
  html: string;
}

/** Items beyond these are only counted: a page is for reading. */
const MOST_ITEMS = 1000;

/** The wrong items, by falling loss. */
export function worstFirst(items: readonly JudgedItem[]): JudgedItem[] {
  return items.filter(({ right }) => !right).sort((a, b) => (b.loss ?? 0) - (a.loss ?? 0));
}

/** Items one below the other, as HTML. */
export function itemsHtml(items: readonly JudgedItem[]): string {
  const articles = items.map(({ id, loss, html }) =>
    `<article><h3>${escapeHtml(id)}${
      loss === undefined || Number.isNaN(loss) ? "" : `<span>loss ${loss.toFixed(3)}</span>`
    }</h3>\n${html}</article>`
  );
  return articles.length ? `<div class="card">${articles.join("\n")}</div>` : "";
}

/**
 * The page of a system's errors, by falling loss.
 * @param items among them the wrong ones; right ones are left out
 * @param total how many items there are, right ones too
 */
export function errorPage(
  task: string,
  system: string,
  items: readonly JudgedItem[],
  total: number,
): ReportFile {
  const wrong = worstFirst(items);
  const left = wrong.length - MOST_ITEMS;
  const body = [
    headingHtml(
      `Errors on ${task}`,
      `${system}: ${wrong.length} of ${total} are wrong, the highest loss first.`,
    ),
    "<br>",
    itemsHtml(wrong.slice(0, MOST_ITEMS)),
    left > 0 ? `<p class="faint">${left} more are not shown.</p>` : "",
  ].join("\n");
  const contents = htmlPage(`Errors of ${system} on ${task}`, body);
  return { key: "errors", name: `errors_${task}`, extension: ".html", contents };
}
