/** `predict NAME`: a taught model's answers to new text. @module */
import { jsonLine } from "../core/json.ts";
import type { Command, CommandGroup } from "../core/cli.ts";
import { writeAtomic } from "../core/files.ts";
import { predictTask } from "../model/tasks/core/predict.ts";
import { type AnyTask, isTask, type Prediction } from "../model/tasks/core/task.ts";
import { TASKS } from "../model/tasks/list.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { requiredModel } from "./evaluate.ts";
import { modelOption, TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

function taskCommand(task: AnyTask, prediction: Prediction<unknown, unknown>): Command {
  const { summary, description, examples, options } = prediction;
  return {
    name: `predict ${task.name}`,
    summary,
    description,
    examples,
    options: {
      model: modelOption("a model that finetune has taught the task", true),
      ...options,
      output: { type: "string", placeholder: "F", help: "the file to write (default: print)" },
      tokenizer: TOKENIZER_OPTION,
      "max-tokens": {
        type: "integer",
        help: "longer texts are cut, or read in pieces",
        min: 128,
        default: 1024,
      },
      "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
      ...deviceOptions,
    },
    async run(invocation) {
      const { reporter, signal } = invocation;
      const { output, items } = await predictTask(task, {
        given: invocation,
        model: requiredModel(invocation),
        tokenizerFile: await tokenizerOption(invocation),
        maxTokens: invocation.requiredNumber("max-tokens"),
        batchSize: invocation.requiredNumber("batch-size"),
        makeModel: await makeModelOf(invocation),
        reporter,
        signal,
      });
      const path = invocation.string("output");
      if (path === undefined) reporter.write(output);
      else {
        writeAtomic(path, output);
        reporter.log(`Wrote ${path}`);
      }
      if (invocation.json) {
        reporter.line(jsonLine({ [task.units]: items, output: path ?? null }));
      }
    },
  };
}

/** `predict` with a command per task that can answer new text. */
export const group: CommandGroup = {
  name: "predict",
  summary: "Answer new text with a model that was taught a task",
  commands: Object.fromEntries(
    TASKS.filter(isTask).flatMap((task) => {
      if (!task.prediction) return [];
      const command = taskCommand(task, task.prediction);
      return [[task.name, { summary: command.summary, load: () => Promise.resolve(command) }]];
    }),
  ),
};
