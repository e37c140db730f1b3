/** `tasks formats`: what formats the tasks read and write. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";

export const command: Command = {
  name: "tasks formats",
  summary: "List the formats that tasks read, and which of them can be written",
  examples: ["deno task tasks formats", "deno task tasks formats --json"],
  async run({ reporter, json }) {
    const { FORMATS } = await import("../model/tasks/formats/mod.ts");
    const rows = FORMATS.map((f) => ({
      name: f.name,
      holds: `${f.kind}s`,
      written: f.write !== undefined,
      title: f.title,
    }));
    reporter.line(formatTable(
      ["format", "holds", "written", "what it is"],
      rows.map((r) => [r.name, r.holds, r.written ? "yes" : "no", r.title]),
    ));
    if (json) reporter.line(jsonLine({ formats: rows }));
  },
};
