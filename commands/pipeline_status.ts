/** `pipeline status`: what is in a corpus. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import {
  type HeldOutStatus,
  readStatus,
  type SplitStatus,
  type Status,
} from "../pipeline/status.ts";
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
    if (invocation.json) reporter.line(jsonLine(status));
    else {
      const rows = Object.entries(status).flatMap(([key, value]) => statusRows(key, value));
      reporter.line(formatTable(["", ""], rows).split("\n").slice(2).join("\n"));
    }
    return Promise.resolve();
  },
};

/** Numbers that are names, in which thousands are not told apart. */
const PLAIN = new Set(["year", "first_file", "last_file"]);

/** A figure as one or more rows for people. */
function statusRows(key: string, value: unknown): string[][] {
  const name = key.replaceAll("_", " ");
  if (key === "held_out") {
    return (value as HeldOutStatus[]).map(({ what, documents, why }) => [
      `held out: ${what}`,
      `${shown("", documents)} documents: ${why}`,
    ]);
  }
  if (key === "splits") {
    return Object.entries(value as Record<string, SplitStatus>).map(([split, s]) => [
      `split: ${split}`,
      `${shown("", s.tokens)} tokens, ${shown("", s.documents)} documents, ` +
      `${shown("", s.rows)} rows`,
    ]);
  }
  if (key === "padding_share") return [["padding", `${(100 * Number(value)).toFixed(3)}%`]];
  if (typeof value !== "object" || value === null) return [[name, shown(key, value)]];
  return Object.entries(value).map(([k, v]) => [
    `${name}: ${k}`,
    key === "disk" ? formatBytes(Number(v)) : shown(k, v),
  ]);
}

/** A value as text, with its thousands apart. */
function shown(key: string, value: unknown): string {
  return typeof value === "number" && !PLAIN.has(key) ? value.toLocaleString("en") : String(value);
}

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
