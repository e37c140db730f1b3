/**
 * Results in the layout of EleutherAI's lm-evaluation-harness: `results_<date>.json` with
 * "acc,none" and "acc_stderr,none", and `samples_<task>_<date>.jsonl` with one line a question.
 * @module
 */
import { sha256, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import type { ChoiceAnswer, ChoiceMeasures, ChoiceTask, Measured } from "./choices.ts";

/** What was evaluated and how; goes into the results file as it is. */
export interface EvaluationInfo {
  /** The model folder as given. */
  model: string;
  parameters: number;
  /** What computed it: an adapter's name. */
  device: string;
  seed: number;
  /** Only the first so many questions; undefined for all. */
  limit?: number;
  started: Date;
  finished: Date;
  /** More for the results file: baselines, comparisons. */
  more?: Record<string, unknown>;
}

/** A moment as the harness writes it into file names: 2026-03-01T12-30-00.123000. */
export function fileDate(date: Date): string {
  return date.toISOString().replaceAll(":", "-").replace("Z", "000");
}

/** A measure under the harness's keys, with the interval beside it. */
function measureFields(name: string, measured: Measured): Record<string, unknown> {
  return {
    [`${name},none`]: measured.value,
    [`${name}_stderr,none`]: measured.standardError,
    [`${name}_ci95,none`]: [measured.interval.low, measured.interval.high],
  };
}

/** Writes both files into `folder` and returns their paths. */
export function writeResults(
  folder: string,
  task: ChoiceTask,
  answers: ChoiceAnswer[],
  measures: ChoiceMeasures,
  info: EvaluationInfo,
): { results: string; samples: string } {
  const date = fileDate(info.started), { name } = task;
  const results = join(folder, `results_${date}.json`);
  const samples = join(folder, `samples_${name}_${date}.jsonl`);
  const lines = answers.map((answer, i) => JSON.stringify(sample(task, answer, i)) + "\n");
  writeAtomic(samples, lines.join(""));
  writeAtomic(results, JSON.stringify(resultsObject(task, measures, info), null, 2) + "\n");
  return { results, samples };
}

function resultsObject(task: ChoiceTask, measures: ChoiceMeasures, info: EvaluationInfo) {
  const { name } = task, count = task.items.length;
  return {
    results: {
      [name]: {
        alias: name,
        ...measureFields("acc", measures.accuracy),
        ...measureFields("f1_macro", measures.macroF1),
      },
    },
    ...info.more,
    group_subtasks: { [name]: [] },
    configs: {
      [name]: {
        task: name,
        output_type: "multiple_choice",
        doc_to_choice: task.labels,
        target_delimiter: " ",
        num_fewshot: 0,
        metric_list: [{ metric: "acc", aggregation: "mean", higher_is_better: true }],
      },
    },
    versions: { [name]: 1 },
    "n-shot": { [name]: 0 },
    higher_is_better: { [name]: { acc: true, f1_macro: true } },
    "n-samples": { [name]: { original: count, effective: count } },
    config: {
      model: "pubmamba",
      model_args: `pretrained=${info.model}`,
      model_num_parameters: info.parameters,
      device: info.device,
      limit: info.limit ?? null,
      bootstrap_iters: 10_000,
      random_seed: info.seed,
    },
    date: info.started.getTime() / 1000,
    model_name: info.model,
    total_evaluation_time_seconds: String((+info.finished - +info.started) / 1000),
  };
}

function sample(task: ChoiceTask, answer: ChoiceAnswer, index: number): Record<string, unknown> {
  const { item, logProbabilities, predicted } = answer, target = task.labels[item.gold]!;
  const requests = task.labels.map((label, i): [string, unknown] => [
    `gen_args_${i}`,
    { arg_0: item.prompt, arg_1: ` ${label}` },
  ]);
  return {
    doc_id: index,
    doc: { id: item.id, truncated_tokens: answer.truncated },
    target,
    prediction: task.labels[predicted] ?? null,
    arguments: Object.fromEntries(requests),
    resps: logProbabilities.map((value) => [[value]]),
    filtered_resps: logProbabilities.map((value) => [value]),
    filter: "none",
    metrics: ["acc"],
    doc_hash: sha256(item.id),
    prompt_hash: sha256(item.prompt),
    target_hash: sha256(target),
    acc: Number(predicted === item.gold),
  };
}
