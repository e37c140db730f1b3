/** What the evaluations of models by multiple choice share: options, running, printing. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { formatReport, reportChoices, reportJson } from "../model/tasks/core/choice_report.ts";
import { compareAnswers, runChoices } from "../model/tasks/core/choice_run.ts";
import type { ChoiceAnswer, ChoiceTask } from "../model/tasks/core/choices.ts";
import { localModel } from "../model/weights/hub.ts";
import { writeResults } from "../model/tasks/core/results_files.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { modelOption, TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

/** Spread into a command's options. */
export const choiceOptions = {
  base: modelOption("the model it was adapted from, evaluated too, with paired tests"),
  tokenizer: TOKENIZER_OPTION,
  out: { type: "string", placeholder: "DIR", help: "folder of the results", default: "results" },
  limit: { type: "integer", help: "only the first N questions, for a trial", min: 1 },
  "max-tokens": {
    type: "integer",
    help: "longer prompts lose the end of their context",
    min: 128,
    default: 1024,
  },
  "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
  seed: { type: "integer", help: "seed of the bootstrap", default: 0 },
  ...deviceOptions,
} satisfies Record<string, OptionSpec>;

/**
 * Runs a task on `--model`, and on `--base` where given; prints the table, writes the files.
 * @param priorGold the labels whose majority the trivial system gives
 * @returns the answers, and everything for --json
 */
export async function evaluateChoices(
  invocation: Invocation,
  whole: ChoiceTask,
  priorGold: readonly number[],
): Promise<{ answers: ChoiceAnswer[]; json: Record<string, unknown> }> {
  const { reporter, signal } = invocation;
  const seed = invocation.number("seed")!;
  const limit = invocation.number("limit");
  const model = invocation.string("model")!;
  const task = { ...whole, items: whole.items.slice(0, limit) };
  if (!task.items.length) {
    throw new UserError(`Cannot evaluate ${task.name}: the data holds no question to ask`);
  }
  const makeModel = await makeModelOf(invocation);
  const started = new Date();
  const tokenizerFile = await tokenizerOption(invocation);
  const run = async (path: string) => {
    const progress = reporter.progress(path, task.items.length, "questions");
    const result = await runChoices({
      task,
      model: await localModel(path, reporter),
      tokenizerFile,
      maxTokens: invocation.number("max-tokens")!,
      batchSize: invocation.number("batch-size")!,
      makeModel,
      onProgress: (done) => progress.update(done),
      signal,
    });
    progress.finish();
    return result;
  };
  const own = await run(model);
  const basePath = invocation.string("base");
  const base = basePath === undefined ? undefined : await run(basePath);
  const finished = new Date();
  const labels = task.labels.length;
  const comparison = base && compareAnswers(own.answers, base.answers, labels, seed);
  const systems = [
    { role: "model" as const, name: model, answers: own.answers },
    ...(base ? [{ role: "base" as const, name: basePath!, answers: base.answers }] : []),
  ];
  const report = reportChoices(task, priorGold, systems, seed, comparison);
  const truncated = own.answers.filter((a) => a.truncated).length;
  if (truncated) reporter.log(`${truncated} prompts were cut to --max-tokens`);
  reporter.line(formatReport(report));
  const { task: _task, questions: _questions, ...more } = reportJson(report);
  const files = writeResults(
    invocation.string("out")!,
    task,
    own.answers,
    report.rows[1]!.measures,
    {
      model,
      parameters: own.parameters,
      device: own.device,
      seed,
      limit,
      started,
      finished,
      more,
    },
  );
  reporter.log(`Wrote ${files.results} and ${files.samples}`);
  return { answers: own.answers, json: { ...reportJson(report), files } };
}
