/** `finetune ner`: supervised fine-tuning on tagged sentences. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { exists, hashFile, sha256 } from "../core/files.ts";
import { join, resolve } from "../core/std.ts";
import { Dictionary } from "../model/tasks/ner/dictionary.ts";
import { readConll } from "../model/tasks/ner/ner.ts";
import {
  compareNer,
  formatNer,
  formatNerSystems,
  measureNer,
  nerJson,
} from "../model/tasks/ner/ner_report.ts";
import { measureFields, writeTaskResults } from "../model/tasks/core/results_files.ts";
import { countTags, type TaggingSplits, taggingTask } from "../model/tasks/ner/tagging.ts";
import {
  finetune,
  finetuneOptions,
  overSeeds,
  type RunReport,
  type SeedRun,
} from "./finetune_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "finetune ner",
  summary: "Teach a model to tag named entities, and test it beside its base",
  description:
    "Trains on a folder's train.tsv in the CoNLL format. The model reads each sentence twice and " +
    "predicts the tag of each word in the second reading. Takes the epoch with the best " +
    "entity-level F1 on devel.tsv, then tags test.tsv once, beside the base model and a dictionary " +
    "of the training split's entities.",
  options: {
    model: modelOption("the model to begin from", true),
    data: {
      type: "string",
      placeholder: "DIR",
      help: "a folder with train.tsv, devel.tsv (or dev.tsv) and test.tsv",
      required: true,
    },
    ...finetuneOptions,
    epochs: { ...finetuneOptions.epochs, help: "times through the sentences", default: 10 },
    "learning-rate": { ...finetuneOptions["learning-rate"], default: 5e-5 },
  },
  examples: ["deno task finetune ner --model mamba-130m-hf --data BC5CDR-IOB --out runs/ner"],
  async run(invocation) {
    const data = invocation.string("data")!;
    const files = ["train", exists(join(data, "dev.tsv")) ? "dev" : "devel", "test"]
      .map((split) => join(data, `${split}.tsv`));
    const [train, develop, test] = files.map(readConll);
    if (!train!.length || !develop!.length || !test!.length) {
      throw new UserError(`Cannot fine-tune on ${data}: one of its files holds no sentence`);
    }
    const splits = {
      name: "ner",
      train: train!,
      develop: develop!,
      test: test!,
      path: resolve(data),
      sha256: sha256(files.map((file) => hashFile(file)).join("\n")),
    };
    await overSeeds(invocation, (run) => finetuneOnce(invocation, splits, run));
  },
};

async function finetuneOnce(
  invocation: Invocation,
  splits: TaggingSplits,
  run: SeedRun,
): Promise<RunReport> {
  const { reporter, signal } = invocation;
  const { train, test } = splits;
  const result = await finetune(
    invocation,
    run,
    (tokenizer, maxTokens) => taggingTask(splits, tokenizer, maxTokens, signal),
  );
  const { seed, checkpoint, answers, baseAnswers } = result;
  const dictionary = new Dictionary(train);
  const found = test.map((s) => dictionary.tag(s.tokens));
  const counts = [found, answers, baseAnswers].map((tags) => countTags(test, tags));
  const [trivial, own, base] = counts.map((c) => measureNer(c, seed));
  const comparison = compareNer(counts[1]!, counts[2]!, seed);
  reporter.line(formatNerSystems([
    { name: "dictionary of the training split", measures: trivial! },
    { name: checkpoint, measures: own! },
    { name: result.model, measures: base! },
  ]));
  reporter.line(`\n${formatNer(own!)}`);
  const json = {
    development: { step: result.step, f1: result.developmentScore },
    dictionary: nerJson(trivial!),
    model: { name: checkpoint, ...nerJson(own!) },
    base: { name: result.model, ...nerJson(base!) },
    comparison,
  };
  const written = writeTaskResults(result.out, {
    name: "ner",
    count: test.length,
    fields: {
      ...measureFields("f1", own!.all.f1),
      "precision,none": own!.all.precision,
      "recall,none": own!.all.recall,
    },
    config: { output_type: "tags", metric_list: [{ metric: "f1", higher_is_better: true }] },
    samples: test.map(({ tokens, tags }, i) => ({
      doc_id: i,
      doc: { tokens },
      target: tags,
      prediction: answers[i],
    })),
  }, { ...result, model: checkpoint, finished: new Date(), more: json });
  reporter.log(`Wrote ${written.results} and ${written.samples}`);
  return { score: own!.all.f1.value, json: { ...json, files: written } };
}
