/** Relations between entities as a task: labels of marked sentences, and pairs of whole documents. @module */
import { UserError } from "../../../core/errors.ts";
import { hashFile, sha256 } from "../../../core/files.ts";
import { join, resolve } from "../../../core/std.ts";
import { choiceTask, reportChoiceTask } from "../core/choice_task.ts";
import type { ChoiceAnswer } from "../core/choices.ts";
import { type Counts, precisionRecall } from "../core/classification.ts";
import type { AnyTask, FinetuneHelp, Task, TaskHelp } from "../core/task.ts";
import { reportDocuments, reportSentences } from "./relation_report.ts";
import {
  compareRelations,
  type PubtatorDocument,
  readPubtator,
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
    'Two kinds of file. JSON lines (.jsonl) with "text" and "label", as ChemProt: micro and macro ' +
    "F1 over labels, where a null label is a missing answer and counts as wrong. PubTator: the " +
    "relations of each document, all of their parts right, micro-averaged. With --model, a model " +
    "labels the sentences of a JSON lines file by the most probable label; its accuracy is the " +
    "micro F1. The intervals are 95% bootstrap intervals over sentences or documents.",
  options: {
    gold: { type: "string", placeholder: "F", help: "the golden relations", required: true },
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
    'around the entities, and "label") with the loss on the label alone, takes the epoch that does ' +
    "best on dev.jsonl, then labels test.jsonl once. With one label per sentence the accuracy is the " +
    "micro F1.",
  options: {
    data: {
      type: "string",
      placeholder: "DIR",
      help: "a folder with train.jsonl, dev.jsonl and test.jsonl",
      required: true,
    },
  },
  examples: [
    "deno task finetune relations --model mamba-130m-hf --data chemprot --out runs/relations",
  ],
};

/** An answer that came in a file may be a label that the gold file does not have. */
interface RelationAnswer extends ChoiceAnswer {
  said?: string | null;
}

const FORM = { choicesOf: relationItems, wordsOf: relationWords };

/** The relation of two marked entities of a sentence. */
export const relations = choiceTask<RelationExample>(FORM, {
  name: "relations",
  evaluation,
  finetuning,
  variant: (given) => {
    const gold = given.string("gold");
    const documents = gold !== undefined && !/\.jsonl?$/i.test(gold);
    return documents && given.string("system") !== undefined
      ? documentRelations as AnyTask
      : undefined;
  },
  read(given, purpose) {
    if (purpose === "evaluate") {
      const gold = given.string("gold")!;
      const examples = readRelations(gold);
      const labels = [...new Set(examples.map((e) => e.label))].sort();
      const path = resolve(gold);
      return { labels, train: [], develop: [], test: examples, path, sha256: hashFile(gold) };
    }
    const data = given.string("data")!;
    const files = ["train", "dev", "test"].map((split) => join(data, `${split}.jsonl`));
    const [train, develop, test] = files.map(readRelations);
    const all = [...train!, ...develop!, ...test!];
    const labels = [...new Set(all.map((e) => e.label))].sort();
    return {
      labels,
      train: train!,
      develop: develop!,
      test: test!,
      path: resolve(data),
      sha256: sha256(files.map((file) => hashFile(file)).join("\n")),
    };
  },
  readAnswers(path, { labels, test, path: goldFile }): RelationAnswer[] {
    const system = readRelationLines(path);
    if (test.length !== system.length) {
      throw new UserError(
        `Cannot compare ${path} with ${goldFile}: they have ${system.length} and ` +
          `${test.length} lines; give a line for every one of the gold file, in its order`,
      );
    }
    const differs = test.findIndex(({ text }, i) => (system[i]!.text ?? text) !== text);
    if (differs >= 0) {
      throw new UserError(
        `Cannot compare ${path} with ${goldFile}: the texts of line ${differs + 1} differ`,
      );
    }
    return relationItems(test, labels).map((item, i) => {
      const { label } = system[i]!;
      const predicted = label === null ? -1 : labels.indexOf(label);
      return { item, logProbabilities: [], predicted, truncated: 0, said: label };
    });
  },
  report(request) {
    const [own] = request.systems;
    if (own?.role !== "system") return reportChoiceTask("relations", FORM, request);
    const { labels: known, test } = request.data;
    const said = own.answers.map((a: RelationAnswer) => a.said);
    const extra = [...new Set(said)].filter((l) => l && !known.includes(l)) as string[];
    const labels = [...known, ...extra];
    const items = {
      gold: test.map((item) => known.indexOf(item.label)),
      predicted: said.map((l) => l ? labels.indexOf(l) : -1),
    };
    return reportSentences(items, labels, known.length, request.seed);
  },
});

/** The relations of whole documents, whose entities are given. */
const documentRelations: Task<PubtatorDocument, Counts> = {
  name: "relations",
  units: "documents",
  evaluation,
  approaches: [],
  read(given) {
    const gold = given.string("gold")!;
    const path = resolve(gold);
    const test = readPubtator(gold);
    return { labels: [], train: [], develop: [], test, path, sha256: hashFile(gold) };
  },
  readAnswers: (path, { test }) => compareRelations(test, readPubtator(path)),
  score: (_items, answers) => ({
    measures: [{
      key: "f1",
      name: "F1",
      count: answers.length,
      statistic: (indices) => precisionRecall(sumCounts(answers, indices)).f1,
    }],
  }),
  report: ({ systems, seed }) => reportDocuments(systems[0]!.answers, seed),
};
