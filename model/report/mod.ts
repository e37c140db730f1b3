/**
 * The room's door. Reports of training runs as pages that need nothing else: `page.ts` draws curves,
 * tables and samples (with `charts.js` and `page.css`), `run_report.ts` makes such a page of a run
 * folder. The live page of `model/watch/` shows the same curves.
 * @module
 */
export {
  curveCards,
  type CurveColumns,
  curveColumns,
  curveScripts,
  escapeHtml,
  htmlPage,
  type ReportData,
  reportHtml,
  type ReportSample,
  type ReportTable,
  thinOut,
} from "./page.ts";
export { reportAfterValidations, type ReportExtras, writeRunReport } from "./run_report.ts";
