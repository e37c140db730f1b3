/** `reproduce`: every task that has data, for every model, as one table. @module */
import { jsonLine } from "../core/json.ts";
import type { Command, Invocation, OptionSpec } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { isRandom } from "../model/tasks/core/reader.ts";
import { isOnnxFolder, openOnnxFolder } from "../model/tasks/onnx/folder.ts";
import { FINETUNE_DEFAULTS } from "../model/tasks/core/run.ts";
import {
  findSets,
  parseNamed,
  planReproduction,
  type Protocol,
  reproduceAndWrite,
  type ReproducedModel,
  type ReproduceRequest,
} from "../model/tasks/reproduce/mod.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import type { MambaOptions } from "../model/mamba/mamba.ts";
import { localModel } from "../model/weights/mod.ts";
import { deviceChoice, deviceOptions, makeModelOf } from "./device_options.ts";
import { TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

const { batch } = FINETUNE_DEFAULTS;

const OPTIONS = {
  models: {
    type: "string",
    placeholder: "A,B",
    help:
      "models, each a folder, a Hugging Face id or random:PRESET, or NAME=one of these; a folder " +
      "may also be of a masked or causal model in ONNX, which is asked and not taught",
    required: true,
  },
  base: {
    type: "string",
    placeholder: "NAME",
    help: "which of them the others are compared with (default: the first)",
  },
  data: { type: "string", placeholder: "DIR", help: "the folder of the sets", required: true },
  out: { type: "string", placeholder: "RESULTS", help: "the results' folder", required: true },
  systems: {
    type: "string",
    placeholder: "NAME=DIR",
    help: "answers of systems from elsewhere: a folder with a file for each set, called by its id",
  },
  tokenizer: TOKENIZER_OPTION,
  "learning-rates": {
    type: "string",
    placeholder: "A,B",
    help: "the peaks to choose among on the development split (default: the task's own)",
  },
  epochs: {
    type: "integer",
    help: "times through the training examples (default: the task's)",
    min: 1,
  },
  seeds: { type: "integer", help: "runs with the chosen setting", min: 1, max: 100, default: 3 },
  "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: batch.rows },
  accumulate: {
    type: "integer",
    help: "an update takes batch-size times this many examples",
    min: 1,
    default: batch.accumulate,
  },
  "max-tokens": {
    type: "integer",
    help: "longer prompts lose the end of their context",
    min: 128,
    default: 1024,
  },
  plan: {
    type: "boolean",
    help: "print the sets, the runs, their time as two steps of each tell it, and their memory; " +
      "nothing is written",
  },
  quick: { type: "boolean", help: "a smoke run on a few examples of each set" },
  ...deviceOptions,
} satisfies Record<string, OptionSpec>;

/** `reproduce`. */
export const command: Command = {
  name: "reproduce",
  summary: "Run every task that has data for every model, and write one table",
  description:
    "Looks through a folder for sets in the formats that tasks formats lists. Every model is asked as " +
    "it is, where a task is put in words, and taught, where a set has splits: the learning rate by " +
    "the development split, the same search for each model, several seeds, each run tested once. " +
    "Writes a page and a table (terminal, HTML, LaTeX, JSON) with every measure's interval, the paired " +
    "difference from the base and from the trivial system, and wins, ties and losses; and beside them " +
    "every run's results and samples. Stopped anywhere, the same command goes on; when all is done, it " +
    "does nothing.",
  options: OPTIONS,
  examples: [
    "deno task reproduce --models mamba-130m-hf,runs/biomamba --data sets --out results",
    "deno task reproduce --models base=random:tiny,adapted=runs/tiny --tokenizer tokenizer.json " +
    "--data sets --out results --quick",
  ],
  stopping: "Stopping after this step; the same command goes on",
  async run(invocation) {
    const { reporter, signal } = invocation;
    const models = await modelsOf(invocation);
    const base = invocation.string("base") ?? models[0]?.label ?? "";
    if (models.find(({ label }) => label === base)?.onnx) {
      throw new UsageError(
        `Option --base is "${base}", a model in ONNX, which is only asked; name one that is taught`,
      );
    }
    if (!models.some(({ label }) => label === base)) {
      throw new UsageError(
        `Option --base is "${base}", which is none of --models; name one of ${
          models.map(({ label }) => label).join(", ")
        }`,
      );
    }
    const request: ReproduceRequest = {
      found: findSets(invocation.requiredString("data")),
      models,
      base,
      systems: systemsOf(invocation),
      protocol: protocolOf(invocation),
      out: invocation.requiredString("out"),
      makeModel: await makeModelOf(invocation),
      reporter,
      signal,
    };
    if (invocation.boolean("plan")) {
      const { text, json } = await planReproduction(request, bytesOn(invocation));
      reporter.line(text);
      if (invocation.json) reporter.line(jsonLine(json));
      return;
    }
    const json = await reproduceAndWrite(request);
    if (invocation.json) reporter.line(jsonLine(json));
  },
};

/** The memory of a model on the device that the options ask for. */
function bytesOn(invocation: Invocation) {
  return async (config: MambaConfig, shape: MambaOptions): Promise<number> => {
    const { planMemory } = await import("../model/mamba/device_model.ts");
    const { available, keep, recompute } = await planMemory(
      deviceChoice(invocation),
      config,
      shape,
    );
    return keep.total <= available ? keep.total : recompute.total;
  };
}

/** The models with the tokenizer that those without one read with. */
async function modelsOf(invocation: Invocation): Promise<ReproducedModel[]> {
  const tokenizer = await tokenizerOption(invocation);
  return parseNamed(invocation.requiredString("models"), "--models").map(({ label, place }) => ({
    label,
    name: place,
    folder: () => isRandom(place) ? Promise.resolve(place) : localModel(place, invocation.reporter),
    ...(isOnnxFolder(place) ? { onnx: openOnnxFolder(place) } : {}),
    ...(isRandom(place) && tokenizer !== undefined ? { tokenizerFile: tokenizer } : {}),
  }));
}

function systemsOf(invocation: Invocation): { label: string; folder: string }[] {
  const given = invocation.string("systems");
  if (given === undefined) return [];
  return parseNamed(given, "--systems").map(({ label, place }) => ({ label, folder: place }));
}

function protocolOf(invocation: Invocation): Protocol {
  const rates = invocation.string("learning-rates");
  return {
    ...(rates === undefined ? {} : { learningRates: ratesOf(rates) }),
    epochs: invocation.number("epochs"),
    seeds: invocation.requiredNumber("seeds"),
    rows: invocation.requiredNumber("batch-size"),
    accumulate: invocation.requiredNumber("accumulate"),
    maxTokens: invocation.requiredNumber("max-tokens"),
    quick: invocation.boolean("quick"),
  };
}

/** @throws {UsageError} for what is no learning rate. */
function ratesOf(text: string): number[] {
  return text.split(",").map((word) => {
    const rate = Number(word);
    if (word.trim() === "" || !Number.isFinite(rate) || rate <= 0) {
      throw new UsageError(
        `Option --learning-rates has "${word}": give positive numbers, separated by commas`,
      );
    }
    return rate;
  });
}
