/** Relations between entities as a task: labels of marked sentences, and pairs of whole documents. @module */
import { nth } from "../../../core/nth.ts";
import { fail, UserError } from "../../../core/errors.ts";
import { readTextInput } from "../../../core/text_input.ts";
import { resolve } from "../../../core/std.ts";
import { choiceTask } from "../core/choice_task.ts";
import { type ChoiceAnswer, labelled } from "../core/choices.ts";
import { ratioMeasures } from "../core/classification.ts";
import { escapeHtml } from "../../../core/page/mod.ts";
import { type JudgedItem, namedLines } from "../core/error_page.ts";
import { reportSystems } from "../core/report.ts";
import type { AnyTask, Counts, FinetuneHelp, Score, Task, TaskHelp } from "../core/task.ts";
import { headApproach } from "../core/head_approach.ts";
import { RELATION_HEAD } from "./head.ts";
import { formatNamed, recogniseFormat } from "../formats/mod.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import { sourceHash } from "../formats/splits.ts";
import { labelTable, relationMeasures, RESAMPLES } from "./relation_report.ts";
import {
  compareRelations,
  negativeLabel,
  NO_LABEL,
  type PubtatorDocument,
  readRelationDocuments,
  readRelationLines,
  readRelations,
  type RelationExample,
  relationItems,
  relationWords,
  sumCounts,
} from "./relations.ts";

const evaluation: TaskHelp = {
  summary: "Score relations between entities: precision, recall and F1",
  description:
    "Two kinds of file, in any format that tasks formats lists. Sentences with a marked pair and a " +
    "label, as SciBERT's ChemProt and BioBERT's GAD: micro and macro F1 over labels, where a null " +
    'label is a missing answer and counts as wrong, and a label such as "false", which means none ' +
    "of the others, is neither found nor missed. Documents with entities, as PubTator, BioC or " +
    "ChemProt as released: the relations of each document, all of their parts right, " +
    "micro-averaged. With --model, a model labels sentences, those of documents pair by pair, by " +
    "the most probable label. The intervals are 95% bootstrap intervals over sentences or documents.",
  options: {
    gold: { type: "string", placeholder: "F", help: "the golden relations", required: true },
    format: FORMAT,
    train: TRAIN,
  },
  examples: [
    "deno task evaluate relations --gold chemprot/test.jsonl --system predictions.jsonl",
    "deno task evaluate relations --gold CDR_TestSet.PubTator.txt --system predictions.txt",
    "deno task evaluate relations --gold chemprot/test.jsonl --model runs/re/checkpoints/step-00000650",
  ],
};

const finetuning: FinetuneHelp = {
  summary: "Teach a model to name the relation of two entities, and test it beside its base",
  description:
    'Trains on a folder\'s train.jsonl (ChemProt as SciBERT splits it: "text" with << >> and [[ ]] ' +
    'around the entities, and "label") by a head of labels that reads both entities from both ends, or ' +
    "with --approach words with the loss on the label's words alone. Takes the epoch that does best on " +
    "dev.jsonl, then labels test.jsonl once. With one label per sentence the accuracy is the " +
    "micro F1.",
  options: {
    data: {
      type: "string",
      placeholder: "DIR",
      help: "a folder whose files or folders are called train, dev and test",
      required: true,
    },
    format: FORMAT,
  },
  defaults: {
    epochs: 5,
    // Fewer examples per update than of other tasks: there are few examples, and many labels.
    accumulate: 2,
    head: {
      crf: false,
      dropout: 0.2,
      tokenDropout: 0.2,
      stateDropout: 0.3,
      // Higher ones let a small model learn the training split by heart before its sparse features do.
      learningRate: 3e-4,
      mostRate: 3e-4,
      sparse: 2 ** 18,
    },
  },
  examples: [
    "deno task finetune relations --model mamba-130m-hf --data chemprot --out runs/relations",
  ],
};

/** The labels of some splits, in alphabetical order. */
function labelsOf(...splits: RelationExample[][]): string[] {
  return [...new Set(splits.flat().map((example) => example.label))].sort();
}

const FORM = { choicesOf: relationItems, wordsOf: relationWords };

/** The relation of two marked entities of a sentence. */
export const relations = choiceTask<RelationExample>(FORM, {
  name: "relations",
  units: "sentences",
  evaluation,
  finetuning,
  prediction: {
    summary: "Name the relation of the two marked entities of new sentences",
    description:
      "Reads the field text of each line of JSON (.jsonl), or a sentence per line, with the first " +
      "entity in << >> and the second in [[ ]], and prints a line of JSON for each with the label " +
      "that is the most probable of those that the model was taught.",
    options: {
      input: { type: "string", placeholder: "F", help: "the file of sentences", required: true },
    },
    examples: [
      "deno task predict relations --model runs/re/checkpoints/step-00000650 --input sentences.jsonl",
    ],
    read: (given) =>
      [...readTextInput(given.string("input") ?? fail("--input was not asked for"))].map((
        { text },
      ) => ({ text, label: NO_LABEL })),
    write: ({ items, answers, labels }) =>
      items.map(({ text }, i) => {
        const { predicted, logProbabilities } = nth(answers, i);
        const log_probability = logProbabilities[predicted] ?? null;
        return JSON.stringify({ text, label: labels[predicted] ?? null, log_probability }) + "\n";
      }).join(""),
  },
  headed: (choice) => headApproach(RELATION_HEAD, choice),
  variant: (given) => {
    const gold = given.string("gold");
    // A system's answers to documents are scored document by document; a model is asked of sentences.
    if (gold === undefined || given.string("system") === undefined) return undefined;
    const format = given.string("format");
    const { kind } = format === undefined ? recogniseFormat(gold) : formatNamed(format);
    return kind === "document" ? documentRelations as AnyTask : undefined;
  },
  read(given, purpose) {
    const format = given.string("format");
    const notes: string[] = [];
    const read = (paths: readonly string[]) =>
      paths.map((path) => {
        const view = readRelations(path, format);
        notes.push(...view.notes);
        return view.items;
      });
    const data = readReleased(given, purpose, { read, labelsOf });
    return {
      ...data,
      negative: negativeLabel(data.labels),
      notes: [...notes, ...data.notes ?? []],
    };
  },
  readAnswers(path, { labels, test, path: goldFile }): ChoiceAnswer[] {
    const system = readRelationLines(path);
    if (test.length !== system.length) {
      throw new UserError(
        `Cannot compare ${path} with ${goldFile}: they have ${system.length} and ` +
          `${test.length} lines; give a line for every one of the gold file, in its order`,
      );
    }
    const differs = test.findIndex(({ text }, i) => (nth(system, i).text ?? text) !== text);
    if (differs >= 0) {
      throw new UserError(
        `Cannot compare ${path} with ${goldFile}: the texts of line ${differs + 1} differ`,
      );
    }
    const strange = [...new Set(system.map((s) => s.label))]
      .filter((label) => label !== null && !labels.includes(label));
    return relationItems(test, labels).map((item, i) => {
      const { label } = nth(system, i);
      const answer = { item, logProbabilities: [], truncated: 0 };
      if (label === null) return { ...answer, predicted: -1 };
      const known = labels.indexOf(label);
      // An answer beyond the labels counts against precision, as any other wrong one.
      const predicted = known < 0 ? labels.length + strange.indexOf(label) : known;
      return { ...answer, predicted, said: label };
    });
  },
  measures: relationMeasures,
  resamples: RESAMPLES,
  details: ({ labels }, answers) => labelTable(labelled(answers), labels),
});

/** A system's relations of one document. */
type SaidRelations = Pick<PubtatorDocument, "pmid" | "relations">;

/** A relation as pages and samples show it. */
const relationText = ({ type, first, second }: SaidRelations["relations"][number]): string =>
  `${type}: ${first}, ${second}`;

/** Relations of `some` that `others` have not. */
function withoutThese(
  some: SaidRelations | undefined,
  others: SaidRelations | undefined,
): string[] {
  const known = new Set(others?.relations.map(relationText));
  return [...new Set(some?.relations.map(relationText))].filter((text) => !known.has(text));
}

/** The documents with the relations that were missed and those that are wrong. */
function judgedDocuments(
  documents: readonly PubtatorDocument[],
  said: readonly SaidRelations[],
): JudgedItem[] {
  return documents.map((gold, i) => {
    const missed = withoutThese(gold, said[i]);
    const wrong = withoutThese(said[i], gold);
    const lines = (texts: readonly string[]) => texts.map(escapeHtml).join("<br>");
    return {
      id: gold.pmid,
      right: missed.length + wrong.length === 0,
      // Without a model there is no loss: the documents with most errors come first.
      ...(missed.length + wrong.length ? { loss: missed.length + wrong.length } : {}),
      html: namedLines([
        ["gold", lines(gold.relations.map(relationText))],
        ["missed", lines(missed)],
        ["wrong", lines(wrong)],
      ]),
    };
  });
}

/** The relations of whole documents, whose entities are given. */
const documentRelations: Task<PubtatorDocument, SaidRelations> = {
  name: "relations",
  units: "documents",
  evaluation,
  approaches: [],
  read(given) {
    const gold = given.string("gold") ?? fail("--gold was not asked for");
    const path = resolve(gold);
    const test = readRelationDocuments(gold, given.string("format"));
    return { labels: [], train: [], develop: [], test, path, sha256: sourceHash(gold) };
  },
  readAnswers(path, { test }) {
    const said = readRelationDocuments(path);
    compareRelations(test, said); // throws for a document that nobody asked for
    return test.map(({ pmid }) => ({
      pmid,
      relations: said.filter((one) => one.pmid === pmid).flatMap((one) => one.relations),
    }));
  },
  score: (_data, items, answers) => scoreDocuments(compareRelations(items, answers)),
  report: (request) =>
    reportSystems({
      request,
      name: "relations",
      units: "documents",
      score: (answers) => scoreDocuments(compareRelations(request.data.test, answers)),
      judged: (answers) => judgedDocuments(request.data.test, answers),
      details: (answers) => {
        const counts = compareRelations(request.data.test, answers);
        const { truePositives, falseNegatives } = sumCounts(counts);
        const relations = truePositives + falseNegatives;
        return { text: `${relations} golden relations`, json: { relations } };
      },
      config: { output_type: "relations" },
      samples: (answers) =>
        request.data.test.map((gold, i) => ({
          doc_id: i,
          doc: { id: gold.pmid },
          target: gold.relations.map(relationText),
          prediction: answers[i]?.relations.map(relationText) ?? [],
        })),
    }),
};

/** Relations right, wrong and missed, over whole documents. */
function scoreDocuments(answers: readonly Counts[]): Score {
  return {
    measures: ratioMeasures(answers),
    right: answers.map((c) => c.falsePositives + c.falseNegatives === 0),
  };
}
