/**
 * The room's door: the looks and the parts that all pages share. `html.ts` has headings, tiles, tables,
 * bars and matrices, `charts.ts` curves and columns with a cursor (drawn by `charts.js`), and `page.css`
 * is the style, for wide and narrow, light and dark.
 * @module
 */
export {
  type Chart,
  chartCards,
  type ChartColumns,
  chartControls,
  chartScripts,
  type ChartSeries,
} from "./charts.ts";
export {
  type Bars,
  barsHtml,
  type ConfusionMatrix,
  escapeHtml,
  headingHtml,
  type Highlight,
  htmlPage,
  matrixHtml,
  namedLines,
  type PageTable,
  tableHtml,
  tilesHtml,
} from "./html.ts";
