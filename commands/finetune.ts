/** `finetune NAME`: a command for every task that can be taught. @module */
import type { Command, CommandGroup, Invocation, OptionSpec } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { HEAD_CONTEXTS } from "../model/mamba/head.ts";
import { variantOf } from "../model/tasks/core/evaluate.ts";
import { finetuneOverSeeds } from "../model/tasks/core/finetune.ts";
import { rateOfWidth } from "../model/tasks/core/rates.ts";
import { FINETUNE_DEFAULTS } from "../model/tasks/core/run.ts";
import { type AnyTask, type FinetuneHelp, isTask } from "../model/tasks/core/task.ts";
import type { Grid } from "../model/tasks/core/tuning.ts";
import { TASKS } from "../model/tasks/list.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { requiredModel } from "./evaluate.ts";
import { precisionOf, precisionOption } from "./precision_option.ts";
import { givenLora, LORA_OPTIONS, specOf } from "./train_options.ts";
import { modelOption, TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

const { batch, optimizer, schedule } = FINETUNE_DEFAULTS;

/** How the help tells the rates of heads. */
const headRates = (
  { rateAtWidth64, mostRate = Infinity }: { rateAtWidth64?: number; mostRate?: number },
): string =>
  [64, 768].map((width) =>
    `${Math.min(mostRate, rateOfWidth(width, rateAtWidth64))} at width ${width}`
  ).join(", ");

/** The peak learning rate of a task that is answered by words. */
const wordsRate = (defaults: FinetuneHelp["defaults"] = {}): number =>
  defaults.learningRate ?? optimizer.learning_rate;

/**
 * What the fine-tuning of all tasks shares, with a task's own defaults. It is longer than 100 lines
 * because it is a list of options.
 */
function sharedOptions(defaults: FinetuneHelp["defaults"] = {}) {
  return {
    out: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
    tokenizer: TOKENIZER_OPTION,
    epochs: {
      type: "integer",
      help: "times through the training examples",
      min: 1,
      default: defaults.epochs ?? 5,
    },
    "learning-rate": {
      type: "number",
      min: 0,
      ...(defaults.head
        ? {
          help: `the peak; where not given, of a head and what is below it ` +
            `${headRates(defaults.head)}, and of words ${wordsRate(defaults)}`,
        }
        : { help: "the peak", default: wordsRate(defaults) }),
    },
    "weight-decay": {
      type: "number",
      help: "of matrices",
      min: 0,
      default: optimizer.weight_decay,
    },
    warmup: {
      type: "number",
      help: "the share of steps in which the learning rate rises, before a cosine to zero",
      min: 0,
      max: 0.99,
      default: schedule.warmup,
    },
    "layer-decay": {
      type: "number",
      help: "each layer learns this much slower than the one above it; 1 for all alike",
      min: 0.01,
      max: 1,
      default: 1,
    },
    freeze: {
      type: "string",
      placeholder: "NAMES",
      help: "parameters that stay as they are: names with * for any text, separated by commas",
      default: "",
    },
    ...Object.fromEntries(
      Object.entries(LORA_OPTIONS).map(([name, option]) => [name, specOf(option)]),
    ),
    ...headOptions(defaults.head),
    precision: precisionOption,
    "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: batch.rows },
    accumulate: {
      type: "integer",
      help: "an update takes batch-size times this many examples",
      min: 1,
      default: defaults.accumulate ?? batch.accumulate,
    },
    "max-tokens": {
      type: "integer",
      help: "longer prompts lose the end of their context",
      min: 128,
      default: 1024,
    },
    seed: { type: "integer", help: "of the order and of the bootstrap", min: 0, default: 0 },
    seeds: {
      type: "integer",
      help: "as many runs, with seeds from --seed on, each in a folder of its own under --out",
      min: 1,
      max: 100,
      default: 1,
    },
    tune: {
      type: "boolean",
      help: "search learning rate, batch and epochs on the development split first, in --out/tune",
    },
    "tune-rates": {
      type: "string",
      placeholder: "A,B",
      help: "peaks to choose among; where not given half, once and twice the default",
    },
    "tune-batches": {
      type: "string",
      placeholder: "A,B",
      help: "examples per update to choose among",
    },
    "tune-epochs": {
      type: "string",
      placeholder: "A,B",
      help: "numbers of epochs to choose among",
    },
    "early-stopping": {
      type: "integer",
      placeholder: "N",
      help: "so many epochs without a higher development score end the run",
      min: 1,
    },
    reinitialize: {
      type: "integer",
      placeholder: "N",
      help: "the topmost N layers begin anew, by the seed",
      min: 0,
      default: 0,
    },
    latex: { type: "boolean", help: "print the table for a paper, too" },
    resume: { type: "boolean", help: "go on from the run's newest checkpoint" },
    ...deviceOptions,
  } satisfies Record<string, OptionSpec>;
}

/** What a head of labels adds, for a task that has one. */
function headOptions(head: NonNullable<FinetuneHelp["defaults"]>["head"]) {
  if (!head) return {};
  return {
    approach: {
      type: "string",
      help: "a head of labels of the model's own, or the words of the answers",
      choices: ["head", "words"],
      default: head.asked ? "words" : "head",
    },
    context: {
      type: "string",
      help: "how a head reads a text: once, twice in a row, or from both ends",
      choices: [...HEAD_CONTEXTS],
      default: "both",
    },
    ...(head.crf
      ? {
        "no-crf": {
          type: "boolean",
          help: "a head labels each word by itself, without a conditional random field",
        } as const,
      }
      : {}),
    ...(head.sparse
      ? {
        "no-sparse": {
          type: "boolean",
          help: "a head reads hidden states alone, without features of words and their spelling",
        } as const,
      }
      : {}),
    "class-weights": {
      type: "string",
      help: "balanced: a head's rare labels count as much as its common ones",
      choices: ["none", "balanced"],
      default: "none",
    },
    dropout: {
      type: "number",
      help: "the share of the embeddings' values that a head learns without",
      min: 0,
      max: 0.9,
      default: head.dropout,
    },
    "token-dropout": {
      type: "number",
      help: "the share of the tokens that a head learns without",
      min: 0,
      max: 0.9,
      default: head.tokenDropout ?? 0,
    },
    "state-dropout": {
      type: "number",
      help: "the share of the last hidden states' values that a head learns without",
      min: 0,
      max: 0.9,
      default: head.stateDropout ?? 0,
    },
    "head-learning-rate": {
      type: "number",
      help:
        "the peak of a head's own parameters, which begin anew; 0 for that of the others; where " +
        `not given the others', but at least ${head.learningRate}`,
      min: 0,
    },
  } satisfies Record<string, OptionSpec>;
}

/** The head of labels that the options ask for; undefined where answers are words. */
function headChoice(task: AnyTask, invocation: Invocation, defaults: FinetuneHelp["defaults"]) {
  // What the files hold may be a task that is answered by a head alone.
  const words = invocation.string("approach") === "words" &&
    variantOf(task, invocation).approaches.length > 0;
  if (!defaults?.head || words) return undefined;
  const context = HEAD_CONTEXTS.find((name) => name === invocation.string("context")) ?? "both";
  const crf = defaults.head.crf && !invocation.boolean("no-crf");
  const { sparse } = defaults.head;
  return sparse && !invocation.boolean("no-sparse") ? { context, crf, sparse } : { context, crf };
}

/** The values that a search combines; undefined where there is none. */
function gridOf(invocation: Invocation): Grid | undefined {
  const learningRates = numbersOf(invocation, "tune-rates", (n) => n > 0, "positive numbers");
  const isWhole = (n: number) => Number.isSafeInteger(n) && n > 0;
  const batches = numbersOf(invocation, "tune-batches", isWhole, "whole numbers from 1 on");
  const epochs = numbersOf(invocation, "tune-epochs", isWhole, "whole numbers from 1 on");
  if (invocation.boolean("tune")) return { learningRates, batches, epochs };
  if (learningRates ?? batches ?? epochs) {
    throw new UsageError("Options --tune-rates, --tune-batches and --tune-epochs need --tune");
  }
  return undefined;
}

/** @throws {UsageError} for a list with something that is not allowed. */
function numbersOf(
  invocation: Invocation,
  name: string,
  allowed: (value: number) => boolean,
  what: string,
): number[] | undefined {
  const list = invocation.string(name);
  if (list === undefined) return undefined;
  const values = list.split(",").map((word) => {
    const value = Number(word);
    if (word.trim() !== "" && Number.isFinite(value) && allowed(value)) return value;
    throw new UsageError(`Option --${name} has "${word}": give ${what}, separated by commas`);
  });
  return [...new Set(values)];
}

function taskCommand(task: AnyTask, { options, defaults, ...help }: FinetuneHelp): Command {
  return {
    name: `finetune ${task.name}`,
    ...help,
    options: {
      model: modelOption(
        "the model to begin from (or random:tiny and the like, with --tokenizer)",
        true,
      ),
      ...options,
      ...sharedOptions(defaults),
    },
    stopping: "Stopping after this step, and saving",
    async run(invocation) {
      const { reporter, signal } = invocation;
      const head = headChoice(task, invocation, defaults);
      const json = await finetuneOverSeeds(task, {
        given: invocation,
        model: requiredModel(invocation),
        tokenizerFile: await tokenizerOption(invocation),
        out: invocation.requiredString("out"),
        epochs: invocation.requiredNumber("epochs"),
        config: {
          ...FINETUNE_DEFAULTS,
          precision: precisionOf(invocation),
          batch: {
            rows: invocation.number("batch-size"),
            accumulate: invocation.number("accumulate"),
          },
          optimizer: {
            learning_rate: invocation.number("learning-rate") ??
              (head ? undefined : wordsRate(defaults)),
            weight_decay: invocation.number("weight-decay"),
            layer_decay: invocation.number("layer-decay"),
            freeze: invocation.string("freeze"),
            ...(head ? { head_learning_rate: invocation.number("head-learning-rate") } : {}),
          },
          ...(head
            ? {
              objective: {
                dropout: invocation.number("dropout"),
                token_dropout: invocation.number("token-dropout"),
                state_dropout: invocation.number("state-dropout"),
              },
            }
            : {}),
          ...givenLora(invocation),
          schedule: { ...schedule, warmup: invocation.number("warmup") },
        },
        steadying: {
          early_stopping: invocation.number("early-stopping") ?? 0,
          class_weights: invocation.string("class-weights") === "balanced" ? "balanced" : "none",
          reinitialize: invocation.requiredNumber("reinitialize"),
        },
        maxTokens: invocation.requiredNumber("max-tokens"),
        head,
        seed: invocation.requiredNumber("seed"),
        seeds: invocation.requiredNumber("seeds"),
        tune: gridOf(invocation),
        resume: invocation.boolean("resume"),
        makeModel: await makeModelOf(invocation),
        command: invocation.words,
        reporter,
        signal,
      });
      if (invocation.json) reporter.line(JSON.stringify(json));
    },
  };
}

/** `finetune` with a command per task. */
export const group: CommandGroup = {
  name: "finetune",
  summary: "Teach a model a task from examples, and test it",
  commands: Object.fromEntries(
    TASKS.filter(isTask).flatMap((task) => {
      if (!task.finetuning) return [];
      const command = taskCommand(task, task.finetuning);
      return [[task.name, { summary: command.summary, load: () => Promise.resolve(command) }]];
    }),
  ),
};
