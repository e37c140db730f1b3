/**
 * Texts or pairs of texts with a score each as a task: BIOSSES, whose pairs of sentences are more or less
 * alike, and any table or JSON lines with a column of scores. A head with one output answers.
 *
 * A head learns scores less their mean, divided by their standard deviation, those of the training split:
 * both stand in the name of the model's one label, which its folder keeps.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { headApproach, type HeadForm } from "../core/head_approach.ts";
import { type JudgedItem, namedLines } from "../core/error_page.ts";
import { reportSystems } from "../core/report.ts";
import type { Score, Task, TaskData } from "../core/task.ts";
import { NEW_TEXTS, newTextJson, pairItem, readNewTexts } from "../classify/texts.ts";
import type { LabelledText } from "../formats/mod.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import { readTexts } from "../formats/views.ts";
import { escapeXml } from "../formats/xml.ts";
import { mean } from "../../statistics/mod.ts";
import { scoreMeasures } from "./measures.ts";

/** What was said of one text. */
export interface ScoreAnswer {
  /** NaN where nothing was said. */
  score: number;
  /** Tokens that were cut from the text. */
  cut: number;
}

const RESAMPLES = 10_000;

/** How scores are told to a head. */
interface Scale {
  mean: number;
  deviation: number;
}

/** The name of the one label of a model that learns scores. */
const scaleLabel = (scale: Scale): string =>
  `score (mean ${scale.mean}, standard deviation ${scale.deviation})`;

/**
 * The scale that a label names.
 * @throws {UserError} for the label of another task.
 */
export function scaleOf(labels: readonly string[]): Scale {
  const match = /^score \(mean (\S+), standard deviation (\S+)\)$/.exec(labels[0] ?? "");
  const scale = { mean: Number(match?.[1] ?? NaN), deviation: Number(match?.[2] ?? NaN) };
  if (Number.isFinite(scale.mean) && scale.deviation > 0) return scale;
  throw new UserError(
    `Cannot read the model's scores: its label is "${
      labels[0] ?? ""
    }", not that of a model that was ` +
      `taught regression; teach it first with finetune regression`,
  );
}

/** The scale of some texts' scores. */
function scaleOfTexts(texts: readonly LabelledText[]): Scale {
  const scores = texts.map(({ score = NaN }) => score);
  const centre = mean(scores);
  const variance = mean(scores.map((score) => (score - centre) ** 2));
  return { mean: centre, deviation: Math.sqrt(variance) || 1 };
}

const SCORE_HEAD: HeadForm<LabelledText, ScoreAnswer> = {
  loss: "squared",
  marks: 3,
  sequence: false,
  texts(item, limit, { tokenizer, labels }) {
    const scale = scaleOf(labels);
    // Of a text whose score is to be found, the target is not looked at.
    const target = ((item.score ?? scale.mean) - scale.mean) / scale.deviation;
    return [pairItem(item, target, limit, tokenizer)];
  },
  answer(_item, { logits, cut }, { labels }) {
    const scale = scaleOf(labels);
    return { score: scale.mean + scale.deviation * (logits[0]?.[0] ?? NaN), cut };
  },
};

/**
 * The texts of a file, with their scores. Where all scores are whole numbers, looking takes them for
 * labels: they are scores here.
 * @throws {UserError} naming the file and the text that has none.
 */
function textsOf(path: string, format: string | undefined): LabelledText[] {
  const { items } = readTexts(path, format);
  return items.map((item) => {
    const { id, line, labels, score = labels.length === 1 ? Number(labels[0]) : NaN } = item;
    if (Number.isFinite(score)) return { ...item, labels: [], score };
    const place = line === undefined ? "" : `, line ${line}`;
    throw new UserError(
      `Cannot use ${path}${place}: the text ${id} has ${
        labels.length ? `the label "${labels.join(", ")}"` : "nothing"
      }, where a score is needed`,
    );
  });
}

function scoreScores(items: readonly LabelledText[], answers: readonly ScoreAnswer[]): Score {
  const gold = items.map(({ score = NaN }) => score);
  const predicted = answers.map(({ score }) => score);
  return {
    measures: scoreMeasures(gold, predicted),
    resamples: RESAMPLES,
    loss: mean(gold.map((value, i) => (value - (predicted[i] ?? NaN)) ** 2)),
  };
}

/** All texts, the farthest off first. */
function farthestTexts(
  items: readonly LabelledText[],
  answers: readonly ScoreAnswer[],
): JudgedItem[] {
  return items.map((item, i) => {
    const { score: said = NaN } = answers[i] ?? {};
    const { score = NaN, text, pair } = item;
    return {
      id: item.id,
      right: false,
      loss: (said - score) ** 2,
      html: namedLines([
        ["right", String(score)],
        ["said", said.toFixed(3)],
        ["text", escapeXml(text)],
        ...(pair === undefined ? [] : [["second", escapeXml(pair)] as const]),
      ]),
    };
  });
}

/** A score for each text or pair of texts. */
export const regression: Task<LabelledText, ScoreAnswer> = {
  name: "regression",
  units: "texts",
  approaches: [],
  headed: (choice) => headApproach(SCORE_HEAD, choice),
  evaluation: {
    summary: "Correlation of scores for texts or pairs of texts: BIOSSES, any table with scores",
    description:
      "Reads texts or pairs of texts with a score each, in any format that tasks formats lists, and " +
      "prints Pearson's and Spearman's correlation with the golden scores and the mean squared error. " +
      "With --system, compares with another file of the same texts.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the texts with scores", required: true },
      format: FORMAT,
      train: TRAIN,
    },
    examples: [
      "deno task evaluate regression --gold biosses/test.tsv " +
      "--model runs/biosses/checkpoints/step-00000040",
    ],
  },
  finetuning: {
    summary: "Teach a model to score texts or pairs of texts, and test it",
    description:
      "Trains on the train split of a folder by a head with one output and the squared error, takes the " +
      "epoch with the best correlation on the development split, then scores the test split once.",
    options: {
      data: {
        type: "string",
        placeholder: "DIR",
        help:
          "a folder whose files or folders are called train, dev and test, or one set to be split",
        required: true,
      },
      format: FORMAT,
    },
    defaults: { epochs: 20, head: { crf: false, dropout: 0.1, learningRate: 1e-3 } },
    examples: [
      "deno task finetune regression --model mamba-130m-hf --data biosses --out runs/biosses",
    ],
  },
  prediction: {
    summary: "Score new texts or pairs of texts",
    description: "Prints a line of JSON for each text or pair, with its score.",
    options: { input: NEW_TEXTS },
    examples: [
      "deno task predict regression --model runs/biosses/checkpoints/step-00000040 --input pairs.jsonl",
    ],
    read: (given) => readNewTexts(given.string("input") ?? ""),
    write: ({ items, answers }) =>
      items.map((item, i) =>
        JSON.stringify({ ...newTextJson(item), score: answers[i]?.score ?? null }) + "\n"
      ).join(""),
  },
  read(given, purpose): TaskData<LabelledText> {
    const format = given.string("format");
    return readReleased(given, purpose, {
      read: (paths) => paths.map((path) => textsOf(path, format)),
      // In fine-tuning the first split is the training one; else the labels are those of the model.
      labelsOf: (first = []) => [scaleLabel(scaleOfTexts(first))],
      groupOf: ({ document }) => document,
    });
  },
  answersNameLabels: true,
  readAnswers(path, { test, path: gold }) {
    const said = new Map(textsOf(path, undefined).map(({ id, score = NaN }) => [id, score]));
    const missing = test.find(({ id }) => !said.has(id));
    if (missing) {
      throw new UserError(
        `Cannot compare ${path} with ${gold}: it has no score for the text ${missing.id}; give a ` +
          `score for every text of the gold file`,
      );
    }
    return test.map(({ id }) => ({ score: said.get(id) ?? NaN, cut: 0 }));
  },
  fit: (data, labels) => ({ ...data, labels }),
  score: (_data, items, answers) => scoreScores(items, answers),
  report(request) {
    const { test, train } = request.data;
    const known = train.length ? train : test;
    const centre = scaleOfTexts(known).mean;
    const cut = request.systems[0]?.answers.filter((a) => a.cut).length;
    return reportSystems({
      request,
      name: "regression",
      units: "texts",
      score: (answers) => scoreScores(test, answers),
      trivial: {
        key: "constant",
        name: `always ${centre.toFixed(3)}, the ${train.length ? "training" : "file's own"} mean`,
        score: scoreScores(test, test.map(() => ({ score: centre, cut: 0 }))),
      },
      notes: cut ? [`${cut} texts were cut to --max-tokens`] : [],
      judged: (answers) => farthestTexts(test, answers),
      config: {
        output_type: "score",
        metric_list: [{ metric: "pearson", higher_is_better: true }],
      },
      samples: (answers) =>
        test.map(({ id, score }, i) => ({
          doc_id: i,
          doc: { id },
          target: score,
          prediction: answers[i]?.score ?? null,
        })),
    });
  },
};
