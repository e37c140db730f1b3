/** `export`: a run's model as a Hugging Face folder. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { join } from "../core/std.ts";
import { type CheckpointChoice, exportRun } from "../model/training/mod.ts";
import { type GgufType, type ModelLayout } from "../model/weights/mod.ts";

export const command: Command = {
  name: "export",
  summary: "Write a run's model as a folder that others load, with its model card",
  description: "The folder holds config.json, generation_config.json, model.safetensors (several " +
    "files and an index above 5 GB), tokenizer.json, tokenizer_config.json and README.md. It loads " +
    "in transformers (MambaForCausalLM, Mamba2ForCausalLM), and as --model or --init here. With " +
    "--layout mamba-ssm it holds config.json and pytorch_model.bin as mamba_ssm reads them, with " +
    "--layout gguf the file model.gguf, tokenizer included, which llama.cpp runs. A run of " +
    "adapters (train --lora, finetune --lora) becomes a folder of adapters as PEFT has them, which " +
    "loads beside its base; with --merge, a whole model.",
  options: {
    run: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
    out: { type: "string", placeholder: "DIR", help: "the folder to write", required: true },
    checkpoint: {
      type: "string",
      placeholder: "last|best|STEP",
      help: "which checkpoint: the last, the best by validation loss, or a step's",
      default: "last",
    },
    push: {
      type: "string",
      placeholder: "ORG/NAME",
      help: "publish the folder on the Hugging Face hub, with the token in HF_TOKEN",
    },
    private: { type: "boolean", help: "with --push: a new repository is not public" },
    layout: {
      type: "string",
      help: "who loads it: transformers, mamba_ssm (pytorch_model.bin) or llama.cpp (model.gguf)",
      choices: ["hf", "mamba-ssm", "gguf"],
      default: "hf",
    },
    merge: {
      type: "boolean",
      help: "of a run of adapters: write the whole model, with the adapters in its weights",
    },
    license: {
      type: "string",
      placeholder: "ID",
      help: "the licence that the model card states, such as apache-2.0; without it, none",
    },
    type: {
      type: "string",
      help: "with --layout gguf: how matrices are stored",
      choices: ["f32", "f16", "q8_0"],
      default: "f16",
    },
    weights: {
      type: "string",
      help: "as trained, their moving average, or what validation scored: the average where kept",
      choices: ["scored", "trained", "average"],
      default: "scored",
    },
  },
  examples: [
    "deno task export --run runs/biomamba --out biomamba-130m",
    "deno task export --run runs/biomamba --out biomamba-130m --checkpoint best",
    "deno task export --run runs/biomamba --out biomamba-130m --push my-org/biomamba-130m",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const push = invocation.string("push");
    const run = invocation.requiredString("run");
    const out = invocation.requiredString("out");
    const choice = checkpointChoice(invocation.requiredString("checkpoint"));
    const weights = invocation.string("weights") as "scored" | "trained" | "average";
    const named = invocation.string("layout") as ModelLayout | "gguf";
    const gguf = invocation.string("type") as GgufType;
    const layout = named === "gguf" ? { gguf } : named;
    const hub = push === undefined ? undefined : await import("../model/weights/push.ts");
    if (push !== undefined) hub?.checkPush(push); // before the work
    // A folder whose publishing failed before is published as it is.
    const written = push !== undefined && exists(join(out, "config.json"));
    if (written) reporter.log(`Publishing ${out} as it is`);
    const result = written
      ? undefined
      : exportRun(run, out, choice, weights, (message) => reporter.log(message), {
        layout,
        license: invocation.string("license"),
        merge: invocation.boolean("merge"),
      });
    const address = push === undefined
      ? undefined
      : await hub?.pushFolder(out, push, { private: invocation.boolean("private") });
    reporter.line(formatTable(["export", "value"], [
      ["model folder", out],
      ...(result === undefined ? [] : [
        ["from", result.checkpoint],
        ["step", result.step.toLocaleString("en")],
        ["weights", result.weights === "average" ? "moving average" : "as trained"],
        ["holds", result.adapters ? "adapters, to be read beside their base" : "a whole model"],
        ["parameters", result.parameters.toLocaleString("en")],
      ]),
      ...(result?.validationPerplexity === undefined
        ? []
        : [["validation perplexity", result.validationPerplexity.toFixed(3)]]),
      ...(address === undefined ? [] : [["published at", address]]),
    ]));
    if (invocation.json) {
      reporter.line(jsonLine({ out, ...result, ...(address ? { address } : {}) }));
    }
  },
};

function checkpointChoice(text: string): CheckpointChoice {
  if (text === "last" || text === "best") return text;
  if (!/^\d+$/.test(text)) {
    throw new UsageError(`Option --checkpoint is "${text}": give last, best or a step`);
  }
  return Number(text);
}
