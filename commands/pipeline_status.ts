/** `pipeline status`: what is in a corpus. @module */
import type { Command } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { readStatus, type Status } from "../pipeline/status.ts";
import { readTextStatus, type TextStatus } from "../pipeline/texts/check.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline status",
  summary: "Show what is in a corpus",
  options: { corpus: CORPUS },
  examples: ["deno task pipeline status --corpus corpus"],
  run(invocation) {
    const { reporter } = invocation;
    const status = statusOf(invocation.requiredString("corpus"));
    if (invocation.json) reporter.line(JSON.stringify(status));
    else {
      const rows = Object.entries(status).flatMap(([key, value]) => {
        const name = key.replaceAll("_", " ");
        if (typeof value !== "object") return [[name, String(value)]];
        return Object.entries(value).map(([k, v]) => [
          `${name}: ${k}`,
          key === "disk" ? formatBytes(Number(v)) : String(v),
        ]);
      });
      reporter.line(formatTable(["", ""], rows).split("\n").slice(2).join("\n"));
    }
    return Promise.resolve();
  },
};

function statusOf(corpus: string): Status | TextStatus {
  const texts = readTextCorpus(corpus);
  if (texts) return readTextStatus(corpus, texts);
  const catalogue = readCatalogue(corpus);
  try {
    return readStatus(corpus, catalogue);
  } finally {
    catalogue.close();
  }
}
