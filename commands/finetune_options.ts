/** What the fine-tuning commands share: options, running, printing. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { formatReport, reportChoices, reportJson } from "../model/evaluation/choice_report.ts";
import { compareAnswers, openReader } from "../model/evaluation/choice_run.ts";
import { writeResults } from "../model/evaluation/results_files.ts";
import { FINETUNE_DEFAULTS, finetuneRun, type FinetuneTask } from "../model/finetune/run.ts";
import { localModel } from "../model/hub.ts";
import { parameterCount } from "../model/parameters.ts";
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

/** Fine-tunes `--model` on a task, tests it once beside its base, prints and writes the results. */
export async function finetuneChoices(invocation: Invocation, task: FinetuneTask): Promise<void> {
  const { reporter, signal } = invocation, seed = invocation.number("seed")!;
  const model = invocation.string("model")!, out = invocation.string("out")!;
  const { folder, tokenizer } = openReader(
    await localModel(model, reporter),
    invocation.string("tokenizer"),
  );
  const started = new Date();
  try {
    const result = await finetuneRun({
      task,
      init: model,
      base: folder,
      tokenizer,
      out,
      epochs: invocation.number("epochs")!,
      maxTokens: invocation.number("max-tokens")!,
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
    const { answers, baseAnswers } = result, labels = task.labels.length;
    const test = { name: task.name, labels: task.labels, items: task.test };
    const report = reportChoices(
      test,
      task.train.map((item) => item.gold),
      [
        { role: "model", name: result.checkpoint, answers },
        { role: "base", name: model, answers: baseAnswers },
      ],
      seed,
      compareAnswers(answers, baseAnswers, labels, seed),
    );
    reporter.line(formatReport(report));
    const development = { step: result.step, accuracy: result.developmentAccuracy };
    const { task: _task, questions: _questions, ...more } = reportJson(report);
    const files = writeResults(out, test, answers, report.rows[1]!.measures, {
      model: result.checkpoint,
      parameters: parameterCount(folder.config),
      device: result.device,
      seed,
      started,
      finished: new Date(),
      more: { development, ...more },
    });
    reporter.log(`Wrote ${files.results} and ${files.samples}`);
    if (invocation.json) {
      reporter.line(JSON.stringify({ ...reportJson(report), development, files }));
    }
  } finally {
    folder.close();
  }
}
