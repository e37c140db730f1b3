/** `compare`: training runs beside each other. @module */
import { jsonLine } from "../core/json.ts";
import { UsageError } from "../core/errors.ts";
import type { Command } from "../core/cli.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { terminalWidth } from "../core/terminal.ts";
import {
  compareRuns,
  comparisonJson,
  comparisonPage,
  comparisonRows,
  readRuns,
} from "../model/compare/mod.ts";

/** Columns of the terminal that the names of rows and one run take. */
const NAMES = 22;
const RUN = 21;

export const command: Command = {
  name: "compare",
  summary: "Compare runs: curves over one another, results with paired intervals, settings",
  description:
    "Reads what training and fine-tuning runs wrote; no model is asked. Prints one table: figures, " +
    "the lowest validation loss or the test scores with 95% bootstrap intervals, their differences " +
    "from the first run over the rows, questions or sentences that both were scored on, and the " +
    "settings that differ. Writes a page with the curves of all runs over one another.",
  positionals: [
    { name: "RUN", help: "the folders of the runs, that to compare with first", variadic: true },
  ],
  options: {
    out: { type: "string", placeholder: "FILE", help: "the page", default: "comparison.html" },
    seed: { type: "integer", help: "of the bootstrap", default: 0 },
  },
  examples: [
    "deno task compare runs/small runs/small-lr3e-4",
    "deno task compare runs/ner-head runs/ner-words --out ner.html --json",
  ],
  run(invocation) {
    const { reporter, positionals, json } = invocation;
    if (positionals.length < 2) {
      throw new UsageError("Name two or more run folders: RUN RUN...");
    }
    const comparison = compareRuns(readRuns(positionals), invocation.requiredNumber("seed"));
    const out = invocation.requiredString("out");
    writeAtomic(out, comparisonPage(comparison));
    const rows = comparisonRows(comparison);
    const names = comparison.runs.map(({ name }) => name);
    const perTable = Math.max(1, Math.floor((terminalWidth(Deno.stdout) - NAMES) / RUN));
    for (let at = 0; at < names.length; at += perTable) {
      if (at) reporter.line();
      const some = (cells: readonly string[]) => cells.slice(at, at + perTable);
      reporter.line(
        formatTable(
          ["", ...some(names)],
          rows.map(([name = "", ...cells]) => [name, ...some(cells)]),
        ),
      );
    }
    reporter.log(`Wrote ${out}`);
    if (json) reporter.line(jsonLine({ ...comparisonJson(comparison), page: out }));
    return Promise.resolve();
  },
};
