/**
 * Texts with any number of labels each as a task: the Hallmarks of Cancer, and any table or JSON lines
 * whose labels do not exclude each other. A head of labels answers: each label holds or not by itself.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { formatTable } from "../../../core/reporter.ts";
import { precisionRecall, ratioBars } from "../core/classification.ts";
import { barsHtml } from "../../../core/page/mod.ts";
import { type JudgedItem, namedLines } from "../core/error_page.ts";
import { headApproach, type HeadForm } from "../core/head_approach.ts";
import { type Details, reportSystems } from "../core/report.ts";
import type { Score, Task, TaskData } from "../core/task.ts";
import { NEW_TEXTS, newTextJson, pairItem, readNewTexts } from "../classify/texts.ts";
import type { LabelledText } from "../formats/mod.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import { readTexts } from "../formats/views.ts";
import { escapeXml } from "../formats/xml.ts";
import {
  byDocument,
  countsByLabel,
  isExact,
  labelSetMeasures,
  type LabelSets,
} from "./measures.ts";

/** What was said of one text. */
export interface LabelsAnswer {
  /** The labels that hold. */
  labels: readonly string[];
  /** By label of the model's set: how probable it is that it holds. */
  probabilities?: readonly number[];
  /** Tokens that were cut from the text. */
  cut: number;
}

/** A label holds where that is more probable than not. */
const THRESHOLD = 0.5;

const RESAMPLES = 2000;

/** Texts for a head, with 1 for each label that holds. */
const LABELS_HEAD: HeadForm<LabelledText, LabelsAnswer> = {
  loss: "sigmoid",
  marks: 3,
  sequence: false,
  texts(item, limit, { tokenizer, labels }) {
    const strange = item.labels.find((label) => !labels.includes(label));
    if (strange !== undefined) {
      throw new UserError(
        `Cannot use the text ${item.id}: its label "${strange}" is not among ${labels.join(", ")}`,
      );
    }
    const target = labels.map((label) => Number(item.labels.includes(label)));
    return [pairItem(item, target, limit, tokenizer)];
  },
  answer(_item, { logits, cut }, { labels }) {
    const probabilities = labels.map((_, k) => 1 / (1 + Math.exp(-(logits[0]?.[k] ?? NaN))));
    return {
      labels: labels.filter((_, k) => (probabilities[k] ?? 0) > THRESHOLD),
      probabilities,
      cut,
    };
  },
};

/**
 * The texts of a file.
 * @throws {UserError} naming the file and the text that has a score in place of labels.
 */
function textsOf(path: string, format: string | undefined): LabelledText[] {
  const { items } = readTexts(path, format);
  for (const { id, score, line } of items) {
    if (score === undefined) continue;
    throw new UserError(
      `Cannot use ${path}${line === undefined ? "" : `, line ${line}`}: the text ${id} has the ` +
        `score ${score}, where labels are needed; score it with the task regression`,
    );
  }
  return items;
}

const labelsOf = (...splits: LabelledText[][]): string[] =>
  [...new Set(splits.flat().flatMap((text) => text.labels))].sort();

/** Golden and predicted labels by number; a predicted label that the data do not have is wrong. */
function setsOf(
  items: readonly LabelledText[],
  answers: readonly Pick<LabelsAnswer, "labels">[],
  labels: readonly string[],
): LabelSets[] {
  const strange = new Map<string, number>();
  const numberOf = (label: string) => {
    const known = labels.indexOf(label);
    if (known >= 0) return known;
    const number = strange.get(label) ?? labels.length + strange.size;
    strange.set(label, number);
    return number;
  };
  return items.map((item, i) => ({
    gold: new Set(item.labels.map(numberOf)),
    predicted: new Set((answers[i]?.labels ?? []).map(numberOf)),
  }));
}

/** Mean negative log-probability of the right set of labels, each by itself, in nats. */
function lossOf(
  items: readonly LabelledText[],
  answers: readonly LabelsAnswer[],
  labels: readonly string[],
): number {
  let nll = 0;
  items.forEach((item, i) =>
    labels.forEach((label, k) => {
      const holds = answers[i]?.probabilities?.[k] ?? NaN;
      nll -= Math.log(Math.max(item.labels.includes(label) ? holds : 1 - holds, 1e-12));
    })
  );
  return nll / items.length;
}

function scoreLabels(
  data: TaskData<LabelledText>,
  items: readonly LabelledText[],
  answers: readonly LabelsAnswer[],
): Score {
  const { labels } = data;
  const sets = setsOf(items, answers, labels);
  const documents = items.map((item) => item.document);
  const together = byDocument(sets, documents);
  const known = documents.some((name) => name !== undefined) && together.length < items.length;
  return {
    measures: [
      ...labelSetMeasures(sets, labels.length),
      ...(known ? labelSetMeasures(together, labels.length, "document") : []),
    ],
    resamples: RESAMPLES,
    right: sets.map(isExact),
    loss: lossOf(items, answers, labels),
  };
}

/**
 * The trivial system: the same labels for every text, those commonest ones that together have the best
 * micro F1 on what is known.
 */
function constantLabels({ train, test, labels }: TaskData<LabelledText>): string[] {
  const known = train.length ? train : test;
  const counted = labels.map((label) => ({
    label,
    texts: known.filter((text) => text.labels.includes(label)).length,
  })).sort((a, b) => b.texts - a.texts);
  const all = counted.reduce((sum, { texts }) => sum + texts, 0);
  let best: string[] = [];
  let bestF1 = -1;
  let found = 0;
  counted.forEach(({ texts }, i) => {
    found += texts;
    const f1 = 2 * found / (known.length * (i + 1) + all);
    if (f1 <= bestF1) return;
    bestF1 = f1;
    best = counted.slice(0, i + 1).map(({ label }) => label);
  });
  return best;
}

/** Precision, recall and F1 of every label. */
function labelTable(
  { test, labels }: TaskData<LabelledText>,
  answers: readonly LabelsAnswer[],
): Details {
  const rows = countsByLabel(setsOf(test, answers, labels), labels.length).map((counts, k) => ({
    label: labels[k] ?? "",
    texts: counts.truePositives + counts.falseNegatives,
    ratios: precisionRecall(counts),
    counts,
  }));
  return {
    text: formatTable(
      ["label", "precision", "recall", "F1", "texts"],
      rows.map(({ label, texts, ratios: { precision, recall, f1 } }) => [
        label,
        ...[precision, recall, f1].map((value) => value.toFixed(4)),
        String(texts),
      ]),
    ),
    json: {
      labels: Object.fromEntries(
        rows.map(({ label, texts, ratios, counts }) => [label, {
          ...ratios,
          texts,
          right: counts.truePositives,
          wrong: counts.falsePositives,
          missed: counts.falseNegatives,
        }]),
      ),
    },
    html: [barsHtml(ratioBars(
      "By label",
      ["label", "texts"],
      rows.map(({ label, texts, ratios }) => ({ name: label, units: texts, ...ratios })),
    ))],
  };
}

const shown = (labels: readonly string[]): string => labels.join(", ") || "none";

/** The texts with their labels; wrong are those with one too many or too few. */
function judgedTexts(data: TaskData<LabelledText>, answers: readonly LabelsAnswer[]): JudgedItem[] {
  const sets = setsOf(data.test, answers, data.labels);
  return data.test.flatMap((item, i) => {
    const own = sets[i];
    const answer = answers[i];
    if (!own || !answer) return [];
    return [{
      id: item.id,
      right: isExact(own),
      loss: answer.probabilities ? lossOf([item], [answer], data.labels) : undefined,
      html: namedLines([
        ["right", escapeXml(shown(item.labels))],
        ["said", escapeXml(shown(answer.labels))],
        ["text", escapeXml(item.text)],
      ]),
    }];
  });
}

/** Any number of labels for each text or pair of texts. */
export const multilabel: Task<LabelledText, LabelsAnswer> = {
  name: "multilabel",
  units: "texts",
  approaches: [],
  headed: (choice) => headApproach(LABELS_HEAD, choice),
  evaluation: {
    summary: "Micro and macro F1 of texts with any number of labels: the Hallmarks of Cancer",
    description:
      "Reads texts with labels that do not exclude each other, in any format that tasks formats lists. " +
      "Micro F1 counts every label of every text alike, macro F1 is the mean over labels that occur in " +
      "the gold. Where the set says which document a sentence is of, the documents' labels are scored " +
      "too, as BLUE and BLURB score the Hallmarks of Cancer. With --system, compares with another file " +
      "of the same texts.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the texts with labels", required: true },
      format: FORMAT,
      train: TRAIN,
    },
    examples: [
      "deno task evaluate multilabel --gold hoc/test.tsv --model runs/hoc/checkpoints/step-00000400",
    ],
  },
  finetuning: {
    summary: "Teach a model to give texts any number of labels, and test it",
    description:
      "Trains on the train split of a folder by a head that says of each label whether it holds, " +
      "takes the epoch with the best micro F1 on the development split, then labels the test split once.",
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
    defaults: { head: { crf: false, dropout: 0.2, learningRate: 1e-3 } },
    examples: ["deno task finetune multilabel --model mamba-130m-hf --data hoc --out runs/hoc"],
  },
  prediction: {
    summary: "Give new texts the labels that hold",
    description:
      "Prints a line of JSON for each text, with the labels that are more probable than not and the " +
      "probability of every label.",
    options: { input: NEW_TEXTS },
    examples: [
      "deno task predict multilabel --model runs/hoc/checkpoints/step-00000400 --input abstracts.txt",
    ],
    read: (given) => readNewTexts(given.string("input") ?? ""),
    write: ({ items, answers, labels }) =>
      items.map((item, i) => {
        const { labels: said = [], probabilities = [] } = answers[i] ?? {};
        return JSON.stringify({
          ...newTextJson(item),
          labels: said,
          probabilities: Object.fromEntries(labels.map((label, k) => [label, probabilities[k]])),
        }) + "\n";
      }).join(""),
  },
  read(given, purpose) {
    const format = given.string("format");
    return readReleased(given, purpose, {
      read: (paths) => paths.map((path) => textsOf(path, format)),
      labelsOf,
      groupOf: ({ document }) => document,
    });
  },
  answersNameLabels: true,
  readAnswers(path, { test, path: gold }) {
    const said = new Map(textsOf(path, undefined).map((text) => [text.id, text.labels]));
    const known = new Set(test.map(({ id }) => id));
    const stranger = [...said.keys()].find((id) => !known.has(id));
    if (stranger !== undefined) {
      throw new UserError(
        `Cannot compare ${path} with ${gold}: the text ${stranger} is not in the gold file`,
      );
    }
    return test.map(({ id }) => ({ labels: said.get(id) ?? [], cut: 0 }));
  },
  fit(data, labels) {
    const strange = data.labels.filter((label) => !labels.includes(label));
    if (strange.length) {
      throw new UserError(
        `Cannot ask the model for the labels of ${data.path}: it was taught ${
          labels.join(", ")
        }, ` +
          `and the data have also ${strange.join(", ")}; give data with the labels it was taught`,
      );
    }
    return { ...data, labels };
  },
  score: scoreLabels,
  report(request) {
    const { data } = request;
    const { test, train } = data;
    const always = constantLabels(data);
    const cut = request.systems[0]?.answers.filter((a) => a.cut).length;
    const guessed = train.length ? "" : ", by the file's own";
    return reportSystems({
      request,
      name: "multilabel",
      units: "texts",
      score: (answers) => scoreLabels(data, test, answers),
      trivial: {
        key: "constant",
        name: `always ${shown(always)}${guessed}`,
        score: scoreLabels(data, test, test.map(() => ({ labels: always, cut: 0 }))),
      },
      notes: cut ? [`${cut} texts were cut to --max-tokens`] : [],
      details: (answers) => labelTable(data, answers),
      judged: (answers) => judgedTexts(data, answers),
      config: {
        output_type: "multilabel",
        metric_list: [{ metric: "f1_micro", higher_is_better: true }],
      },
      samples: (answers) =>
        test.map(({ id, labels }, i) => ({
          doc_id: i,
          doc: { id },
          target: labels,
          prediction: answers[i]?.labels ?? [],
          probabilities: answers[i]?.probabilities ?? null,
        })),
    });
  },
};
