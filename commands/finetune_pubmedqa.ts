/** `finetune pubmedqa`: supervised fine-tuning on PubMedQA's training half. @module */
import type { Command } from "../core/cli.ts";
import { hashFile, sha256 } from "../core/files.ts";
import { join, resolve } from "../core/std.ts";
import {
  PUBMEDQA_LABELS,
  pubmedqaFolds,
  pubmedqaItems,
  readPubmedqa,
} from "../model/tasks/pubmedqa/pubmedqa.ts";
import { finetuneChoices, finetuneOptions } from "./finetune_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "finetune pubmedqa",
  summary: "Teach a model PubMedQA's answers, and test it beside its base",
  description:
    "Trains on nine folds of PubMedQA's training half with the loss on the answer alone, takes the " +
    "epoch that does best on the tenth, then asks the 500 official test questions once, of it and " +
    "of the model it began from. The run folder holds metrics, the checkpoint, results and samples.",
  options: {
    model: modelOption("the model to begin from", true),
    data: {
      type: "string",
      placeholder: "DIR",
      help: "PubMedQA's data folder: ori_pqal.json and test_ground_truth.json",
      required: true,
    },
    fold: { type: "integer", help: "the fold to develop on", min: 0, max: 9, default: 0 },
    ...finetuneOptions,
  },
  examples: [
    "deno task finetune pubmedqa --model mamba-130m-hf --data pubmedqa/data --out runs/sft",
    "deno task finetune pubmedqa --model mamba-130m-hf --data pubmedqa/data --out runs/sft --resume",
  ],
  async run(invocation) {
    const data = invocation.string("data")!;
    const fold = invocation.number("fold")!;
    const { train, test } = readPubmedqa(data);
    const folds = pubmedqaFolds(train, 0);
    const files = ["ori_pqal.json", "test_ground_truth.json"].map((f) => hashFile(join(data, f)));
    await finetuneChoices(invocation, {
      name: "pubmedqa",
      labels: PUBMEDQA_LABELS,
      train: pubmedqaItems(train.filter((_, i) => folds[i] !== fold)),
      develop: pubmedqaItems(train.filter((_, i) => folds[i] === fold)),
      test: pubmedqaItems(test),
      path: resolve(data),
      sha256: sha256([...files, `fold ${fold}`].join("\n")),
    });
  },
};
