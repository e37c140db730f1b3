/** The live page: one self-contained file that reads server-sent events. @module */
import { curveCards, curveColumns, curveScripts, escapeHtml, htmlPage } from "../report/mod.ts";
import liveScript from "./live.js" with { type: "text" };

/** The page of a run. */
export function watchPage(title: string): string {
  const body = `<h1>${escapeHtml(title)}</h1>
<p class="faint"><span id="status">Connecting</span> · <span id="subtitle"></span></p>
<div class="tiles" id="tiles"></div>
${curveCards(1)}
<div id="samples"></div>`;
  return htmlPage(title, body, `${curveScripts(curveColumns([]))}\n<script>${liveScript}</script>`);
}
