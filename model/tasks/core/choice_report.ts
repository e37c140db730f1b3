/** The results of a multiple-choice evaluation as a table, as JSON, and as files. @module */
import { formatTable } from "../../../core/reporter.ts";
import { sha256 } from "../../../core/files.ts";
import { accuracyOf, type Labelled, macroF1Of } from "./classification.ts";
import type { SystemAnswers } from "./task.ts";
import { measureFields, type TaskResults } from "./results_files.ts";
import {
  mcNemar,
  type McNemarResult,
  pairedBootstrap,
  type PairedComparison,
} from "../../statistics/mod.ts";
import {
  type ChoiceAnswer,
  type ChoiceMeasures,
  type ChoiceTask,
  constantAnswers,
  labelled,
  majorityLabel,
  measureChoices,
  type Measured,
} from "./choices.ts";

/** The systems of one evaluation: each row of the table. */
export interface ChoiceReport {
  task: ChoiceTask;
  rows: {
    role: "majority" | SystemAnswers<ChoiceAnswer>["role"];
    name: string;
    measures: ChoiceMeasures;
  }[];
  comparison?: ChoiceComparison;
}

/**
 * Measures a model, the trivial system that always gives the majority label of `priorGold` (the
 * training split's labels, not the test split's), and a base model where there is one.
 */
export function reportChoices(
  task: ChoiceTask,
  priorGold: readonly number[],
  systems: readonly SystemAnswers<ChoiceAnswer>[],
  seed: number,
  comparison?: ChoiceComparison,
): ChoiceReport {
  const labels = task.labels.length;
  const majority = majorityLabel(priorGold, labels);
  const trivial = constantAnswers(task.items.map((i) => i.gold), majority);
  const measure = (items: Labelled) => measureChoices(items, labels, seed);
  const rows: ChoiceReport["rows"] = [
    { role: "majority", name: `always ${task.labels[majority]}`, measures: measure(trivial) },
    ...systems.map(({ role, name, answers }) => ({
      role,
      name,
      measures: measure(labelled(answers)),
    })),
  ];
  return comparison ? { task, rows, comparison } : { task, rows };
}

const interval = ({ interval: { low, high } }: Measured) =>
  `${low.toFixed(4)} to ${high.toFixed(4)}`;

/** The report for people. */
export function formatReport({ task, rows, comparison }: ChoiceReport): string {
  const table = formatTable(
    [`${task.name}, ${task.items.length} questions`, "accuracy", "95%", "macro F1", "95%"],
    rows.map(({ name, measures: { accuracy, macroF1 } }) => [
      name,
      accuracy.value.toFixed(4),
      interval(accuracy),
      macroF1.value.toFixed(4),
      interval(macroF1),
    ]),
  );
  if (!comparison) return table;
  const { accuracy, mcNemar } = comparison;
  const signed = (value: number) => (value < 0 ? "" : "+") + value.toFixed(4);
  return `${table}\n\nAgainst its base: accuracy ${signed(accuracy.difference)} (95% ` +
    `${signed(accuracy.interval.low)} to ${signed(accuracy.interval.high)}), McNemar p = ` +
    `${formatP(mcNemar.pValue)} (${mcNemar.onlyFirst} questions right only here, ` +
    `${mcNemar.onlySecond} only in the base)\n` +
    (accuracy.interval.low > 0
      ? "It is better than its base."
      : accuracy.interval.high < 0
      ? "It is worse than its base."
      : "This does not show a difference from its base.");
}

const formatP = (p: number) => p < 0.0001 ? p.toExponential(1) : p.toFixed(4);

/** The report for programs. */
export function reportJson({ task, rows, comparison }: ChoiceReport): Record<string, unknown> {
  const flat = ({ accuracy, macroF1 }: ChoiceMeasures) => ({
    accuracy: accuracy.value,
    accuracy_interval: [accuracy.interval.low, accuracy.interval.high],
    macro_f1: macroF1.value,
    macro_f1_interval: [macroF1.interval.low, macroF1.interval.high],
  });
  return {
    task: task.name,
    questions: task.items.length,
    ...Object.fromEntries(
      rows.map(({ role, name, measures }) => [role, { name, ...flat(measures) }]),
    ),
    ...(comparison ? { comparison: comparisonJson(comparison) } : {}),
  };
}

function comparisonJson({ accuracy, macroF1, mcNemar }: ChoiceComparison) {
  const flat = (c: ChoiceComparison["accuracy"]) => ({
    difference: c.difference,
    interval: [c.interval.low, c.interval.high],
    p: c.pValue,
  });
  return {
    accuracy: flat(accuracy),
    macro_f1: flat(macroF1),
    mcnemar: {
      only_model: mcNemar.onlyFirst,
      only_base: mcNemar.onlySecond,
      p: mcNemar.pValue,
    },
  };
}

/** A model against its base on the same questions. */
export interface ChoiceComparison {
  accuracy: PairedComparison;
  macroF1: PairedComparison;
  mcNemar: McNemarResult;
}

/** Paired tests: is `answers` better than `base`, and how sure is that? */
export function compareAnswers(
  answers: ChoiceAnswer[],
  base: ChoiceAnswer[],
  labels: number,
  seed: number,
): ChoiceComparison {
  const a = labelled(answers);
  const b = labelled(base);
  const count = answers.length;
  const options = { seed };
  const right = (list: ChoiceAnswer[]) => list.map((x) => x.predicted === x.item.gold);
  return {
    accuracy: pairedBootstrap(count, accuracyOf(a), accuracyOf(b), options),
    macroF1: pairedBootstrap(count, macroF1Of(a, labels), macroF1Of(b, labels), options),
    mcNemar: mcNemar(right(answers), right(base)),
  };
}

/** A multiple-choice task's results, ready to be written. */
export function choiceResults(
  task: ChoiceTask,
  answers: ChoiceAnswer[],
  measures: ChoiceMeasures,
): TaskResults {
  return {
    name: task.name,
    count: task.items.length,
    fields: {
      ...measureFields("acc", measures.accuracy),
      ...measureFields("f1_macro", measures.macroF1),
    },
    config: {
      output_type: "multiple_choice",
      doc_to_choice: task.labels,
      target_delimiter: " ",
      metric_list: [{ metric: "acc", aggregation: "mean", higher_is_better: true }],
    },
    samples: answers.map((answer, i) => sample(task, answer, i)),
  };
}

function sample(task: ChoiceTask, answer: ChoiceAnswer, index: number): Record<string, unknown> {
  const { item, logProbabilities, predicted } = answer;
  const target = task.labels[item.gold]!;
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
