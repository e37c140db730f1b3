/**
 * Texts, or pairs of texts, with one label each as a task: NLI4CT, BioBERT's GAD and EU-ADR, and any
 * table or JSON lines with a column of texts and one of labels. The label is said in words.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { choiceHead } from "../core/choice_head.ts";
import { choiceTask } from "../core/choice_task.ts";
import type { ChoiceAnswer, ChoiceItem } from "../core/choices.ts";
import { headApproach } from "../core/head_approach.ts";
import type { AnyTask } from "../core/task.ts";
import type { LabelledText } from "../formats/mod.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import { readTexts } from "../formats/views.ts";
import { multilabel } from "../multilabel/task.ts";
import { regression } from "../regression/task.ts";
import { kindOfFiles, NEW_TEXTS, newTextJson, readNewTexts } from "./texts.ts";

/** A label as words that a model can say. */
const words = (label: string): string => label.toLowerCase().replace(/[-_]+/g, " ").trim();

function promptOf({ text, pair }: LabelledText, labels: readonly string[]): string {
  const second = pair === undefined ? "" : `\n\nStatement:\n${pair.trim()}`;
  return `Say which of these the following is: ${labels.map(words).join(", ")}.\n\n` +
    `Text:\n${text.trim()}${second}\n\nAnswer:`;
}

function choicesOf(texts: readonly LabelledText[], labels: readonly string[]): ChoiceItem[] {
  return texts.map((text) => {
    const gold = labels.indexOf(text.labels[0] ?? "");
    // New texts have no label as yet.
    if (gold < 0 && text.labels.length > 0) {
      throw new UserError(
        `Cannot use the text ${text.id}: its label "${text.labels[0]}" is not among ` +
          `${labels.join(", ")}`,
      );
    }
    return { id: text.id, prompt: promptOf(text, labels), gold };
  });
}

/** The texts for a head, which is told nothing of the labels: the text and, behind it, its partner. */
const plainTexts = (texts: readonly LabelledText[], labels: readonly string[]): ChoiceItem[] =>
  choicesOf(texts, labels).map((item, i) => {
    const { text = "", pair } = texts[i] ?? {};
    return { ...item, prompt: pair === undefined ? text.trim() : `${text.trim()}\n${pair.trim()}` };
  });

/**
 * The texts of a file with one label each.
 * @throws {UserError} naming the file and the text that has none, several, or a score.
 */
function textsOf(path: string, format: string | undefined): LabelledText[] {
  const { items } = readTexts(path, format);
  for (const { id, labels, score, line } of items) {
    if (labels.length === 1) continue;
    const has = score === undefined ? `${labels.length} labels` : `the score ${score}`;
    throw new UserError(
      `Cannot use ${path}${
        line === undefined ? "" : `, line ${line}`
      }: the text ${id} has ${has}, ` +
        `where one label is needed`,
    );
  }
  return items;
}

const labelsOf = (...splits: LabelledText[][]): string[] =>
  [...new Set(splits.flat().map((text) => text.labels[0] ?? ""))].sort();

/** One label for each text or pair of texts. */
export const classify = choiceTask<LabelledText>({ choicesOf, wordsOf: words }, {
  name: "classify",
  units: "texts",
  headed: (choice) => headApproach(choiceHead({ choicesOf: plainTexts }), choice),
  variant(given) {
    const kind = kindOfFiles(given);
    if (kind === "several labels") return multilabel as AnyTask;
    return kind === "scores" ? regression as AnyTask : undefined;
  },
  evaluation: {
    summary: "Accuracy and F1 of labels for texts or pairs of texts: NLI4CT, GAD, any table",
    description:
      "Reads texts with one label each, or pairs of texts, in any format that tasks formats lists, " +
      "and takes the label that is the most probable as words after the prompt. Texts with any number " +
      "of labels are scored as the task multilabel, texts with scores as the task regression. With " +
      "--system, compares with another file of the same texts.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the texts with labels", required: true },
      format: FORMAT,
      train: TRAIN,
    },
    examples: [
      "deno task evaluate classify --gold nli4ct/dev.json --model runs/nli/checkpoints/step-00000400",
    ],
  },
  finetuning: {
    summary: "Teach a model to label texts or pairs of texts, and test it beside its base",
    description:
      "Trains on the train split of a folder with the loss on the label alone, takes the epoch that " +
      "does best on the development split, then labels the test split once. Texts with any number of " +
      "labels are taught as the task multilabel, texts with scores as the task regression.",
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
    defaults: { head: { crf: false, dropout: 0.2, learningRate: 1e-3, asked: true } },
    examples: ["deno task finetune classify --model mamba-130m-hf --data nli4ct --out runs/nli"],
  },
  prediction: {
    summary: "Label new texts or pairs of texts",
    description:
      "Prints a line of JSON for each text or pair, with the label that is the most probable of those " +
      "that the model was taught.",
    options: { input: NEW_TEXTS },
    examples: [
      "deno task predict classify --model runs/nli/checkpoints/step-00000400 --input pairs.jsonl",
    ],
    read: (given) => readNewTexts(given.string("input") ?? ""),
    write: ({ items, answers, labels }) =>
      items.map((item, i) => {
        const { predicted = -1, logProbabilities = [] } = answers[i] ?? {};
        const log_probability = logProbabilities[predicted] ?? null;
        const label = labels[predicted] ?? null;
        return JSON.stringify({ ...newTextJson(item), label, log_probability }) + "\n";
      }).join(""),
  },
  read(given, purpose) {
    const format = given.string("format");
    return readReleased(given, purpose, {
      read: (paths) => paths.map((path) => textsOf(path, format)),
      labelsOf,
    });
  },
  readAnswers(path, { test, labels, path: gold }): ChoiceAnswer[] {
    const said = textsOf(path, undefined);
    const byId = new Map(said.map((text) => [text.id, text.labels[0] ?? ""]));
    const stranger = said.find(({ id }) => !test.some((text) => text.id === id));
    if (stranger) {
      throw new UserError(
        `Cannot compare ${path} with ${gold}: the text ${stranger.id} is not in the gold file`,
      );
    }
    return choicesOf(test, labels).map((item) => {
      const label = byId.get(item.id);
      const predicted = label === undefined ? -1 : labels.indexOf(label);
      return { item, logProbabilities: [], predicted, truncated: 0, said: label };
    });
  },
});
