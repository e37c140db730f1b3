/**
 * Multiple choice as a task: what PubMedQA, the yes/no questions of BioASQ and the relations of marked
 * sentences have in common. The answer is the label that is most probable as the words after a prompt.
 * @module
 */
import {
  answerChoices,
  type ChoiceAnswer,
  type ChoiceItem,
  labelled,
  labelTokens,
  promptTokens,
} from "./choices.ts";
import {
  choiceResults,
  compareAnswers,
  formatReport,
  reportChoices,
  reportJson,
} from "./choice_report.ts";
import { accuracyOf, macroF1Of } from "./classification.ts";
import { answerExample } from "./examples.ts";
import { batchScorer } from "./scorer.ts";
import { mean } from "../../statistics/mod.ts";
import type {
  Approach,
  ReportRequest,
  Score,
  SystemAnswers,
  Task,
  TaskReader,
  TaskReport,
} from "./task.ts";

/** How items of a kind are put as choices. */
export interface ChoiceForm<Item> {
  /** The prompts of items, and their right labels among `labels`. */
  choicesOf(items: readonly Item[], labels: readonly string[]): ChoiceItem[];
  /** What a model says for a label; the label itself where not given. */
  wordsOf?(label: string): string;
}

/** Labels as words after a prompt, weighed against each other. */
export function labelWords<Item>(form: ChoiceForm<Item>): Approach<Item, ChoiceAnswer> {
  const answersOf = ({ labels, tokenizer }: TaskReader) =>
    labelTokens(spokenLabels(form, labels), tokenizer);
  return {
    name: "words",
    /** Whole 64s, at most `maxTokens`: enough for the longest prompt and an answer. */
    rowLength(items, reader) {
      const { tokenizer, maxTokens, labels } = reader;
      const answer = longestAnswer(answersOf(reader));
      let longest = 1;
      for (const { prompt } of form.choicesOf(items, labels)) {
        const { tokens } = promptTokens(prompt, tokenizer, maxTokens - answer);
        longest = Math.max(longest, tokens.length + answer - 1);
      }
      return Math.min(maxTokens, Math.ceil(longest / 64) * 64);
    },
    examples(items, reader) {
      const { tokenizer, maxTokens, labels } = reader;
      const answers = answersOf(reader);
      const limit = maxTokens - longestAnswer(answers);
      return form.choicesOf(items, labels).map(({ prompt, gold }) =>
        answerExample(promptTokens(prompt, tokenizer, limit).tokens, answers[gold]!)
      );
    },
    answer(items, { model }, reader) {
      const { labels, tokenizer } = reader;
      const choices = form.choicesOf(items, labels);
      const task = { labels: spokenLabels(form, labels), items: choices };
      return answerChoices(task, batchScorer(model), tokenizer, reader);
    },
  };
}

function spokenLabels<Item>(form: ChoiceForm<Item>, labels: readonly string[]): string[] {
  return labels.map((label) => form.wordsOf?.(label) ?? label);
}

const longestAnswer = (answers: number[][]) => Math.max(...answers.map((a) => a.length));

/** Accuracy and macro F1; the loss is that of the right label. */
export function scoreChoices(answers: readonly ChoiceAnswer[], labels: readonly string[]): Score {
  const list = labelled(answers);
  const right = answers.map((a) => a.predicted === a.item.gold);
  const count = answers.length;
  return {
    measures: [
      {
        key: "acc",
        name: "accuracy",
        count,
        statistic: accuracyOf(list),
        values: right.map(Number),
      },
      {
        key: "f1_macro",
        name: "macro F1",
        count,
        statistic: macroF1Of(list, labels.length),
      },
    ],
    right,
    loss: mean(answers.map((a) => -a.logProbabilities[a.item.gold]!)),
  };
}

/**
 * The table and the results file of a task of multiple choice; see {@linkcode reportChoices}.
 * @param name as in tables and file names
 * @param prior the labels whose majority the trivial system gives; by default those of the training
 * split, or of the test split where there is none
 */
export function reportChoiceTask<Item>(
  name: string,
  form: ChoiceForm<Item>,
  request: Pick<ReportRequest<Item, ChoiceAnswer>, "data" | "systems" | "seed" | "development">,
  prior?: readonly number[],
): TaskReport {
  const { data, systems, seed, development } = request;
  const { train, test } = data;
  const labels = spokenLabels(form, data.labels);
  const [own, base] = systems as [SystemAnswers<ChoiceAnswer>, SystemAnswers<ChoiceAnswer>?];
  const task = { name, labels, items: form.choicesOf(test, data.labels) };
  const report = reportChoices(
    task,
    prior ?? form.choicesOf(train.length ? train : test, data.labels).map((item) => item.gold),
    systems,
    seed,
    base && compareAnswers(own.answers, base.answers, labels.length, seed),
  );
  const chosen = development
    ? { development: { step: development.step, accuracy: development.score } }
    : {};
  const { measures } = report.rows[1]!;
  const { task: _task, questions: _questions, ...more } = reportJson(report);
  const cut = own.answers.filter((a) => a.truncated).length;
  return {
    score: measures.accuracy.value,
    notes: cut ? [`${cut} prompts were cut to --max-tokens`] : [],
    text: formatReport(report),
    json: { ...reportJson(report), ...chosen },
    results: { ...choiceResults(task, own.answers, measures), more: { ...chosen, ...more } },
  };
}

/** What a task of multiple choice adds to what they have in common. */
export type ChoiceTaskParts<Item> =
  & Pick<Task<Item, ChoiceAnswer>, "name" | "evaluation" | "finetuning" | "read">
  & Partial<Pick<Task<Item, ChoiceAnswer>, "units" | "variant" | "readAnswers" | "report">>;

/** A task of multiple choice. */
export function choiceTask<Item>(
  form: ChoiceForm<Item>,
  parts: ChoiceTaskParts<Item>,
): Task<Item, ChoiceAnswer> {
  return {
    units: "questions",
    approaches: [labelWords(form)],
    score: (_items, answers, labels) => scoreChoices(answers, labels),
    report: (request) => reportChoiceTask(parts.name, form, request),
    ...parts,
  };
}
