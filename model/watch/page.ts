/** The live page: one self-contained file that reads server-sent events. @module */
import { escapeHtml, htmlPage } from "../../core/page/mod.ts";
import { curveCards, curveColumns, curveScripts } from "../report/mod.ts";
import liveScript from "./live.js" with { type: "text" };

/** The page of a run. */
export function watchPage(title: string): string {
  const body = `<h1>${escapeHtml(title)}</h1>
<p class="faint"><span id="status">Connecting</span> · <span id="subtitle"></span></p>
<div class="tiles" id="tiles"></div>
${curveCards(1)}
<div id="samples"></div>`;
  const scripts = `${curveScripts(curveColumns([]))}\n<script>${liveScript}</script>`;
  return htmlPage(title, body, scripts, true);
}
