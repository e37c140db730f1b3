/**
 * Multiple choice as a task: what PubMedQA, the yes/no questions of BioASQ and the relations of marked
 * sentences have in common. The answer is the label that is most probable as the words after a prompt.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import { UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import {
  answerChoices,
  type ChoiceAnswer,
  type ChoiceItem,
  labelled,
  labelTokens,
  majorityLabel,
  promptTokens,
} from "./choices.ts";
import { formatTable } from "../../../core/reporter.ts";
import { escapeHtml, matrixHtml } from "../../../core/page/mod.ts";
import { type JudgedItem, namedLines } from "./error_page.ts";
import { confusionMatrix, type Labelled, labelMeasures } from "./classification.ts";
import { answerExample } from "./examples.ts";
import { type Details, type ReportParts, reportSystems, type TrivialSystem } from "./report.ts";
import { batchScorer, branchingScorer, readingsOf } from "./scorer.ts";
import { mean } from "../../statistics/mod.ts";
import type {
  Approach,
  Measure,
  ReportRequest,
  Score,
  Task,
  TaskData,
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

/** From so many readings of a prompt on it is read once, token by token, and its state gone back to. */
const MOST_READINGS = 4;
/** Prompts that are read side by side then. */
const ROWS_AT_ONCE = 32;

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
      return form.choicesOf(items, labels).map(({ prompt, gold }) => {
        const { tokens, truncated } = promptTokens(prompt, tokenizer, limit);
        return { ...answerExample(tokens, nth(answers, gold)), cut: truncated };
      });
    },
    async answer(items, made, reader) {
      const { labels, tokenizer } = reader;
      const choices = form.choicesOf(items, labels);
      const task = { labels: spokenLabels(form, labels), items: choices };
      const once = readingsOf(answersOf(reader)).length >= MOST_READINGS;
      const { sequenceLength } = made.model;
      const rows = once ? await made.branching?.(Math.min(items.length, ROWS_AT_ONCE)) : undefined;
      if (!rows) return await answerChoices(task, batchScorer(made.model), tokenizer, reader);
      try {
        const scorer = branchingScorer(rows, sequenceLength + 1);
        return await answerChoices(task, scorer, tokenizer, reader);
      } finally {
        rows.destroy();
      }
    },
  };
}

function spokenLabels<Item>(form: ChoiceForm<Item>, labels: readonly string[]): string[] {
  return labels.map((label) => form.wordsOf?.(label) ?? label);
}

const longestAnswer = (answers: number[][]) => Math.max(...answers.map((a) => a.length));

/** The measures of labels, and how surprised the model was by the right ones. */
function scoreChoices(
  answers: readonly ChoiceAnswer[],
  labels: readonly string[],
  measures: LabelMeasures = (items) => labelMeasures(items, labels.length),
  negative?: string,
  resamples?: number,
): Score {
  const losses = answers.map((a) => -(a.logProbabilities[a.item.gold] ?? NaN));
  return {
    measures: measures(labelled(answers), labels, negative),
    right: answers.map((a) => a.predicted === a.item.gold),
    loss: mean(losses),
    resamples,
  };
}

/** The measures of a task of labels, from numbers of labels. */
type LabelMeasures = (
  items: Labelled,
  labels: readonly string[],
  negative: string | undefined,
) => Measure[];

/**
 * The trivial system that always gives the commonest label of the training split; of a set with a label
 * that means "none of the others" the commonest of the others, since F1 leaves that one out and a system
 * that says nothing else would be no floor at all.
 */
function majoritySystem<Item>(
  form: ChoiceForm<Item>,
  { data }: Pick<ReportRequest<Item, ChoiceAnswer>, "data">,
  measures?: LabelMeasures,
  given?: readonly number[],
): TrivialSystem {
  const known = data.train.length ? data.train : data.test;
  const prior = given ?? form.choicesOf(known, data.labels).map((item) => item.gold);
  const { labels, test, negative } = data;
  const none = negative === undefined ? -1 : labels.indexOf(negative);
  const counted = prior.filter((label) => label !== none);
  const majority = majorityLabel(counted.length ? counted : prior, labels.length);
  const choices = form.choicesOf(test, labels);
  const answers = choices.map((item) => ({
    item,
    logProbabilities: [],
    predicted: majority,
    truncated: 0,
  }));
  const [word] = spokenLabels(form, [nth(labels, majority)]);
  // Where the training split is not at hand, the file's own commonest label is said to be that.
  const guessed = !data.train.length && !given;
  return {
    key: "majority",
    name: `always ${word}${guessed ? " (the file's own majority)" : ""}`,
    score: scoreChoices(answers, labels, measures, negative),
  };
}

/** What a report of labels adds to what it can say by itself. */
interface ChoiceReportParts extends Pick<ReportParts<unknown, ChoiceAnswer>, "details"> {
  /** As in tables and file names. */
  name: string;
  units: string;
  measures?: LabelMeasures;
  resamples?: number;
  /**
   * The labels whose majority the trivial system gives; by default those of the training split, or of
   * the test split where there is none.
   */
  prior?: readonly number[];
}

/** The tables and the results file of a task of multiple choice. */
function reportChoices<Item>(
  form: ChoiceForm<Item>,
  request: ReportRequest<Item, ChoiceAnswer>,
  { name, units, measures, resamples, prior, details }: ChoiceReportParts,
): TaskReport {
  const { labels, negative } = request.data;
  const words = spokenLabels(form, labels);
  const cut = nth(request.systems, 0).answers.filter((a) => a.truncated).length;
  return reportSystems({
    request,
    name,
    units,
    score: (answers) => scoreChoices(answers, labels, measures, negative, resamples),
    trivial: majoritySystem(form, request, measures, prior),
    notes: cut ? [`${cut} prompts were cut to --max-tokens`] : [],
    details: (answers) => {
      const confusion = confusionOf(answers, words);
      const more = details?.(answers);
      return {
        text: [more?.text, confusion.text].filter(Boolean).join("\n\n"),
        json: { ...more?.json, ...confusion.json },
        html: [...more?.html ?? [], ...confusion.html ?? []],
      };
    },
    judged: (answers) => judgedChoices(answers, words),
    config: {
      output_type: "multiple_choice",
      doc_to_choice: words,
      target_delimiter: " ",
      metric_list: [{ metric: "acc", aggregation: "mean", higher_is_better: true }],
    },
    samples: (answers) => answers.map((answer, i) => choiceSample(words, answer, i)),
  });
}

/** Sets of more labels than these have their confusion matrix in the JSON alone. */
const MOST_SHOWN = 5;

/** How often each label was answered by each. */
function confusionOf(
  answers: readonly ChoiceAnswer[],
  words: readonly string[],
): Details {
  const matrix = confusionMatrix(labelled(answers), words.length);
  const columns = [...words, "none"];
  const text = formatTable(
    ["gold \\ said", ...columns],
    matrix.map((row, i) => [nth(words, i), ...row.map(String)]),
  );
  return {
    text: words.length > MOST_SHOWN ? "" : text,
    json: { confusion: { gold: words, predicted: columns, matrix } },
    html: [
      matrixHtml("Confusion matrix", { gold: words, predicted: columns, matrix }),
    ],
  };
}

/** The questions with their answers, for the pages. */
function judgedChoices(
  answers: readonly ChoiceAnswer[],
  words: readonly string[],
): JudgedItem[] {
  return answers.map(({ item, predicted, logProbabilities, said }) => ({
    id: item.id,
    right: predicted === item.gold,
    loss: item.gold in logProbabilities ? -(logProbabilities[item.gold] ?? NaN) : undefined,
    html: namedLines([
      ["right", escapeHtml(words[item.gold] ?? "")],
      ["said", escapeHtml(words[predicted] ?? said ?? "nothing")],
      ["asked", escapeHtml(item.prompt)],
    ]),
  }));
}

/** A line of the samples file as the harness has it. */
function choiceSample(
  labels: readonly string[],
  { item, logProbabilities, predicted, truncated, said }: ChoiceAnswer,
  index: number,
): Record<string, unknown> {
  const target = nth(labels, item.gold);
  const requests = labels.map((label, i): [string, unknown] => [
    `gen_args_${i}`,
    { arg_0: item.prompt, arg_1: ` ${label}` },
  ]);
  return {
    doc_id: index,
    doc: { id: item.id, truncated_tokens: truncated },
    target,
    prediction: labels[predicted] ?? said ?? null,
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

/**
 * Data for a model that has labels of its own: they are asked in place of the data's.
 * @throws {UserError} where a golden label is not among them.
 */
function fitLabels<Item>(data: TaskData<Item>, labels: readonly string[]): TaskData<Item> {
  const strange = data.labels.filter((label) => !labels.includes(label));
  if (strange.length) {
    throw new UserError(
      `Cannot ask the model for the labels of ${data.path}: it was taught ${labels.join(", ")}, ` +
        `and the data have also ${strange.join(", ")}; give data with the labels it was taught`,
    );
  }
  return { ...data, labels };
}

/** What a task of multiple choice adds to what they have in common. */
interface ChoiceTaskParts<Item>
  extends
    Pick<Task<Item, ChoiceAnswer>, "name" | "evaluation" | "finetuning" | "prediction" | "read">,
    Partial<Pick<Task<Item, ChoiceAnswer>, "units" | "variant" | "readAnswers" | "headed">> {
  measures?: LabelMeasures;
  /** Of the intervals, where not as many as usual. */
  resamples?: number;
  /** A table of one system by label. */
  details?(
    data: TaskData<Item>,
    answers: readonly ChoiceAnswer[],
  ): Details;
}

/** A task of multiple choice. */
export function choiceTask<Item>(
  form: ChoiceForm<Item>,
  { measures, resamples, details, ...parts }: ChoiceTaskParts<Item>,
): Task<Item, ChoiceAnswer> {
  const { name, units = "questions" } = parts;
  return {
    ...parts,
    units,
    approaches: [labelWords(form)],
    closed: {
      items: (items, labels) => form.choicesOf(items, labels),
      words: (labels) => spokenLabels(form, labels),
      answers: (_items, said) => [...said],
    },
    fit: fitLabels,
    score: ({ labels, negative }, _items, answers) =>
      scoreChoices(answers, labels, measures, negative, resamples),
    report: (request) =>
      reportChoices(form, request, {
        name,
        units,
        measures,
        resamples,
        details: details && ((answers) => details(request.data, answers)),
      }),
  };
}
