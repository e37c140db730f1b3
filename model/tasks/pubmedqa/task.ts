/** PubMedQA as a task. @module */
import type { OptionSpec } from "../../../core/cli.ts";
import { fail, UserError } from "../../../core/errors.ts";
import { hashFile, readJson, sha256 } from "../../../core/files.ts";
import { resolve } from "../../../core/std.ts";
import { choiceHead } from "../core/choice_head.ts";
import { choiceTask } from "../core/choice_task.ts";
import { headApproach } from "../core/head_approach.ts";
import {
  PUBMEDQA_LABELS,
  pubmedqaFiles,
  pubmedqaFolds,
  pubmedqaItems,
  readPubmedqa,
} from "./pubmedqa.ts";

const DATA: OptionSpec = {
  type: "string",
  placeholder: "DIR",
  help: "PubMedQA's data folder: ori_pqal.json and test_ground_truth.json",
  required: true,
};

const FORM = { choicesOf: pubmedqaItems };

/** Yes, no or maybe to what PubMed titles ask. */
export const pubmedqa = choiceTask(FORM, {
  name: "pubmedqa",
  headed: (choice) => headApproach(choiceHead(FORM), choice),
  evaluation: {
    summary: "Accuracy of a model on PubMedQA: yes, no or maybe",
    description:
      "Asks the 500 official test questions, each with its abstract but for the conclusion, and " +
      "takes the answer that the model finds most probable. Prints accuracy and macro F1 with 95% " +
      "bootstrap intervals beside the majority answer's, and writes results and samples as " +
      "lm-evaluation-harness does. Choose between models on --split dev; report the test once.",
    options: {
      data: DATA,
      split: {
        type: "string",
        help: "which questions; dev is one fold of the training half",
        choices: ["test", "dev", "train"],
        default: "test",
      },
      fold: { type: "integer", help: "the fold that is dev", min: 0, max: 9, default: 0 },
    },
    examples: [
      "deno task evaluate pubmedqa --model mamba-130m-hf --data pubmedqa/data",
      "deno task evaluate pubmedqa --model runs/sft/checkpoints/step-00000075 " +
      "--base mamba-130m-hf --data pubmedqa/data --json",
    ],
  },
  finetuning: {
    summary: "Teach a model PubMedQA's answers, and test it beside its base",
    description:
      "Trains on nine folds of PubMedQA's training half with the loss on the answer alone, takes the " +
      "epoch that does best on the tenth, then asks the 500 official test questions once, of it and " +
      "of the model it began from. The run folder holds metrics, the checkpoint, results and samples.",
    options: {
      data: DATA,
      fold: { type: "integer", help: "the fold to develop on", min: 0, max: 9, default: 0 },
    },
    defaults: { head: { crf: false, dropout: 0.2, learningRate: 1e-3, asked: true } },
    examples: [
      "deno task finetune pubmedqa --model mamba-130m-hf --data pubmedqa/data --out runs/sft",
      "deno task finetune pubmedqa --model mamba-130m-hf --data pubmedqa/data --out runs/sft --resume",
    ],
  },
  readAnswers(path, { test, labels }) {
    const said = readJson<Record<string, unknown>>(path, "PubMedQA answers");
    const known = new Set(test.map(({ pmid }) => pmid));
    const strange = Object.keys(said).find((pmid) => !known.has(pmid));
    if (strange !== undefined) {
      throw new UserError(
        `Cannot score ${path}: it answers "${strange}", which is not among the ${test.length} ` +
          `questions; give an object of PMIDs and answers, as in test_ground_truth.json`,
      );
    }
    return pubmedqaItems(test).map((item) => {
      const answer = said[item.id];
      // Any other answer is a wrong one, and a question that is left out too.
      const predicted = typeof answer === "string" ? labels.indexOf(answer) : -1;
      return { item, logProbabilities: [], predicted, truncated: 0, said: String(answer) };
    });
  },
  read(given, purpose) {
    const data = given.string("data") ?? fail("--data was not asked for");
    const fold = given.number("fold") ?? fail("--fold has a default");
    const { train, test } = readPubmedqa(data);
    // The folds' seed is fixed: what was developed on must not be trained on.
    const folds = pubmedqaFolds(train, 0);
    const own = (developed: boolean) => train.filter((_, i) => (folds[i] === fold) === developed);
    const found = pubmedqaFiles(data);
    const files = [...new Set([...found.questions, found.test])].map((file) => hashFile(file));
    const read = {
      labels: PUBMEDQA_LABELS,
      path: resolve(data),
      sha256: sha256([...files, `fold ${fold}`].join("\n")),
    };
    if (purpose === "finetune") {
      return { ...read, train: own(false), develop: own(true), test };
    }
    const split = given.string("split");
    return {
      ...read,
      // All of the training half: its majority is the trivial system's answer.
      train,
      develop: [],
      test: split === "test" ? test : own(split === "dev"),
    };
  },
});
