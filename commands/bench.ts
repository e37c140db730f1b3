/** `bench NAME`: benchmarks, each in its own file under bench/. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError } from "../core/errors.ts";
import { alternativeOption, deviceOptions } from "./device_options.ts";
import { precisionOption } from "./precision_option.ts";

/** A benchmark: prints its figures through the reporter and returns them for `--json`. */
type Benchmark = (invocation: Invocation) => Promise<Record<string, unknown>>;

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  kernels: async () => (await import("../bench/kernels.ts")).benchKernels,
  autotune: async () => (await import("../bench/autotune.ts")).benchAutotune,
  gpu: async () => (await import("../bench/gpu.ts")).benchGpu,
  finetune: async () => (await import("../bench/finetune.ts")).benchFinetune,
  train: async () => (await import("../bench/train.ts")).benchTrain,
  generate: async () => (await import("../bench/generate.ts")).benchGenerate,
  pipeline: async () => (await import("../bench/pipeline.ts")).benchPipelineCommand,
  tokenize: async () => (await import("../bench/tokenize.ts")).benchTokenize,
  parts: async () => (await import("../bench/parts.ts")).benchParts,
  ranks: async () => (await import("../bench/ranks.ts")).benchRanks,
};

export const command: Command = {
  name: "bench",
  summary: "Measure how fast this machine runs a part of the program",
  description: "Prints figures, and ratios to a peer or a limit measured in the same run. " +
    `NAME is one of ${Object.keys(BENCHMARKS).join(", ")}.`,
  positionals: [{ name: "NAME", help: Object.keys(BENCHMARKS).join(", "), required: true }],
  options: {
    model: {
      type: "string",
      help:
        "train, generate, kernels, autotune: this preset's sizes only, small or mamba-130m; finetune: " +
        "any preset, tiny by default; ranks: the preset whose gradients are exchanged, mamba-130m by " +
        "default",
    },
    steps: {
      type: "integer",
      help: "train, ranks: measured steps; parts: rounds",
      default: 3,
      min: 1,
    },
    input: {
      type: "string",
      placeholder: "FILE|DIR",
      help: "pipeline: a PubMed .xml.gz file; parts: a folder laid out as NLM's server",
    },
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: "pipeline, finetune: a tokenizer.json",
    },
    citations: {
      type: "integer",
      min: 1,
      help: "pipeline: synthetic citations in the catalogue (default 1800000; PubMed has 40000000)",
    },
    output: {
      type: "string",
      placeholder: "F.json",
      help: "gpu: where the figures go, too (default bench-gpu.json)",
    },
    seconds: {
      type: "integer",
      min: 1,
      help: "gpu: begin no section of a provider after so many seconds",
    },
    compute: {
      type: "number",
      placeholder: "SECONDS",
      help: "ranks: how long each rank computes per step beside the exchange",
      default: 1,
      min: 0,
    },
    mpirun: {
      type: "string",
      placeholder: "PROGRAM",
      help: "ranks: what starts them, where it is not mpirun",
    },
    profile: { type: "boolean", help: "train: also the time of each kernel" },
    precision: {
      ...precisionOption,
      help: "train, autotune: f32 or mixed, with f16 where products use it",
    },
    ...deviceOptions,
    alternative: { ...alternativeOption, help: `kernels: ${alternativeOption.help}` },
    only: {
      type: "list",
      placeholder: "WORD",
      help: "gpu: only sections whose names have this word, such as step; may be repeated",
    },
    resume: {
      type: "boolean",
      help: "gpu: keep what is in the file of --output, and measure only what is missing there",
    },
    skip: {
      type: "list",
      placeholder: "SECTION",
      help: "gpu: leave a section out; may be repeated",
    },
    provider: {
      ...deviceOptions.provider,
      help: `${deviceOptions.provider.help}; by default gpu measures both and the others use deno`,
      default: undefined,
    },
  },
  examples: [
    "deno task bench gpu --output bench/results/my-gpu.json",
    "deno task bench gpu --resume --only step --output bench/results/my-gpu.json",
    "deno task bench train",
    "deno task bench train --model small --profile --json",
    "deno task bench train --precision mixed",
    "deno task bench finetune --model small",
    "deno task bench generate",
    "deno task bench kernels --variant gpu-tiled",
    "deno task bench ranks --compute 0.7 --json",
  ],
  async run(invocation) {
    const [name = ""] = invocation.positionals;
    const load = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
    if (!load) {
      throw new UsageError(
        `There is no benchmark "${name}": choose ${Object.keys(BENCHMARKS).join(", ")}`,
      );
    }
    const figures = await (await load())(invocation);
    if (invocation.json) invocation.reporter.line(jsonLine({ benchmark: name, ...figures }));
  },
};
