/**
 * Fine-tuning of any task: runs over several seeds, each with its folder, the development split that
 * chooses the checkpoint, one reading of the test split, and the task's own report.
 * @module
 */
import { fail, UserError } from "../../../core/errors.ts";
import { refuseForeign } from "../../../core/files.ts";
import { formatTable, type Reporter } from "../../../core/reporter.ts";
import { join } from "../../../core/std.ts";
import { parameterCount } from "../../mamba/parameters.ts";
import type { MadeModel, MakeModel } from "../../mamba/types.ts";
import {
  type FinetuningRecord,
  isRun,
  type PartialConfig,
  readRun,
  resolveConfig,
} from "../../training/mod.ts";
import { runTables } from "../../report/mod.ts";
import { type NamedModel, variantOf } from "./evaluate.ts";
import { openReader } from "./reader.ts";
import { allUnits } from "./report.ts";
import { writeReport } from "./results_files.ts";
import { readFinetuneMetrics } from "./loop.ts";
import { withHeadRates } from "./rates.ts";
import {
  developRun,
  type FinetuneRequest,
  finetuneRun,
  type FinetuneTask,
  STEADYING_DEFAULTS,
} from "./run.ts";
import { bestOf, type Grid, settingsOf, tune, type TunedSetting, withSetting } from "./tuning.ts";
import type { ModelFolder } from "../../weights/mod.ts";
import { spreadOf } from "../../statistics/mod.ts";
import { findFolds } from "../formats/splits.ts";
import type {
  AnyTask,
  Approach,
  Development,
  Given,
  HeadApproach,
  HeadChoice,
  Task,
  TaskData,
  TaskReader,
} from "./task.ts";

/** What {@linkcode finetuneOverSeeds} takes. */
interface FinetuneTaskRequest {
  /** What the task's own options say. */
  given: Given;
  /** The model to begin from. */
  model: NamedModel;
  /** The tokenizer to read with, where the model folder has none. */
  tokenizerFile?: string;
  /** The run folder, or the folder of the runs. */
  out: string;
  epochs: number;
  /** Of the training configuration: what differs from the defaults. */
  config: PartialConfig;
  /** Early stopping, class weights, layers that begin anew; none of them where not given. */
  steadying?: Partial<FinetuningRecord>;
  maxTokens: number;
  /** The head of labels that learns; undefined where answers are words. */
  head?: HeadChoice;
  /** Of the order and of the bootstrap; that of the first run. */
  seed: number;
  /** How many runs. */
  seeds: number;
  /** Search among these settings first; the runs are made with the best. */
  tune?: Grid;
  /** Go on from the newest checkpoints. */
  resume: boolean;
  makeModel: MakeModel;
  /** The words of the command line, for the record. */
  command?: readonly string[] | undefined;
  reporter: Reporter;
  signal: AbortSignal;
}

/** What one run came to: its scores and everything for --json. */
interface RunReport {
  /** Of the test split; and of the development split, by the chosen checkpoint. */
  score: number;
  developmentScore: number;
  json: Record<string, unknown>;
}

/**
 * Fine-tunes with one or more seeds, and tells how much the test score varies between them. Of data that
 * are released in folds, every fold is learned and tested in a folder of its own.
 * @returns everything for --json
 * @throws {UserError} as the task's reading and the loop do.
 */
export async function finetuneOverSeeds(
  named: AnyTask,
  request: FinetuneTaskRequest,
): Promise<Record<string, unknown>> {
  const { given } = request;
  const variants = named.finetuning?.variants;
  if (variants && given.boolean(variants.asked)) {
    return await overVariants(named, request, variants);
  }
  return (await overFolds(named, request)).json;
}

/** The options with another value of one of them. */
const withOption = (given: Given, name: string, value: string): Given => ({
  json: given.json,
  string: (option) => option === name ? value : given.string(option),
  number: (option) => given.number(option),
  boolean: (option) => given.boolean(option),
});

/** One run, or one for each fold that the data are released in. */
async function overFolds(named: AnyTask, request: FinetuneTaskRequest): Promise<RunReport> {
  const { given, reporter, out, resume, seeds } = request;
  const folds = findFolds(given.string("data") ?? "");
  if (!folds.length) return await overSeeds(named, request);
  const reports: NamedReport[] = [];
  for (const { name, path } of folds) {
    const folder = join(out, `fold-${name}`);
    reporter.line(`Fold ${name}`);
    const report = await overSeeds(named, {
      ...request,
      given: withOption(given, "data", path),
      out: folder,
      resume: resume && (seeds > 1 || request.tune !== undefined || isRun(folder)),
    });
    reports.push({ name, report });
    reporter.line();
  }
  return tellSpread(reports, "fold", reporter);
}

/** An ablation: a run for each value of an option, and their measures side by side. */
async function overVariants(
  named: AnyTask,
  request: FinetuneTaskRequest,
  { option, values }: { option: string; values: readonly string[] },
): Promise<Record<string, unknown>> {
  const { given, reporter, out, resume } = request;
  const reports: { value: string; report: RunReport }[] = [];
  for (const value of values) {
    const folder = join(out, value);
    reporter.line(`${option}: ${value}`);
    const report = await overFolds(named, {
      ...request,
      given: withOption(given, option, value),
      out: folder,
      resume: resume && (request.seeds > 1 || request.tune !== undefined || isRun(folder)),
    });
    reports.push({ value, report });
    reporter.line();
  }
  reporter.line("Side by side, with 95% intervals:");
  reporter.line(ablationTable(option, reports));
  return { ablation: Object.fromEntries(reports.map(({ value, report }) => [value, report.json])) };
}

/** The measures of each value's model with their intervals; a row per measure that any has. */
function ablationTable(
  option: string,
  reports: readonly { value: string; report: RunReport }[],
): string {
  const measured = reports.map(({ report }) =>
    (report.json.model ?? {}) as Record<string, number | [number, number] | string>
  );
  const names = [...new Set(measured.flatMap((own) => Object.keys(own)))]
    .filter((name) => measured.some((own) => Array.isArray(own[`${name}_interval`])));
  const cell = (own: typeof measured[number], name: string) => {
    const value = own[name];
    const interval = own[`${name}_interval`];
    if (typeof value !== "number" || !Array.isArray(interval)) return "-";
    const [low, high] = interval;
    return `${value.toFixed(3)} (${low.toFixed(3)}-${high.toFixed(3)})`;
  };
  return formatTable(
    [option, ...reports.map(({ value }) => value)],
    names.map((name) => [name.replaceAll("_", " "), ...measured.map((own) => cell(own, name))]),
  );
}

/** One run, or one for each seed. */
async function overSeeds(named: AnyTask, request: FinetuneTaskRequest): Promise<RunReport> {
  const { given, reporter } = request;
  const task = variantOf(named, given);
  const data = task.read(given, "finetune");
  for (const note of data.notes ?? []) reporter.log(note);
  if (!request.tune) return await overSeedsOf(task, data, request);
  const settings = await searchSetting(task, data, request, request.tune);
  const { scores: _, ...chosen } = bestOf(settings);
  reporter.line(
    `Chosen: learning rate ${chosen.learning_rate}, ${chosen.batch} examples per update, ` +
      `${chosen.epochs} epochs`,
  );
  const out = join(request.out, "run");
  const { epochs } = chosen;
  const { config, resume, seeds } = request;
  const report = await overSeedsOf(task, data, {
    ...request,
    out,
    epochs,
    config: withSetting(config, chosen, rowsOf(config)),
    resume: resume && (seeds > 1 || isRun(out)),
  });
  return { ...report, json: { ...report.json, tuning: { chosen, settings } } };
}

/** Rows that are computed at once. */
const rowsOf = (config: PartialConfig): number =>
  resolveConfig(config, "the command line").batch.rows;

/** The settings of a search on the development split, best first. The test split is not asked. */
async function searchSetting(
  task: AnyTask,
  data: TaskData<unknown>,
  request: FinetuneTaskRequest,
  grid: Grid,
): Promise<TunedSetting[]> {
  const { folder, config } = await openRequest(task, data, request);
  const { optimizer: { learning_rate: rate }, batch } = resolveConfig(config, "the command line");
  folder.close();
  const settings = settingsOf({
    learningRates: grid.learningRates ?? [rate / 2, rate, 2 * rate],
    batches: grid.batches ?? [batch.rows * batch.accumulate],
    epochs: grid.epochs ?? [request.epochs],
  });
  for (const setting of settings) withSetting(request.config, setting, batch.rows);
  const { head, maxTokens, seed, steadying, model, resume, reporter } = request;
  refuseForeign(request.out, "a search", (name) => name === "tune" || name === "run");
  return await tune({
    out: join(request.out, "tune"),
    settings,
    subject: {
      settings,
      task: task.name,
      files: data.sha256,
      model: model.name,
      head: head ?? null,
      max_tokens: maxTokens,
      seed,
      config: request.config,
      finetuning: { ...STEADYING_DEFAULTS, ...steadying },
    },
    resume,
    reporter,
    async develop(setting, epochs, out, goOn) {
      const own = withSetting(request.config, setting, batch.rows);
      const asked = { ...request, config: own, epochs, out, resume: goOn };
      const opened = await openRequest(task, data, asked);
      try {
        return (await developRun(opened.run)).developmentScore;
      } finally {
        opened.folder.close();
      }
    },
  });
}

/** One run, or one for each seed, with the same settings. */
async function overSeedsOf(
  task: AnyTask,
  data: TaskData<unknown>,
  request: FinetuneTaskRequest,
): Promise<RunReport> {
  const { reporter, seed: first, seeds, out, resume } = request;
  if (seeds === 1) return await finetuneOnce(task, data, request);
  const reports: NamedReport[] = [];
  for (let seed = first; seed < first + seeds; seed++) {
    const folder = join(out, `seed-${seed}`);
    reporter.line(`Seed ${seed}`);
    const one = { ...request, seed, out: folder, resume: resume && isRun(folder) };
    reports.push({ name: String(seed), report: await finetuneOnce(task, data, one) });
    reporter.line();
  }
  return tellSpread(reports, "seed", reporter);
}

/** A run's report under the seed or the fold that it is of. */
interface NamedReport {
  name: string;
  report: RunReport;
}

/**
 * Prints every run's scores in one table with their means and standard deviations (of the sample, n - 1),
 * and returns them as one report, whose score is the mean.
 */
function tellSpread(
  reports: readonly NamedReport[],
  over: "seed" | "fold",
  reporter: Reporter,
): RunReport {
  const spread = spreadOf(reports.map(({ report }) => report.score));
  const development = spreadOf(reports.map(({ report }) => report.developmentScore));
  const row = (name: string, onDevelopment: number, onTest: number) => [
    name,
    onDevelopment.toFixed(4),
    onTest.toFixed(4),
  ];
  reporter.line(formatTable([over, "development score", "test score"], [
    ...reports.map(({ name, report }) => row(name, report.developmentScore, report.score)),
    row("mean", development.mean, spread.mean),
    row("standard deviation", development.standard_deviation, spread.standard_deviation),
  ]));
  return {
    score: spread.mean,
    developmentScore: development.mean,
    json: {
      [`${over}s`]: reports.map(({ report }) => report.json),
      scores: reports.map(({ name, report }) => ({
        [over]: name,
        development: report.developmentScore,
        test: report.score,
      })),
      spread,
      development_spread: development,
    },
  };
}

async function finetuneOnce(
  task: AnyTask,
  data: TaskData<unknown>,
  request: FinetuneTaskRequest,
): Promise<RunReport> {
  const { given, reporter, model, seed, out } = request;
  const started = new Date();
  const { run, folder } = await openRequest(task, data, request);
  try {
    const result = await finetuneRun(run);
    const report = task.report({
      data,
      systems: [
        { role: "model", name: result.checkpoint, answers: result.answers },
        ...(result.baseAnswers
          ? [{ role: "base" as const, name: model.name, answers: result.baseAnswers }]
          : []),
      ],
      purpose: "finetune",
      given,
      seed,
      development: { step: result.step, score: result.developmentScore },
    });
    const json = writeReport(
      out,
      report,
      {
        model: result.checkpoint,
        parameters: parameterCount(folder.config),
        device: result.device,
        seed,
        started,
        finished: new Date(),
      },
      reporter,
      {
        latex: given.boolean("latex"),
        course: {
          metrics: readFinetuneMetrics(out),
          best: result.step,
          tables: runTables(readRun(out)),
        },
      },
    );
    const { developmentScore, endedEarly } = result;
    return {
      score: report.score,
      developmentScore,
      json: endedEarly === undefined ? json : { ...json, ended_early: endedEarly },
    };
  } finally {
    folder.close();
  }
}

/** A run's request with its base open, which the caller closes. */
interface OpenRequest {
  run: FinetuneRequest<unknown[]>;
  folder: ModelFolder;
  /** With the learning rates that the options leave open. */
  config: PartialConfig;
}

/** Opens the base and lays out a run. */
async function openRequest(
  task: AnyTask,
  data: TaskData<unknown>,
  request: FinetuneTaskRequest,
): Promise<OpenRequest> {
  const { reporter, signal, model, seed, out, maxTokens } = request;
  const approach = approachOf(task, data, request.head);
  const { folder, tokenizer } = openReader(await model.folder(), {
    tokenizerFile: request.tokenizerFile,
    seed,
    log: (message) => reporter.log(message),
  });
  try {
    const { labels } = data;
    const rates = task.finetuning?.defaults?.head ?? { learningRate: 0 };
    const config = {
      ...(request.head
        ? withHeadRates(request.config, folder.config.hiddenSize, rates)
        : request.config),
      seed,
    };
    const run = {
      task: learnedTask(task, data, { tokenizer, labels, maxTokens, signal }, approach),
      init: model.name,
      base: folder,
      tokenizer,
      out,
      epochs: request.epochs,
      config,
      steadying: request.steadying,
      resume: request.resume,
      makeModel: request.makeModel,
      reporter,
      signal,
      command: request.command,
      resumeHint: "the same command with --resume",
    };
    return { run, folder, config };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/**
 * The way to put a task: by a head of labels where one is chosen, and else the default.
 * @throws {UserError} for a task without a head.
 */
function approachOf<Item, Answer>(
  task: Task<Item, Answer>,
  data: TaskData<Item>,
  head: HeadChoice | undefined,
): Approach<Item, Answer> | HeadApproach<Item, Answer> {
  const approach = head ? task.headed?.(head) : task.approaches[0];
  if (approach) return approach;
  throw new UserError(
    head
      ? `Cannot teach ${task.name} by a head of labels: give --approach words`
      : `Cannot fine-tune on ${data.path}: no model can be asked it`,
  );
}

/**
 * A task with its data as a fine-tuning run takes it; the development score is the task's first
 * measure.
 * @param approach how the model is asked; the task's default where not said
 * @throws {UserError} for a task that only answers can be scored of.
 */
export function learnedTask<Item, Answer>(
  task: Task<Item, Answer>,
  data: TaskData<Item>,
  reader: TaskReader,
  approach: Approach<Item, Answer> | HeadApproach<Item, Answer> = approachOf(task, data, undefined),
): FinetuneTask<Answer[]> {
  const { train, develop, test, path, sha256, labels } = data;
  const rowLength = approach.rowLength([...train, ...develop, ...test], reader);
  return {
    name: task.name,
    labels,
    path,
    sha256,
    rowLength,
    head: "head" in approach
      ? { config: approach.head(labels), rows: (rows) => approach.rows(rows) }
      : undefined,
    examples: approach.examples(train, reader),
    units: task.units,
    developItems: develop.length,
    testItems: test.length,
    async develop(made, onProgress): Promise<Development> {
      const asking = { ...reader, onProgress };
      if (approach.develop) return await approach.develop(develop, made, asking);
      const answers = await approach.answer(develop, made, asking);
      const { measures: [primary], loss } = task.score(data, develop, answers);
      if (!primary) fail(`${task.name} has no measure`);
      return { score: primary.statistic(allUnits(primary.count)), loss: loss ?? NaN };
    },
    test: (made: MadeModel, onProgress) => approach.answer(test, made, { ...reader, onProgress }),
  };
}
