/** What the fine-tuning commands share: options, running, printing. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { formatReport, reportChoices, reportJson } from "../model/evaluation/choice_report.ts";
import { compareAnswers, openReader } from "../model/evaluation/choice_run.ts";
import { writeResults } from "../model/evaluation/results_files.ts";
import { choiceFinetuneTask, type ChoiceSplits } from "../model/finetune/choices.ts";
import {
  FINETUNE_DEFAULTS,
  type FinetuneResult,
  finetuneRun,
  type FinetuneTask,
} from "../model/finetune/run.ts";
import { localModel } from "../model/hub.ts";
import { parameterCount } from "../model/parameters.ts";
import type { Tokenizer } from "../pipeline/tokenizer/mod.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";

const { batch, optimizer, schedule } = FINETUNE_DEFAULTS;

/** Spread into a command's options. */
export const finetuneOptions = {
  out: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
  tokenizer: {
    type: "string",
    placeholder: "FILE",
    help: "the tokenizer.json, where the model folder has none",
  },
  epochs: { type: "integer", help: "times through the training questions", min: 1, default: 5 },
  "learning-rate": {
    type: "number",
    help: "the peak",
    min: 0,
    default: optimizer.learning_rate,
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
  "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: batch.rows },
  accumulate: {
    type: "integer",
    help: "an update takes batch-size times this many questions",
    min: 1,
    default: batch.accumulate,
  },
  "max-tokens": {
    type: "integer",
    help: "longer prompts lose the end of their context",
    min: 128,
    default: 1024,
  },
  seed: { type: "integer", help: "of the order and of the bootstrap", min: 0, default: 0 },
  resume: { type: "boolean", help: "go on from the run's newest checkpoint" },
  ...deviceOptions,
} satisfies Record<string, OptionSpec>;

/** What a finished run hands to its report. */
export interface Finetuned<Answers> extends FinetuneResult<Answers> {
  /** As given by the user. */
  model: string;
  out: string;
  seed: number;
  parameters: number;
  started: Date;
}

/** Fine-tunes `--model` on the task that `taskOf` makes with its tokenizer. */
export async function finetune<Answers>(
  invocation: Invocation,
  taskOf: (tokenizer: Tokenizer, maxTokens: number) => FinetuneTask<Answers>,
): Promise<Finetuned<Answers>> {
  const { reporter, signal } = invocation, seed = invocation.number("seed")!;
  const model = invocation.string("model")!, out = invocation.string("out")!;
  const { folder, tokenizer } = openReader(
    await localModel(model, reporter),
    invocation.string("tokenizer"),
  );
  const started = new Date();
  try {
    const result = await finetuneRun({
      task: taskOf(tokenizer, invocation.number("max-tokens")!),
      init: model,
      base: folder,
      tokenizer,
      out,
      epochs: invocation.number("epochs")!,
      config: {
        ...FINETUNE_DEFAULTS,
        seed,
        batch: {
          rows: invocation.number("batch-size"),
          accumulate: invocation.number("accumulate"),
        },
        optimizer: {
          learning_rate: invocation.number("learning-rate"),
          weight_decay: invocation.number("weight-decay"),
        },
        schedule: { ...schedule, warmup: invocation.number("warmup") },
      },
      resume: invocation.boolean("resume"),
      makeModel: await makeModelOf(invocation),
      reporter,
      signal,
      resumeHint: "the same command with --resume",
    });
    return { ...result, model, out, seed, parameters: parameterCount(folder.config), started };
  } finally {
    folder.close();
  }
}

/** Fine-tunes on a multiple-choice task and tests it beside its base; prints and writes. */
export async function finetuneChoices(invocation: Invocation, splits: ChoiceSplits): Promise<void> {
  const { reporter, signal } = invocation;
  const result = await finetune(
    invocation,
    (tokenizer, maxTokens) => choiceFinetuneTask(splits, tokenizer, maxTokens, signal),
  );
  const { answers, baseAnswers, seed, checkpoint } = result;
  const test = { name: splits.name, labels: splits.labels, items: splits.test };
  const report = reportChoices(
    test,
    splits.train.map((item) => item.gold),
    [
      { role: "model", name: checkpoint, answers },
      { role: "base", name: result.model, answers: baseAnswers },
    ],
    seed,
    compareAnswers(answers, baseAnswers, splits.labels.length, seed),
  );
  reporter.line(formatReport(report));
  const development = { step: result.step, accuracy: result.developmentScore };
  const { task: _task, questions: _questions, ...more } = reportJson(report);
  const files = writeResults(result.out, test, answers, report.rows[1]!.measures, {
    ...result,
    model: checkpoint,
    finished: new Date(),
    more: { development, ...more },
  });
  reporter.log(`Wrote ${files.results} and ${files.samples}`);
  if (invocation.json) {
    reporter.line(JSON.stringify({ ...reportJson(report), development, files }));
  }
}
