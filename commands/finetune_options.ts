/** What the fine-tuning commands share: options, running, printing. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { join } from "../core/std.ts";
import { formatReport, reportChoices, reportJson } from "../model/tasks/core/choice_report.ts";
import { compareAnswers, openReader } from "../model/tasks/core/choice_run.ts";
import { writeResults } from "../model/tasks/core/results_files.ts";
import { spreadOf } from "../model/statistics/mod.ts";
import { choiceFinetuneTask, type ChoiceSplits } from "../model/tasks/core/choice_examples.ts";
import {
  FINETUNE_DEFAULTS,
  type FinetuneResult,
  finetuneRun,
  type FinetuneTask,
} from "../model/tasks/core/run.ts";
import { localModel } from "../model/weights/hub.ts";
import { parameterCount } from "../model/mamba/parameters.ts";
import { isRun } from "../model/training/run_file.ts";
import type { Tokenizer } from "../pipeline/tokenizer/mod.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

const { batch, optimizer, schedule } = FINETUNE_DEFAULTS;

/** Spread into a command's options. */
export const finetuneOptions = {
  out: { type: "string", placeholder: "RUN", help: "the run folder", required: true },
  tokenizer: TOKENIZER_OPTION,
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
  seeds: {
    type: "integer",
    help: "as many runs, with seeds from --seed on, each in a folder of its own under --out",
    min: 1,
    max: 100,
    default: 1,
  },
  resume: { type: "boolean", help: "go on from the run's newest checkpoint" },
  ...deviceOptions,
} satisfies Record<string, OptionSpec>;

/** What a finished run hands to its report. */
interface Finetuned<Answers> extends FinetuneResult<Answers> {
  /** As given by the user. */
  model: string;
  out: string;
  seed: number;
  parameters: number;
  started: Date;
}

/** One run of the several that --seeds asks for. */
export interface SeedRun {
  seed: number;
  out: string;
  resume: boolean;
}

/** What one run came to: its test score, 0 to 1, and everything for --json. */
export interface RunReport {
  score: number;
  json: Record<string, unknown>;
}

/** Does `one` for every seed, and tells how much the test score varies between them. */
export async function overSeeds(
  invocation: Invocation,
  one: (run: SeedRun) => Promise<RunReport>,
): Promise<void> {
  const { reporter } = invocation;
  const first = invocation.number("seed")!;
  const out = invocation.string("out")!;
  const resume = invocation.boolean("resume");
  const count = invocation.number("seeds")!;
  if (count === 1) {
    const { json } = await one({ seed: first, out, resume });
    if (invocation.json) reporter.line(JSON.stringify(json));
    return;
  }
  const reports: RunReport[] = [];
  for (let seed = first; seed < first + count; seed++) {
    const folder = join(out, `seed-${seed}`);
    reporter.line(`Seed ${seed}`);
    reports.push(await one({ seed, out: folder, resume: resume && isRun(folder) }));
    reporter.line();
  }
  const spread = spreadOf(reports.map((r) => r.score));
  reporter.line(
    `Over ${count} seeds: mean ${spread.mean.toFixed(4)}, standard deviation ` +
      `${spread.standard_deviation.toFixed(4)}, from ${spread.least.toFixed(4)} to ` +
      `${spread.greatest.toFixed(4)}`,
  );
  if (invocation.json) reporter.line(JSON.stringify({ seeds: reports.map((r) => r.json), spread }));
}

/** Fine-tunes `--model` on the task that `taskOf` makes with its tokenizer. */
export async function finetune<Answers>(
  invocation: Invocation,
  { seed, out, resume }: SeedRun,
  taskOf: (tokenizer: Tokenizer, maxTokens: number) => FinetuneTask<Answers>,
): Promise<Finetuned<Answers>> {
  const { reporter, signal } = invocation;
  const model = invocation.string("model")!;
  const { folder, tokenizer } = openReader(
    await localModel(model, reporter),
    await tokenizerOption(invocation),
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
      resume,
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
  await overSeeds(invocation, (run) => finetuneOnce(invocation, splits, run));
}

async function finetuneOnce(
  invocation: Invocation,
  splits: ChoiceSplits,
  run: SeedRun,
): Promise<RunReport> {
  const { reporter, signal } = invocation;
  const result = await finetune(
    invocation,
    run,
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
  return {
    score: report.rows[1]!.measures.accuracy.value,
    json: { ...reportJson(report), development, files },
  };
}
