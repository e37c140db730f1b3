/** The report of a run folder. @module */
import { formatBytes, formatDuration } from "../../core/reporter.ts";
import { writeAtomic } from "../../core/files.ts";
import { basename, join, resolve } from "../../core/std.ts";
import {
  doneResult,
  flatten,
  type RankTimes,
  readMetrics,
  readRun,
  readSamples,
  runFigures,
  type RunFile,
  type RunListener,
  scoredRows,
} from "../training/mod.ts";
import type { PageTable } from "../../core/page/mod.ts";
import { type ReportData, reportHtml, type ReportSample } from "./page.ts";

/** The report's name in a run folder. */
const REPORT_FILE = "report.html";

/** What a report tells beyond the run folder. */
export interface ReportExtras extends Partial<Omit<ReportData, "metrics">> {
  /** Where the report goes; by default the run folder's own report.html. */
  path?: string;
}

/** Writes a run's report from its folder and returns the report's path. */
export function writeRunReport(run: string, extras: ReportExtras = {}): string {
  const record = readRun(run);
  const metrics = readMetrics(run);
  const last = metrics.at(-1);
  const { seconds: trained, tokensPerSecond } = runFigures(metrics);
  const whole = (n: number) => Math.round(n).toLocaleString("en");
  const validation = metrics.findLast((m) => m.validation_loss !== undefined)?.validation_loss;
  const highlights = extras.highlights ?? (last
    ? [
      { label: "steps", value: whole(last.step) },
      { label: "tokens", value: whole(last.tokens) },
      {
        label: "loss, nats per token",
        value: metrics.findLast((m) => Number.isFinite(m.loss))?.loss.toFixed(3) ?? "none",
      },
      ...validation === undefined
        ? []
        : [{ label: "validation perplexity", value: Math.exp(validation).toFixed(2) }],
      { label: "tokens per second", value: whole(tokensPerSecond) },
      { label: "training time", value: formatDuration(trained) },
    ]
    : []);
  const path = extras.path ?? join(run, REPORT_FILE);
  const validations = metrics.flatMap(({ step, validation_loss: loss }) =>
    loss === undefined ? [] : [{ step, loss }]
  );
  const { average, validation: scored } = record.config;
  const weights = average.decay > 0 && scored.weights === "average"
    ? "averaged weights"
    : "weights";
  writeAtomic(
    path,
    reportHtml({
      title: extras.title ?? basename(resolve(run)),
      subtitle: extras.subtitle ?? `${whole(record.parameters)} parameters from ${record.init}, ` +
          `on ${record.device}, begun ${record.started.slice(0, 16).replace("T", " ")} UTC`,
      highlights,
      metrics,
      tables: [
        ...extras.tables ?? [],
        ...validationTable(validations, weights, scored.rows, record.config.seed),
        ...rankTable(doneResult(run)?.ranks as RankTimes[] | undefined),
        ...runTables(record),
      ],
      samples: extras.samples ?? lastSamples(run),
    }),
  );
  return path;
}

/**
 * What a run is: what it began from and ran on, its command line and version, all its settings.
 * @ignore For reports of fine-tuning, which have these tables too.
 */
export function runTables(record: RunFile): PageTable[] {
  const whole = (n: number) => Math.round(n).toLocaleString("en");
  return [
    {
      title: "Run",
      header: ["", "value"],
      rows: [
        ["initial weights", record.init],
        ["parameters", whole(record.parameters)],
        [record.task === undefined ? "corpus" : `files of ${record.task}`, record.corpus.path],
        [
          record.task === undefined ? "corpus manifest, SHA-256" : "files, SHA-256",
          record.corpus.manifest_sha256,
        ],
        ["tokens per row", whole(record.sequence_length)],
        ["device", record.device],
        ["program", `pubmamba ${record.versions.program}, Deno ${record.versions.deno}`],
        ...(record.command ? [["command", commandLine(record.command)]] : []),
      ],
    },
    {
      title: "Hyperparameters",
      header: ["", "value"],
      rows: [
        ...flatten(record.config),
        ...flatten({ finetuning: record.finetuning, label_weights: record.label_weights })
          .filter(([, value]) => value !== undefined),
      ].map(([key, value]) => [key, value === "" ? "none" : String(value)]),
    },
  ];
}

/** A listener that draws a run's report again after each validation, and passes all on to `other`. */
export function reportAfterValidations(run: string, other: RunListener = {}): RunListener {
  return {
    ...other,
    validated() {
      other.validated?.();
      writeRunReport(run);
    },
  };
}

/** A command line as it is typed. */
const commandLine = (words: readonly string[]): string =>
  ["deno task", ...words.map((w) => /^[\w./:=@,-]+$/.test(w) ? w : JSON.stringify(w))].join(" ");

/** Rows of the table of validations. */
const SHOWN_VALIDATIONS = 12;

/** How each of several ranks spent the time of the process that finished the run. */
function rankTable(ranks: RankTimes[] | undefined): PageTable[] {
  if (!ranks) return [];
  return [{
    title: "Ranks",
    header: ["rank", "machine", "computing, s", "exchanging, s", "waiting, s", "sent"],
    rows: ranks.map(({ rank, host, seconds, exchanging, waiting, sent }) => [
      String(rank),
      host,
      (seconds - exchanging - waiting).toFixed(1),
      exchanging.toFixed(1),
      waiting.toFixed(1),
      formatBytes(sent),
    ]),
    note: "Waiting is for the slowest rank; validation, samples and checkpoints are among it.",
  }];
}

/** The last validations and the best, newest first; no table where there were none. */
function validationTable(
  validations: { step: number; loss: number }[],
  weights: string,
  rows: number,
  seed: number,
): PageTable[] {
  if (!validations.length) return [];
  const best = validations.reduce((a, b) => b.loss < a.loss ? b : a);
  const shown = validations.slice(-SHOWN_VALIDATIONS);
  if (!shown.includes(best)) shown.unshift(best);
  return [{
    title: "Validation",
    header: ["step", "loss", "perplexity"],
    rows: shown.reverse().map((m) => [
      m.step.toLocaleString("en") + (m === best ? ", the best" : ""),
      m.loss.toFixed(4),
      Math.exp(m.loss).toFixed(2),
    ]),
    note:
      `Of the ${weights}, on ${
        scoredRows("validation", rows, seed)
      }; nats per token, every token ` +
      'weighs the same. "evaluate perplexity" takes all rows where --rows does not say otherwise.',
  }];
}

/** What the model wrote at the last validation. */
function lastSamples(run: string): ReportSample[] {
  const samples = readSamples(run);
  const step = samples.at(-1)?.step;
  return samples.filter((sample) => sample.step === step);
}
