/**
 * Results in the layout of EleutherAI's lm-evaluation-harness: `results_<date>.json` with
 * "acc,none" and "acc_stderr,none", and `samples_<task>_<date>.jsonl` with one line per question.
 * @module
 */
import { writeAtomic } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { Reporter } from "../../../core/reporter.ts";
import type { Measured, TaskReport, TaskResults } from "./task.ts";
import { DEFAULT_RESAMPLES } from "../../statistics/mod.ts";
import { taskPage, type TrainedCourse } from "./page.ts";

/** What was evaluated and how; goes into the results file as it is. */
export interface EvaluationInfo {
  /** The model folder as given, or the file of a system's answers. */
  model: string;
  /** Of a model. */
  parameters?: number;
  /** What computed it, of a model: an adapter's name. */
  device?: string;
  seed: number;
  /** Only the first so many questions; undefined for all. */
  limit?: number;
  /** How many questions there are, where not all were asked. */
  original?: number;
  started: Date;
  /** Absent where the work was done in pieces, so that no time would say how long it took. */
  finished?: Date;
  /** More for the results file: baselines, comparisons. */
  more?: Record<string, unknown>;
}

/** A moment as the harness writes it into file names: 2026-03-01T12-30-00.123000. */
export function fileDate(date: Date): string {
  return date.toISOString().replaceAll(":", "-").replace("Z", "000");
}

/** Whether a file in a results folder is one that an evaluation wrote. */
export function isResultsFile(name: string): boolean {
  return /_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}\.\w+(\.partial)?$/.test(name);
}

/** A measure under the harness's keys, with the interval beside it. */
export function measureFields(name: string, measured: Measured): Record<string, unknown> {
  return {
    [`${name},none`]: measured.value,
    [`${name}_stderr,none`]: measured.standardError,
    [`${name}_ci95,none`]: [measured.interval.low, measured.interval.high],
  };
}

/** Writes results and samples into `folder` and returns their paths. */
export function writeTaskResults(
  folder: string,
  { name, count, resamples, fields, config, samples: all }: TaskResults,
  info: EvaluationInfo,
): { results: string; samples: string } {
  const date = fileDate(info.started);
  const results = join(folder, `results_${date}.json`);
  const samples = join(folder, `samples_${name}_${date}.jsonl`);
  const object = {
    results: { [name]: { alias: name, ...fields } },
    ...info.more,
    group_subtasks: { [name]: [] },
    configs: { [name]: { task: name, num_fewshot: 0, ...config } },
    versions: { [name]: 1 },
    "n-shot": { [name]: 0 },
    "n-samples": { [name]: { original: info.original ?? count, effective: count } },
    config: {
      model: "pubmamba",
      model_args: `${info.device === undefined ? "answers" : "pretrained"}=${info.model}`,
      model_num_parameters: info.parameters ?? null,
      device: info.device ?? null,
      limit: info.limit ?? null,
      bootstrap_iters: resamples ?? DEFAULT_RESAMPLES,
      random_seed: info.seed,
    },
    date: info.started.getTime() / 1000,
    model_name: info.model,
    ...(info.finished
      ? { total_evaluation_time_seconds: String((+info.finished - +info.started) / 1000) }
      : {}),
  };
  writeAtomic(samples, all.map((line) => JSON.stringify(line) + "\n").join(""));
  writeAtomic(results, JSON.stringify(object, null, 2) + "\n");
  return { results, samples };
}

/** Prints a report's notes and tables, and where it is wanted the table for a paper. */
export function printReport(report: TaskReport, latex: boolean, reporter: Reporter): void {
  for (const note of report.notes) reporter.log(note);
  if (report.text) reporter.line(report.text);
  if (latex && report.latex) reporter.line(`\n${report.latex}`);
}

/**
 * Prints a task's report and writes its files.
 * @param course of a fine-tuning run, for its page
 * @returns everything for --json: the report's object with the paths of the files
 */
export function writeReport(
  folder: string,
  report: TaskReport,
  info: EvaluationInfo,
  reporter: Reporter,
  { latex = false, course }: { latex?: boolean; course?: TrainedCourse } = {},
): Record<string, unknown> {
  printReport(report, latex, reporter);
  let files: Record<string, string> = {};
  if (report.results) {
    const { more, ...results } = report.results;
    files = writeTaskResults(folder, results, { ...info, more: { ...info.more, ...more } });
  }
  for (const { key, name, extension, contents } of report.files ?? []) {
    const path = join(folder, `${name}_${fileDate(info.started)}${extension}`);
    writeAtomic(path, contents);
    files[key] = path;
  }
  if (report.page) {
    // A run has one page, as its pretraining has; a folder of results has one for each evaluation.
    const name = course ? "report.html" : `report_${fileDate(info.started)}.html`;
    files.report = join(folder, name);
    writeAtomic(files.report, taskPage(report.page, info, course));
  }
  const written = Object.values(files);
  if (!written.length) return report.json;
  const last = written.at(-1);
  const all = written.length > 1 ? `${written.slice(0, -1).join(", ")} and ${last}` : last;
  reporter.log(`Wrote ${all}`);
  return { ...report.json, files };
}
