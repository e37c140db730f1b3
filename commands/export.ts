/** `export`: a run's model as a Hugging Face folder. @module */
import type { Command } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import { type CheckpointChoice, exportRun } from "../model/export.ts";

export const command: Command = {
  name: "export",
  summary: "Write a run's model as a Hugging Face model folder, with its model card",
  description: "The folder holds config.json, generation_config.json, model.safetensors (several " +
    "files and an index above 5 GB), tokenizer.json, tokenizer_config.json and README.md. It loads " +
    "in transformers (MambaForCausalLM), and as --model or --init here.",
  options: {
    run: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
    out: { type: "string", placeholder: "DIR", help: "the folder to write", required: true },
    checkpoint: {
      type: "string",
      placeholder: "last|best|STEP",
      help: "which checkpoint: the last, the best by validation loss, or a step's",
      default: "last",
    },
    weights: {
      type: "string",
      help: "the weights as trained, or their moving average (where average.decay was set)",
      choices: ["trained", "average"],
      default: "trained",
    },
  },
  examples: [
    "deno task export --run runs/biomamba --out biomamba-130m",
    "deno task export --run runs/biomamba --out biomamba-130m --checkpoint best",
  ],
  run(invocation) {
    const { reporter } = invocation;
    const run = invocation.string("run")!, out = invocation.string("out")!;
    const choice = checkpointChoice(invocation.string("checkpoint")!);
    const weights = invocation.string("weights") as "trained" | "average";
    const result = exportRun(run, out, choice, weights, (message) => reporter.log(message));
    reporter.line(formatTable(["export", "value"], [
      ["model folder", result.out],
      ["from", result.checkpoint],
      ["step", String(result.step)],
      ["parameters", result.parameters.toLocaleString("en")],
      ...(result.validationPerplexity === undefined
        ? []
        : [["validation perplexity", result.validationPerplexity.toFixed(3)]]),
    ]));
    if (invocation.json) reporter.line(JSON.stringify(result));
    return Promise.resolve();
  },
};

function checkpointChoice(text: string): CheckpointChoice {
  if (text === "last" || text === "best") return text;
  if (!/^\d+$/.test(text)) {
    throw new UsageError(`Option --checkpoint is "${text}": give last, best or a step`);
  }
  return Number(text);
}
