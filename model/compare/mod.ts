/**
 * The room's door. Runs beside each other: `runs.ts` reads them, `compare.ts` finds what differs, with
 * paired intervals, and words it as a table and for programs, `page.ts` draws their curves over one
 * another.
 * @module
 */
export { compareRuns, comparisonJson, comparisonRows, type RunComparison } from "./compare.ts";
export { comparisonPage } from "./page.ts";
export { type ComparedRun, readRuns } from "./runs.ts";
