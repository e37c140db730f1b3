/** `evaluate pubmedqa`: zero-shot accuracy on PubMedQA's official test questions. @module */
import type { Command } from "../core/cli.ts";
import type { ChoiceTask } from "../model/tasks/core/choices.ts";
import {
  PUBMEDQA_LABELS,
  pubmedqaFolds,
  pubmedqaItems,
  readPubmedqa,
} from "../model/tasks/pubmedqa/pubmedqa.ts";
import { choiceOptions, evaluateChoices } from "./choice_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "evaluate pubmedqa",
  summary: "Accuracy of a model on PubMedQA: yes, no or maybe",
  description:
    "Asks the 500 official test questions, each with its abstract but for the conclusion, and " +
    "takes the answer that the model finds most probable. Prints accuracy and macro F1 with 95% " +
    "bootstrap intervals beside the majority answer's, and writes results and samples as " +
    "lm-evaluation-harness does. Choose between models on --split dev; report the test once.",
  options: {
    model: modelOption("the model", true),
    data: {
      type: "string",
      placeholder: "DIR",
      help: "PubMedQA's data folder: ori_pqal.json and test_ground_truth.json",
      required: true,
    },
    split: {
      type: "string",
      help: "which questions; dev is one fold of the training half",
      choices: ["test", "dev", "train"],
      default: "test",
    },
    fold: { type: "integer", help: "the fold that is dev", min: 0, max: 9, default: 0 },
    ...choiceOptions,
  },
  examples: [
    "deno task evaluate pubmedqa --model mamba-130m-hf --data pubmedqa/data",
    "deno task evaluate pubmedqa --model runs/sft/checkpoints/step-00000075 " +
    "--base mamba-130m-hf --data pubmedqa/data --json",
  ],
  async run(invocation) {
    const { train, test } = readPubmedqa(invocation.string("data")!);
    const split = invocation.string("split")!;
    const fold = invocation.number("fold")!;
    // The folds' seed is fixed: what was developed on must not be trained on.
    const folds = pubmedqaFolds(train, 0);
    const examples = split === "test"
      ? test
      : train.filter((_, i) => (folds[i] === fold) === (split === "dev"));
    const task: ChoiceTask = {
      name: "pubmedqa",
      labels: PUBMEDQA_LABELS,
      items: pubmedqaItems(examples),
    };
    const { json } = await evaluateChoices(invocation, task, train.map((e) => e.label));
    if (invocation.json) invocation.reporter.line(JSON.stringify(json));
  },
};
