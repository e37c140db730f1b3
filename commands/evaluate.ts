/** `evaluate NAME`: a command for every task in the list, and for every measurement. @module */
import { fail } from "../core/errors.ts";
import type { Command, CommandGroup, Invocation, OptionSpec } from "../core/cli.ts";
import { type AnyTask, isTask, type Measurement } from "../model/tasks/core/task.ts";
import { refuseForeign } from "../core/files.ts";
import { isResultsFile } from "../model/tasks/core/results_files.ts";
import { evaluateTask, type NamedModel } from "../model/tasks/core/evaluate.ts";
import { TASKS } from "../model/tasks/list.ts";
import { isRandom } from "../model/tasks/core/reader.ts";
import { localModel } from "../model/weights/mod.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { asRank } from "./ranks.ts";
import { withCorpusFolder } from "./stored_corpus.ts";
import { modelOption, TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

/** Where results go that no folder was named for. */
const RESULTS = "results";

/** What the evaluations of all tasks share. */
const OPTIONS = {
  base: modelOption("the model it was adapted from, evaluated too, with paired tests"),
  tokenizer: TOKENIZER_OPTION,
  out: {
    type: "string",
    placeholder: "DIR",
    help: "folder of the results and of a page of them (of a model, by default: results)",
  },
  limit: { type: "integer", help: "only the first N questions, for a trial", min: 1 },
  "max-tokens": {
    type: "integer",
    help: "longer prompts lose the end of their context",
    min: 128,
    default: 1024,
  },
  "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
  seed: { type: "integer", help: "seed of the bootstrap", default: 0 },
  latex: { type: "boolean", help: "print the table for a paper, too" },
  ...deviceOptions,
} satisfies Record<string, OptionSpec>;

/** The command that evaluates one task. */
function taskCommand(task: AnyTask): Command {
  const { options, ...help } = task.evaluation;
  const answers: Record<string, OptionSpec> = task.readAnswers
    ? {
      system: { type: "string", placeholder: "F", help: "the file of a system's answers" },
      model: modelOption("the model to ask instead"),
      other: {
        type: "string",
        placeholder: "F",
        help: "the file of another system's answers, to compare with by paired tests",
      },
    }
    : { model: modelOption("the model", true) };
  return {
    name: `evaluate ${task.name}`,
    ...help,
    options: { ...options, ...answers, ...OPTIONS },
    async run(invocation) {
      const system = invocation.string("system");
      // A system's answers are scored in a moment: nothing is written where no folder is named.
      const out = invocation.string("out") ?? (system === undefined ? RESULTS : undefined);
      if (out !== undefined) refuseForeign(out, "results", isResultsFile);
      const json = await evaluateTask(task, {
        given: invocation,
        system,
        model: namedModel(invocation, "model"),
        base: namedModel(invocation, "base"),
        other: invocation.string("other"),
        tokenizerFile: await tokenizerOption(invocation),
        out,
        limit: invocation.number("limit"),
        maxTokens: invocation.requiredNumber("max-tokens"),
        batchSize: invocation.requiredNumber("batch-size"),
        seed: invocation.requiredNumber("seed"),
        makeModel: await makeModelOf(invocation),
        reporter: invocation.reporter,
        signal: invocation.signal,
      });
      if (invocation.json) invocation.reporter.line(JSON.stringify(json));
    },
  };
}

/** The command that measures something else than answers. */
function measurementCommand(measurement: Measurement): Command {
  const { options, ...help } = measurement.evaluation;
  return {
    name: `evaluate ${measurement.name}`,
    ...help,
    options: { model: modelOption("the model", true), ...options, ...deviceOptions },
    run: (invocation) =>
      asRank(invocation, async (job, { reporter, signal, json: asked }) => {
        const { text, json } = await measurement.measure({
          given: await withCorpusFolder(invocation),
          model: invocation.requiredString("model"),
          makeModel: await makeModelOf(invocation),
          reporter,
          signal,
          job,
        });
        reporter.line(text);
        if (asked) reporter.line(JSON.stringify(json));
      }),
  };
}

/** The model that an option names; undefined where none is named. */
function namedModel(invocation: Invocation, option: string): NamedModel | undefined {
  const name = invocation.string(option);
  if (name === undefined) return undefined;
  const folder = () =>
    isRandom(name) ? Promise.resolve(name) : localModel(name, invocation.reporter);
  return { name, folder };
}

/** The model that `--model` names, for commands that need one. */
export const requiredModel = (invocation: Invocation): NamedModel =>
  namedModel(invocation, "model") ?? fail("--model is not required");

/** `evaluate` with a command per task. */
export const group: CommandGroup = {
  name: "evaluate",
  summary: "Score models and answers, with intervals",
  commands: Object.fromEntries(TASKS.map((entry) => {
    const command = isTask(entry) ? taskCommand(entry) : measurementCommand(entry);
    return [entry.name, { summary: command.summary, load: () => Promise.resolve(command) }];
  })),
};
