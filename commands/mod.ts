/** Every command by name. Each is loaded only when called, so that help starts fast. @module */
import type { CommandGroup } from "../core/cli.ts";

const pipeline: CommandGroup = {
  name: "pipeline",
  summary: "From PubMed's XML to token shards",
  commands: {},
};

const evaluate: CommandGroup = {
  name: "evaluate",
  summary: "Score models and answers, with intervals",
  commands: {
    bioasq: {
      summary: "Score a system's BioASQ answers: the ten official measures",
      load: async () => (await import("./evaluate_bioasq.ts")).command,
    },
    ner: {
      summary: "Score tagged named entities: entity-level precision, recall and F1",
      load: async () => (await import("./evaluate_ner.ts")).command,
    },
    relations: {
      summary: "Score relations between entities: precision, recall and F1",
      load: async () => (await import("./evaluate_relations.ts")).command,
    },
  },
};

/** The root of the command line. */
export const ROOT_COMMANDS: CommandGroup = {
  name: "",
  summary: "pubmamba: PubMed's XML to a trained, evaluated biomedical Mamba, on any GPU",
  commands: {
    doctor: {
      summary: "Look at this machine: the GPU, the kernels on it, memory, disk",
      load: async () => (await import("./doctor.ts")).command,
    },
    pipeline: { summary: pipeline.summary, load: () => Promise.resolve(pipeline) },
    evaluate: { summary: evaluate.summary, load: () => Promise.resolve(evaluate) },
  },
};
