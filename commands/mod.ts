/** Every command by name. Each is loaded only when called, so that help starts fast. @module */
import type { CommandGroup } from "../core/cli.ts";

const pipeline: CommandGroup = {
  name: "pipeline",
  summary: "From PubMed's XML to token shards",
  commands: {
    run: {
      summary: "Bring PubMed files into a corpus: documents, catalogue, tokens, shards",
      load: async () => (await import("./pipeline_run.ts")).command,
    },
    refresh: {
      summary: "Fetch and apply what is new since the last run",
      load: async () => (await import("./pipeline_refresh.ts")).command,
    },
    finish: {
      summary: "Merge the parts of a run on many machines into the corpus",
      load: async () => (await import("./pipeline_finish.ts")).command,
    },
    push: {
      summary: "Copy a corpus into S3-compatible storage",
      load: async () => (await import("./pipeline_push.ts")).command,
    },
    pull: {
      summary: "Copy a corpus out of S3-compatible storage",
      load: async () => (await import("./pipeline_pull.ts")).command,
    },
    verify: {
      summary: "Hash every file of a corpus again and check every count",
      load: async () => (await import("./pipeline_verify.ts")).command,
    },
    report: {
      summary: "Write a page about a corpus",
      load: async () => (await import("./pipeline_report.ts")).command,
    },
    status: {
      summary: "Show what is in a corpus",
      load: async () => (await import("./pipeline_status.ts")).command,
    },
    pack: {
      summary: "Make a further shard set of a corpus's documents",
      load: async () => (await import("./pipeline_pack.ts")).command,
    },
    prune: {
      summary: "Remove shards of earlier states that no training run needs any more",
      load: async () => (await import("./pipeline_prune.ts")).command,
    },
    documents: {
      summary: "Print the live documents as JSON lines, by ascending PMID",
      load: async () => (await import("./pipeline_documents.ts")).command,
    },
    tokenize: {
      summary: "Encode the text of each line into an array of ids that NumPy reads",
      load: async () => (await import("./pipeline_tokenize.ts")).command,
    },
    duplicates: {
      summary: "Report nearly equal documents (MinHash over runs of five words)",
      load: async () => (await import("./pipeline_duplicates.ts")).command,
    },
    export: {
      summary: "Write the documents of a corpus's shards in the format of another trainer",
      load: async () => (await import("./pipeline_export.ts")).command,
    },
    sample: {
      summary: "Print the rows that a step of training reads, or a rank's share of them",
      load: async () => (await import("./pipeline_sample.ts")).command,
    },
    locate: {
      summary: "Name the documents in a row of a shard, or the one at a column",
      load: async () => (await import("./pipeline_locate.ts")).command,
    },
    where: {
      summary: "Find a PMID in the shards, and count its tokens",
      load: async () => (await import("./pipeline_where.ts")).command,
    },
    "extend-tokenizer": {
      summary: "Add a domain's tokens to a tokenizer, keeping its ids",
      load: async () => (await import("./pipeline_extend_tokenizer.ts")).command,
    },
    "compare-tokenizers": {
      summary: "Tokens per word of several tokenizers, on text and on biomedical terms",
      load: async () => (await import("./pipeline_compare_tokenizers.ts")).command,
    },
    decontaminate: {
      summary: "Hold out of a corpus what evaluation sets were made from",
      load: async () => (await import("./pipeline_decontaminate.ts")).command,
    },
    "train-tokenizer": {
      summary: "Train a byte-level BPE tokenizer, in Hugging Face's format",
      load: async () => (await import("./pipeline_train_tokenizer.ts")).command,
    },
  },
};

const model: CommandGroup = {
  name: "model",
  summary: "Change model folders, or take from them",
  commands: {
    extend: {
      summary: "Give a model the rows of an extended tokenizer",
      load: async () => (await import("./model_extend.ts")).command,
    },
    tokenizer: {
      summary: "Copy a model's tokenizer.json, to make a corpus with it",
      load: async () => (await import("./model_tokenizer.ts")).command,
    },
  },
};

const tasks: CommandGroup = {
  name: "tasks",
  summary: "Files of tasks: their formats, and from one to another",
  commands: {
    convert: {
      summary: "Write a task's file or folder in another format",
      load: async () => (await import("./tasks_convert.ts")).command,
    },
    formats: {
      summary: "List the formats that tasks read, and which of them can be written",
      load: async () => (await import("./tasks_formats.ts")).command,
    },
  },
};

/** The root of the command line. */
export const ROOT_COMMANDS: CommandGroup = {
  name: "",
  summary: "pubmamba: PubMed's XML to a trained, evaluated biomedical Mamba, on any GPU",
  commands: {
    help: {
      summary: 'Help on a command or a topic; "help topics" lists the topics',
      load: async () => (await import("./help.ts")).helpCommand(ROOT_COMMANDS),
    },
    completion: {
      summary: "Print the completion of commands and options for bash, zsh or fish",
      load: async () => (await import("./completion.ts")).completionCommand(ROOT_COMMANDS),
    },
    demo: {
      summary: "The whole way on bundled data, without a GPU",
      load: async () => (await import("./demo.ts")).command,
    },
    doctor: {
      summary: "Look at this machine: the GPU, the kernels on it, memory, disk",
      load: async () => (await import("./doctor.ts")).command,
    },
    goldens: {
      summary: "Compare the device's operations and models with golden results",
      load: async () => (await import("./goldens.ts")).command,
    },
    kernels: {
      summary: "List the GPU kernels of a model's steps, or print one as WGSL",
      load: async () => (await import("./kernels.ts")).command,
    },
    pipeline: { summary: pipeline.summary, load: () => Promise.resolve(pipeline) },
    train: {
      summary: "Train a Mamba on a corpus, from given or random weights",
      load: async () => (await import("./train.ts")).command,
    },
    compare: {
      summary: "Compare runs: curves, results with paired intervals, settings",
      load: async () => (await import("./compare.ts")).command,
    },
    export: {
      summary: "Write a run's model as a Hugging Face model folder",
      load: async () => (await import("./export.ts")).command,
    },
    generate: {
      summary: "Generate text with a model",
      load: async () => (await import("./generate.ts")).command,
    },
    bench: {
      summary: "Measure how fast this machine runs a part of the program",
      load: async () => (await import("./bench.ts")).command,
    },
    model: { summary: model.summary, load: () => Promise.resolve(model) },
    evaluate: {
      summary: "Score models and answers, with intervals",
      load: async () => (await import("./evaluate.ts")).group,
    },
    predict: {
      summary: "Answer new text with a model that was taught a task",
      load: async () => (await import("./predict.ts")).group,
    },
    finetune: {
      summary: "Teach a model a task from examples, and test it",
      load: async () => (await import("./finetune.ts")).group,
    },
    tasks: { summary: tasks.summary, load: () => Promise.resolve(tasks) },
    reproduce: {
      summary: "Run every task that has data for every model, and write one table",
      load: async () => (await import("./reproduce.ts")).command,
    },
  },
};
