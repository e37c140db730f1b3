/** The options of `train` that are keys of its configuration. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import {
  configFile,
  mergeConfig,
  nest,
  parseOverride,
  type PartialConfig,
  readConfigFile,
} from "../model/training/mod.ts";
import { precisionOption } from "./precision_option.ts";
import { givenSelection, selectionOptions } from "./selection_options.ts";

/** Options of adapters, which are keys of the configuration. */
export const LORA_OPTIONS: Record<string, OptionSpec & { key: string }> = {
  lora: {
    key: "lora.targets",
    type: "string",
    placeholder: "NAMES",
    help: "train adapters of low rank beside these matrices, and nothing else of the model: " +
      "in_proj, x_proj, dt_proj, out_proj, embedding, linear for all but the last, or names with * " +
      "for any text, separated by commas",
  },
  "lora-rank": { key: "lora.rank", type: "integer", help: "the rank of adapters", min: 1 },
  "lora-alpha": {
    key: "lora.alpha",
    type: "number",
    help: "an adapter's part is multiplied with this over the rank",
    min: 0,
  },
  "lora-dropout": {
    key: "lora.dropout",
    type: "number",
    help: "the share of what an adapter reads that it learns without",
    min: 0,
    max: 0.9,
  },
};

/** Options that are keys of the configuration. */
const CONFIG_OPTIONS: Record<string, OptionSpec & { key: string }> = {
  steps: { key: "steps", type: "integer", help: "optimizer updates", min: 1 },
  tokens: { key: "tokens", type: "integer", help: "instead of --steps: tokens to see", min: 1 },
  hours: { key: "hours", type: "number", help: "save and stop after this long", min: 0 },
  "batch-size": { key: "batch.rows", type: "integer", help: "rows of a micro-batch", min: 1 },
  accumulate: { key: "batch.accumulate", type: "integer", help: "micro-batches of a step", min: 1 },
  lanes: {
    key: "batch.lanes",
    type: "integer",
    help:
      "sum a step's gradients in so many lanes, a power of two: results are then the same on any " +
      "number of ranks up to it",
    min: 1,
  },
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
  ...LORA_OPTIONS,
  precision: { key: "precision", ...precisionOption },
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

/** The keys under `lora` that the options of adapters give. */
export function givenLora(invocation: Invocation): PartialConfig {
  let config: PartialConfig = {};
  for (const [name, { key }] of Object.entries(LORA_OPTIONS)) {
    const value = invocation.options[name];
    if (value !== undefined) config = mergeConfig(config, nest(key, value));
  }
  return config;
}

/** An option as a command has it, without the key that it sets. */
export const specOf = ({ key: _, ...spec }: OptionSpec & { key: string }): OptionSpec => spec;

/** Spread into the command's options. */
export const configOptions: Record<string, OptionSpec> = {
  ...Object.fromEntries(
    Object.entries(CONFIG_OPTIONS).map(([name, option]) => [name, specOf(option)]),
  ),
  ...selectionOptions,
};

/** The configuration that --config, the options and --set give, and how errors name it. */
export function givenConfig(invocation: Invocation): { config: PartialConfig; source: string } {
  const file = invocation.string("config");
  const start = file === undefined ? {} : readConfigFile(configFile(file));
  const source = file === undefined ? "the command line" : `${file} and the command line`;
  return { config: mergeConfig(start, optionConfig(invocation)), source };
}

/** The keys that options and --set give. */
function optionConfig(invocation: Invocation): PartialConfig {
  let config: PartialConfig = {};
  for (const [name, { key }] of Object.entries(CONFIG_OPTIONS)) {
    const value = invocation.options[name];
    if (value !== undefined) config = mergeConfig(config, nest(key, value));
  }
  config = mergeConfig(config, { data: givenSelection(invocation) });
  // A number of steps given here is meant, whatever a recipe says of tokens.
  if (invocation.number("steps") !== undefined && invocation.number("tokens") === undefined) {
    config = mergeConfig(config, { tokens: 0 });
  }
  for (const text of invocation.list("set")) config = mergeConfig(config, parseOverride(text));
  return config;
}
