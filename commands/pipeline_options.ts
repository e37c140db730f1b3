/** Options that the pipeline's commands share. @module */
import { jsonLine } from "../core/json.ts";
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { formatBytes, formatDuration, formatTable, type Reporter } from "../core/reporter.ts";
import { FIELD_SELECTIONS, type FieldSelection } from "../pipeline/citation/elements.ts";
import { DEFAULT_POLICIES, type Policies } from "../pipeline/ingest/policy.ts";
import { defaultWorkers } from "../pipeline/ingest/worker_count.ts";
import { DEFAULT_SETTINGS, optionOf } from "../pipeline/corpus_settings.ts";
import type { RunOptions, RunSummary } from "../pipeline/run.ts";
import { PART } from "./part_option.ts";
import { type Manifest, paddingNotice, readManifest } from "../pipeline/shards/mod.ts";
import { PACKING_METHODS, type PackingMethod } from "../pipeline/shards/packing.ts";

const policy = (help: string, standard: string): OptionSpec => ({
  type: "string",
  choices: ["keep", "drop"],
  help: `${help} (default ${standard})`,
});

/** The corpus folder. */
export const CORPUS: OptionSpec = {
  type: "string",
  placeholder: "DIR",
  help: "the corpus folder",
  required: true,
};

/** Threads that parse and tokenize. */
export const WORKERS: OptionSpec = {
  type: "integer",
  min: 1,
  max: 256,
  help: "worker threads (default: the cores, fewer where memory is short)",
};

/** Options of everything that changes a corpus. */
export const RUN_OPTIONS: Record<string, OptionSpec> = {
  corpus: CORPUS,
  tokenizer: {
    type: "string",
    placeholder: "FILE",
    help: "a tokenizer.json; without one the run stops after the documents",
  },
  files: { type: "string", placeholder: "1-12,14", help: "only these file numbers" },
  part: PART,
  "sequence-length": {
    type: "integer",
    help: `tokens in a row of the shards, at least 2 (default ${DEFAULT_SETTINGS.sequenceLength})`,
  },
  packing: {
    type: "string",
    choices: PACKING_METHODS,
    help:
      `how documents become rows (default ${DEFAULT_SETTINGS.packing}, which leaves documents whole ` +
      "where it can); concatenate cuts them where a row ends, so that no place stays empty",
  },
  seed: {
    type: "integer",
    min: 0,
    max: 0x7fffffff,
    help: `shuffles the documents (default ${DEFAULT_SETTINGS.seed})`,
  },
  validation: {
    type: "number",
    min: 0,
    max: 0.5,
    help: `share of PMIDs held out for validation (default ${DEFAULT_SETTINGS.validation})`,
  },
  test: {
    type: "number",
    min: 0,
    max: 0.5,
    help: `share of PMIDs held out for testing (default ${DEFAULT_SETTINGS.test})`,
  },
  workers: WORKERS,
  connections: {
    type: "integer",
    min: 1,
    max: 16,
    default: 3,
    help: "downloads at a time; NLM asks for few",
  },
  "keep-raw": { type: "boolean", help: "keep the downloaded .xml.gz files in raw/" },
  "smaller-baseline": {
    type: "boolean",
    help: "take a new year's baseline though it has far fewer files than the old one",
  },
  contact: { type: "string", help: "an e-mail address or URL sent to the mirror's keepers" },
  "read-timeout": {
    type: "number",
    min: 0.1,
    default: 60,
    help: "seconds to wait for the next bytes",
  },
  "total-timeout": { type: "number", min: 1, default: 3600, help: "seconds for one file" },
  "retry-delay": {
    type: "number",
    min: 0,
    default: 1,
    help: "seconds before the first retry; doubles",
  },
  fields: {
    type: "string",
    choices: FIELD_SELECTIONS,
    help: "fields to keep: all, or what the training text needs (default all)",
  },
  retracted: policy("retracted articles as training text", DEFAULT_POLICIES.retracted),
  errata: policy("errata and retraction notices as training text", DEFAULT_POLICIES.errata),
  replies: policy("comments and replies as training text", DEFAULT_POLICIES.replies),
  "no-abstract": policy("titles without an abstract as training text", DEFAULT_POLICIES.noAbstract),
  "non-english": policy("articles in other languages", DEFAULT_POLICIES.nonEnglish),
  "min-characters": {
    type: "integer",
    min: 0,
    help: `shorter documents are no training text (default ${DEFAULT_POLICIES.minCharacters})`,
  },
};

/** Reads {@linkcode RUN_OPTIONS}; what was not given stays undefined. */
export function runOptions(invocation: Invocation): RunOptions {
  const { reporter, signal } = invocation;
  const policies: Partial<Policies> = {};
  const number = (name: string, standard: number) => invocation.number(name) ?? standard;
  for (const key of Object.keys(DEFAULT_POLICIES) as (keyof Policies)[]) {
    const value = invocation.options[optionOf(key).slice(2)];
    if (value !== undefined) Object.assign(policies, { [key]: value });
  }
  const labels = {
    checksums: "Checksums",
    files: "Files",
    tokens: "Token files",
    shards: "Shards",
  };
  let stage = "";
  let progress = reporter.progress("Files", 0);
  return {
    corpus: invocation.requiredString("corpus"),
    ...defined({
      source: invocation.string("source"),
      tokenizer: invocation.string("tokenizer"),
      files: invocation.string("files"),
      sequenceLength: invocation.number("sequence-length"),
      packing: invocation.string("packing") as PackingMethod | undefined,
      seed: invocation.number("seed"),
      validation: invocation.number("validation"),
      test: invocation.number("test"),
      fields: invocation.string("fields") as FieldSelection | undefined,
    }),
    policies,
    workers: invocation.number("workers") ?? defaultWorkers(),
    connections: number("connections", 3),
    keepRaw: invocation.boolean("keep-raw"),
    smallerBaseline: invocation.boolean("smaller-baseline"),
    http: {
      readTimeout: number("read-timeout", 60),
      totalTimeout: number("total-timeout", 3600),
      retryDelay: number("retry-delay", 1),
      ...defined({ contact: invocation.string("contact") }),
    },
    signal,
    log: (line) => reporter.log(line),
    onProgress(name, done, total, downloads) {
      if (total === 0) return;
      if (name !== stage) {
        progress.finish();
        progress = reporter.progress(labels[name], total, name === "files" ? "files" : "");
        stage = name;
      }
      if (downloads) {
        const { bytes, bytesPerSecond, files } = downloads;
        const note = `${formatBytes(bytes)}, ${formatBytes(bytesPerSecond)}/s`;
        // A file is half done when it is here, and done when it is in the corpus.
        progress.update(done, note, (files + done) / 2 / total);
      } else progress.update(done);
      if (done === total) progress.finish();
    },
  };
}

/** Values without those that are undefined. */
export function defined<T extends object>(
  values: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Gives up the right to use the network where the source is a folder. */
export function withoutNetwork(source: string): void {
  if (!/^https?:/i.test(source)) Deno.permissions.revokeSync({ name: "net" });
}

/** A count with its thousands apart. */
export const grouped = (count: number): string => count.toLocaleString("en");

/** Prints what a run did. */
export function printSummary(invocation: Invocation, summary: RunSummary): void {
  const { reporter } = invocation;
  if (summary.up_to_date) {
    reporter.log(
      `Nothing to do: ${summary.corpus} has all ${summary.files} files of ${summary.source}` +
        (summary.tokenized ? " and its shards are up to date" : ""),
    );
  }
  if (!summary.tokenized) {
    reporter.log("Stopped after the documents: give --tokenizer FILE to make tokens and shards");
  }
  if (summary.shards?.written) logPadding(reporter, readManifest(summary.corpus));
  if (invocation.json) return reporter.line(jsonLine(summary));
  const speed = summary.xml_bytes / summary.seconds;
  reporter.line(
    formatTable(["", ""], [
      ["files added", grouped(summary.files_added)],
      ["files in the corpus", grouped(summary.files)],
      ["records added", grouped(summary.records_added)],
      ["live citations", grouped(summary.live)],
      ["superseded", grouped(summary.superseded)],
      ["deleted", grouped(summary.deleted)],
      ...Object.entries(summary.shards?.figures ?? {}).map((
        [k, v],
      ) => [k.replaceAll("_", " "), grouped(v)]),
      ["time", formatDuration(summary.seconds)],
      ...(summary.xml_bytes
        ? [["XML", `${formatBytes(summary.xml_bytes)}, ${formatBytes(speed)}/s`]]
        : []),
    ]).split("\n").slice(2).join("\n"),
  );
}

/** Says where much of the rows is padding. */
export function logPadding(reporter: Reporter, manifest: Manifest): void {
  const notice = paddingNotice(manifest);
  if (notice) reporter.log(notice);
}
