/** `pipeline prune`: shards that were kept for runs, and that no run needs any more. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { manifestPath, pruneShards } from "../pipeline/shards/mod.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline prune",
  summary: "Remove shards of earlier states that no training run needs any more",
  description:
    "A training run notes in the corpus which shards it reads; before a refresh changes them, they are " +
    "kept in sets/, by links that take no room for what stays the same, and the run goes on with " +
    "them. This removes those that no run needs: runs that are done, or whose folders are gone, need " +
    "none.",
  options: {
    corpus: CORPUS,
    "dry-run": { type: "boolean", help: "only say what would be removed" },
  },
  examples: [
    "deno task pipeline prune --corpus corpus --dry-run",
    "deno task pipeline prune --corpus corpus",
  ],
  run(invocation) {
    const { reporter } = invocation;
    const corpus = invocation.requiredString("corpus");
    if (!exists(manifestPath(corpus)) && !exists(`${corpus}/sets`)) {
      throw new UserError(`Cannot prune ${corpus}: it is no corpus with shards`);
    }
    const dry = invocation.boolean("dry-run");
    const { removed, kept, pins } = pruneShards(corpus, dry);
    const rows = [
      ...removed.map((set) => [set.folder, formatBytes(set.bytes), dry ? "not needed" : "removed"]),
      ...kept.map((set) => [
        set.folder,
        formatBytes(set.bytes),
        `needed by ${set.runs.join(", ")}`,
      ]),
    ];
    if (rows.length) reporter.line(formatTable(["kept shards", "alone", ""], rows));
    else reporter.line(`Nothing is kept in ${corpus} beside its shards`);
    if (invocation.json) {
      reporter.line(jsonLine({ dry_run: dry, removed, kept, runs_forgotten: pins }));
    }
    return Promise.resolve();
  },
};
