/** `finetune relations`: supervised fine-tuning on sentences with two marked entities. @module */
import type { Command } from "../core/cli.ts";
import { hashFile, sha256 } from "../core/files.ts";
import { join, resolve } from "../core/std.ts";
import { readRelations, relationItems, relationWords } from "../model/tasks/relations/relations.ts";
import { finetuneChoices, finetuneOptions } from "./finetune_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "finetune relations",
  summary: "Teach a model to name the relation of two entities, and test it beside its base",
  description:
    'Trains on a folder\'s train.jsonl (ChemProt as SciBERT splits it: "text" with << >> and [[ ]] ' +
    'around the entities, and "label") with the loss on the label alone, takes the epoch that does ' +
    "best on dev.jsonl, then labels test.jsonl once. With one label a sentence the accuracy is the " +
    "micro F1.",
  options: {
    model: modelOption("the model to begin from", true),
    data: {
      type: "string",
      placeholder: "DIR",
      help: "a folder with train.jsonl, dev.jsonl and test.jsonl",
      required: true,
    },
    ...finetuneOptions,
  },
  examples: [
    "deno task finetune relations --model mamba-130m-hf --data chemprot --out runs/relations",
  ],
  async run(invocation) {
    const data = invocation.string("data")!;
    const files = ["train", "dev", "test"].map((split) => join(data, `${split}.jsonl`));
    const [train, develop, test] = files.map(readRelations);
    const all = [...train!, ...develop!, ...test!];
    const labels = [...new Set(all.map((e) => e.label))].sort();
    await finetuneChoices(invocation, {
      name: "relations",
      labels: labels.map(relationWords),
      train: relationItems(train!, labels),
      develop: relationItems(develop!, labels),
      test: relationItems(test!, labels),
      path: resolve(data),
      sha256: sha256(files.map((file) => hashFile(file)).join("\n")),
    });
  },
};
