/** `finetune bioasq`: supervised fine-tuning on BioASQ's yes/no questions. @module */
import type { Command } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { hashFile, sha256 } from "../core/files.ts";
import { resolve } from "../core/std.ts";
import { BIOASQ_VERDICTS, bioasqItems, readBioasq } from "../model/tasks/bioasq/bioasq.ts";
import { dealFolds } from "../model/tasks/core/folds.ts";
import { finetuneChoices, finetuneOptions } from "./finetune_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "finetune bioasq",
  summary: "Teach a model to answer BioASQ's yes/no questions, and test it beside its base",
  description:
    "Trains on nine tenths of the yes/no questions of a training file, each with its snippets, with " +
    "the loss on the answer alone; takes the epoch that does best on the last tenth, then asks the " +
    "questions of the golden test file once. Test questions are left out of the training file.",
  options: {
    model: modelOption("the model to begin from", true),
    data: {
      type: "string",
      placeholder: "F.json",
      help: "a BioASQ training file, such as training13b.json",
      required: true,
    },
    test: {
      type: "string",
      placeholder: "F.json",
      help: "a file with golden answers, such as 13B1_golden.json",
      required: true,
    },
    fold: { type: "integer", help: "the fold to develop on", min: 0, max: 9, default: 0 },
    ...finetuneOptions,
  },
  examples: [
    "deno task finetune bioasq --model mamba-130m-hf --data training13b.json " +
    "--test 13B1_golden.json --out runs/bioasq",
  ],
  async run(invocation) {
    const data = invocation.string("data")!;
    const golden = invocation.string("test")!;
    const fold = invocation.number("fold")!;
    const test = bioasqItems(readBioasq(golden, "test file"));
    const held = new Set(test.map((item) => item.id));
    const all = bioasqItems(readBioasq(data, "training file"));
    const train = all.filter((item) => !held.has(item.id));
    if (train.length < 10 || test.length === 0) {
      throw new UserError(
        `Cannot fine-tune on ${data}: it has ${train.length} yes/no questions beside the ` +
          `${test.length} of ${golden}; at least 10 and 1 are needed`,
      );
    }
    const left = all.length - train.length;
    if (left) invocation.reporter.log(`${left} test questions are left out of the training file`);
    const folds = dealFolds(train.map((item) => item.gold), 10, 0, "bioasq");
    const files = [hashFile(data), hashFile(golden), `fold ${fold}`];
    await finetuneChoices(invocation, {
      name: "bioasq_yesno",
      labels: BIOASQ_VERDICTS,
      train: train.filter((_, i) => folds[i] !== fold),
      develop: train.filter((_, i) => folds[i] === fold),
      test,
      path: resolve(data),
      sha256: sha256(files.join("\n")),
    });
  },
};
