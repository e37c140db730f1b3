/** `pipeline status`: what is in a corpus. @module */
import type { Command } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { readStatus } from "../pipeline/status.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline status",
  summary: "Show what is in a corpus",
  options: { corpus: CORPUS },
  examples: ["deno task pipeline status --corpus corpus"],
  run(invocation) {
    const corpus = invocation.string("corpus")!, catalogue = readCatalogue(corpus);
    try {
      const status = readStatus(corpus, catalogue), { reporter } = invocation;
      if (invocation.json) {
        reporter.line(JSON.stringify(status));
        return Promise.resolve();
      }
      const rows = Object.entries(status).flatMap(([key, value]) => {
        const name = key.replaceAll("_", " ");
        if (typeof value !== "object") return [[name, String(value)]];
        return Object.entries(value).map(([k, v]) => [
          `${name}: ${k}`,
          key === "disk" ? formatBytes(Number(v)) : String(v),
        ]);
      });
      reporter.line(formatTable(["", ""], rows).split("\n").slice(2).join("\n"));
    } finally {
      catalogue.close();
    }
    return Promise.resolve();
  },
};
