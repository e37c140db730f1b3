/** The results of a multiple-choice evaluation as a table, as JSON, and as files. @module */
import { formatTable } from "../../../core/reporter.ts";
import type { Labelled } from "./classification.ts";
import type { ChoiceComparison } from "./choice_run.ts";
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
  rows: { role: "majority" | "model" | "base"; name: string; measures: ChoiceMeasures }[];
  comparison?: ChoiceComparison;
}

/**
 * Measures a model, the trivial system that always gives the majority label of `priorGold` (the
 * training split's labels, not the test split's), and a base model where there is one.
 */
export function reportChoices(
  task: ChoiceTask,
  priorGold: readonly number[],
  systems: { role: "model" | "base"; name: string; answers: ChoiceAnswer[] }[],
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
