/** `train`: pretraining on a corpus, from given or random weights. @module */
import type { Command, Invocation, OptionSpec } from "../core/cli.ts";
import { Interrupted, UsageError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatDuration, formatTable } from "../core/reporter.ts";
import { configFile, recipeNames } from "../model/recipes.ts";
import { writeRunReport } from "../model/report/run_report.ts";
import { readRun } from "../model/run.ts";
import { openMix } from "../model/mixed_corpus.ts";
import { openCorpus } from "../model/shard_corpus.ts";
import {
  mergeConfig,
  nest,
  parseOverride,
  type PartialConfig,
  readConfigFile,
} from "../model/train_config.ts";
import { trainRun } from "../model/train_run.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";

/** Options that are keys of the configuration. */
const CONFIG_OPTIONS: Record<string, OptionSpec & { key: string }> = {
  steps: { key: "steps", type: "integer", help: "optimizer updates", min: 1 },
  tokens: { key: "tokens", type: "integer", help: "instead of --steps: tokens to see", min: 1 },
  hours: { key: "hours", type: "number", help: "save and stop after this long", min: 0 },
  "batch-size": { key: "batch.rows", type: "integer", help: "rows of a micro-batch", min: 1 },
  accumulate: { key: "batch.accumulate", type: "integer", help: "micro-batches of a step", min: 1 },
  "learning-rate": { key: "optimizer.learning_rate", type: "number", help: "peak learning rate" },
  "weight-decay": { key: "optimizer.weight_decay", type: "number", help: "of matrices", min: 0 },
  schedule: {
    key: "schedule.kind",
    type: "string",
    help: "course of the learning rate",
    choices: ["constant", "linear", "cosine", "wsd"],
  },
  warmup: {
    key: "schedule.warmup",
    type: "number",
    help: "steps of warm-up; below 1, a share of all steps",
    min: 0,
  },
  seed: { key: "seed", type: "integer", help: "of weights and of the order of rows", min: 0 },
  "checkpoint-every": {
    key: "checkpoint.every",
    type: "integer",
    help: "steps between checkpoints; 0 for the end only",
    min: 0,
  },
  keep: { key: "checkpoint.keep", type: "integer", help: "checkpoints to keep", min: 1 },
  "validate-every": {
    key: "validation.every",
    type: "integer",
    help: "steps between validations; 0 for never",
    min: 0,
  },
};

const specOf = ({ key: _, ...spec }: OptionSpec & { key: string }): OptionSpec => spec;

export const command: Command = {
  name: "train",
  summary: "Train a Mamba on a corpus, from given or random weights; resumes exactly",
  description:
    "Writes a run folder: run.json, metrics.jsonl, TensorBoard events, checkpoints/, report.html. A " +
    "checkpoint is a Hugging Face model folder with the optimizer's state. Ctrl-C saves and stops; " +
    "--resume goes on and ends with the very bytes of a run that was never stopped. Options win " +
    "over --config, --set wins over both.",
  options: {
    corpus: { type: "string", placeholder: "DIR", help: "the corpus folder (needed at the start)" },
    mix: {
      type: "string",
      placeholder: "A=0.8,B=0.2",
      help: "several corpus folders instead, with their shares of the training tokens",
    },
    init: {
      type: "string",
      placeholder: "MODEL",
      help: "a model folder, a Hugging Face id, or random:<preset> (needed at the start)",
    },
    out: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
    config: {
      type: "string",
      placeholder: "FILE",
      help: `a configuration file (JSON with comments), or a recipe: ${recipeNames().join(", ")}`,
    },
    set: {
      type: "list",
      placeholder: "KEY=VALUE",
      help: "sets one key of the configuration, such as optimizer.beta2=0.99; may be repeated",
    },
    resume: { type: "boolean", help: "go on from the run's last checkpoint" },
    ...Object.fromEntries(
      Object.entries(CONFIG_OPTIONS).map(([name, option]) => [name, specOf(option)]),
    ),
    ...deviceOptions,
  },
  examples: [
    "deno task train --corpus corpus --init random:small --out runs/small --steps 1000",
    "deno task train --corpus corpus --init state-spaces/mamba-130m-hf --out runs/bio --config biomamba-v1",
    "deno task train --mix pubmed=0.8,c4=0.2 --init random:small --out runs/mix --steps 1000",
    "deno task train --out runs/bio --resume",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation, out = invocation.string("out")!;
    const resume = invocation.boolean("resume"), file = invocation.string("config");
    const mix = invocation.string("mix");
    if (mix !== undefined && invocation.string("corpus") !== undefined) {
      throw new UsageError("Give either --corpus DIR or --mix, not both");
    }
    const folder = mix ?? invocation.string("corpus") ??
      (resume ? readRun(out).corpus.path : undefined);
    const init = invocation.string("init");
    if (folder === undefined) throw new UsageError("Missing --corpus DIR or --mix");
    if (init === undefined && !resume) throw new UsageError("Missing --init MODEL");
    const started = file === undefined ? {} : readConfigFile(configFile(file));
    // A run on a mix has the mix in its path's place.
    const mixed = mix !== undefined || !exists(folder) && /=[\d.]+$/.test(folder);
    using corpus = mixed ? openMix(folder) : openCorpus(folder);
    const result = await trainRun({
      corpus,
      init,
      out,
      config: mergeConfig(started, givenConfig(invocation)),
      configSource: file === undefined ? "the command line" : `${file} and the command line`,
      resume,
      makeModel: await makeModelOf(invocation),
      reporter,
      signal,
      resumeHint: `deno task train --out ${out} --resume`,
    }).catch((error) => {
      if (error instanceof Interrupted) writeRunReport(out); // the curves so far
      throw error;
    });
    const report = writeRunReport(out);
    const { validationLoss } = result;
    reporter.line(formatTable(["training", "value"], [
      ["steps", result.step.toLocaleString("en")],
      ["tokens", result.tokens.toLocaleString("en")],
      ["loss", result.loss.toFixed(4)],
      ...(validationLoss === undefined ? [] : [
        ["validation loss", validationLoss.toFixed(4)],
        ["validation perplexity", Math.exp(validationLoss).toFixed(3)],
      ]),
      ["time", formatDuration(result.seconds)],
      ["tokens/s", Math.round(result.tokensPerSecond).toLocaleString("en")],
      ["checkpoint", result.checkpoint],
      ["report", report],
    ]));
    if (invocation.json) reporter.line(JSON.stringify({ ...result, report }));
  },
};

/** The keys that options and --set give. */
function givenConfig(invocation: Invocation): PartialConfig {
  let config: PartialConfig = {};
  for (const [name, { key }] of Object.entries(CONFIG_OPTIONS)) {
    const value = invocation.options[name];
    if (value !== undefined) config = mergeConfig(config, nest(key, value));
  }
  // A number of steps given here is meant, whatever a recipe says of tokens.
  if (invocation.number("steps") !== undefined && invocation.number("tokens") === undefined) {
    config = mergeConfig(config, { tokens: 0 });
  }
  for (const text of invocation.list("set")) config = mergeConfig(config, parseOverride(text));
  return config;
}
