/**
 * The room's door. Reports of training runs as pages that need nothing else: `page.ts` draws curves,
 * tables and samples (of the parts of `core/page/`), `run_report.ts` makes such a page of a run
 * folder. The live page of `model/watch/` shows the same curves.
 * @module
 */
export type { Highlight, PageTable as ReportTable } from "../../core/page/mod.ts";
export {
  curveCards,
  type CurveColumns,
  curveColumns,
  curveScripts,
  type ReportData,
  reportHtml,
  type ReportSample,
  stepsPerPointNote,
  thinOut,
} from "./page.ts";
export {
  reportAfterValidations,
  type ReportExtras,
  runTables,
  writeRunReport,
} from "./run_report.ts";
