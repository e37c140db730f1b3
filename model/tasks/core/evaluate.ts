/**
 * Evaluation of any task: the answers of a model, of its base beside it, or of another system's file,
 * then the task's own report and the results files.
 * @module
 */
import { fail, UsageError, UserError } from "../../../core/errors.ts";
import type { Reporter } from "../../../core/reporter.ts";
import { parameterCount } from "../../mamba/parameters.ts";
import type { MakeModel } from "../../mamba/types.ts";
import { openReader, type Reader } from "./reader.ts";
import { type EvaluationInfo, printReport, writeReport } from "./results_files.ts";
import { type ModelFolder, type Taught } from "../../weights/mod.ts";
import type {
  AnyTask,
  Approach,
  Given,
  HeadApproach,
  SystemAnswers,
  Task,
  TaskData,
} from "./task.ts";

/** What {@linkcode evaluateTask} takes. */
export interface EvaluateRequest {
  /** What the task's own options say. */
  given: Given;
  /** The file of another system's answers, or the model to ask: one of them. */
  system?: string;
  model?: NamedModel;
  /** The file of a further system's answers, to compare with. */
  other?: string;
  /** The model that `model` was adapted from, asked too. */
  base?: NamedModel;
  /** The tokenizer to read with, where the model folder has none. */
  tokenizerFile?: string;
  /** The folder of the results; of a system's answers nothing is written where there is none. */
  out?: string;
  /** Only the first so many items. */
  limit?: number;
  maxTokens: number;
  /** Rows computed at once. */
  batchSize: number;
  /** Of the bootstrap. */
  seed: number;
  makeModel: MakeModel;
  reporter: Reporter;
  signal: AbortSignal;
}

/** A model as the user names it, and how it is brought onto this machine. */
export interface NamedModel {
  name: string;
  /** The folder where it is; fetched where it has to be. */
  folder(): Promise<string>;
}

/** What one model answered. */
interface ModelAnswers {
  answers: unknown[];
  /** The data with the labels that the model was asked for: its own, where it was taught the task. */
  data: TaskData<unknown>;
  parameters: number;
  device: string;
}

/** The task that the options mean: itself, or another one under the same name. */
export function variantOf(task: AnyTask, given: Given): AnyTask {
  return task.variant?.(given) ?? task;
}

/**
 * Evaluates a task, prints and writes the results.
 * @returns everything for --json
 * @throws {UsageError} unless there is either a model or a system
 * @throws {UserError} as the task's reading does, or where there is nothing to ask.
 */
export async function evaluateTask(
  named: AnyTask,
  request: EvaluateRequest,
): Promise<Record<string, unknown>> {
  const { given, reporter, seed, limit, model, base, system } = request;
  const task = variantOf(named, given);
  if ((system === undefined) === (model === undefined)) {
    throw new UsageError(
      task.readAnswers
        ? "Give either --system, the answers to score, or --model, a model to ask"
        : "Give --model, the model to ask",
    );
  }
  const whole = task.read(given, "evaluate");
  for (const note of whole.notes ?? []) reporter.log(note);
  if (!whole.test.length) {
    throw new UserError(`Cannot evaluate ${task.name}: the data holds no question to ask`);
  }
  const data = { ...whole, test: whole.test.slice(0, limit) };
  const started = new Date();
  if (system !== undefined) {
    // Read against all items, so that a file of other items is told from a trial of the first.
    const answers = task.readAnswers?.(system, whole).slice(0, limit) ??
      fail(`${task.name} reads no answers`);
    const systems: SystemAnswers<unknown>[] = [
      { role: "system", name: system, answers },
      ...otherSystem(task, whole, request),
    ];
    const report = task.report({ data, systems, purpose: "evaluate", given, seed });
    if (request.out === undefined) {
      printReport(report, given.boolean("latex"), reporter);
      return report.json;
    }
    const info: EvaluationInfo = {
      model: system,
      seed,
      limit,
      original: whole.test.length,
      started,
      finished: new Date(),
    };
    return writeReport(
      request.out ?? fail("--out is not required of a model"),
      report,
      info,
      reporter,
      { latex: given.boolean("latex") },
    );
  }
  if (!model) fail("there is a model where there are no answers");
  const own = await askModel(task, data, model, request);
  const other = base && await askModel(task, own.data, base, request);
  if (
    base && other && !task.answersNameLabels && other.data.labels.join() !== own.data.labels.join()
  ) {
    throw new UserError(
      `Cannot compare ${model.name} with ${base.name}: they were taught other labels, ` +
        `${own.data.labels.join(", ")} and ${other.data.labels.join(", ")}; ` +
        `name a base that was taught the same labels, or none`,
    );
  }
  const systems: SystemAnswers<unknown>[] = [
    { role: "model", name: model.name, answers: own.answers },
    ...(base && other ? [{ role: "base" as const, name: base.name, answers: other.answers }] : []),
    ...otherSystem(task, { ...own.data, test: whole.test }, request),
  ];
  const report = task.report({ data: own.data, systems, purpose: "evaluate", given, seed });
  const info: EvaluationInfo = {
    model: model.name,
    parameters: own.parameters,
    device: own.device,
    seed,
    limit,
    original: whole.test.length,
    started,
    finished: new Date(),
  };
  return writeReport(
    request.out ?? fail("--out is not required of a model"),
    report,
    info,
    reporter,
    { latex: given.boolean("latex") },
  );
}

/** The answers that `other` names, where it names some. */
function otherSystem(
  task: AnyTask,
  data: TaskData<unknown>,
  { other, limit }: EvaluateRequest,
): SystemAnswers<unknown>[] {
  if (other === undefined) return [];
  if (!task.readAnswers) {
    throw new UsageError(`Answers to ${task.name} cannot be read from a file: leave --other away`);
  }
  const answers = task.readAnswers(other, data).slice(0, limit);
  return [{ role: "other", name: other, answers }];
}

/** Loads a model folder, asks it every item of `data.test`, and frees everything. */
export async function askModel(
  task: AnyTask,
  given: TaskData<unknown>,
  model: NamedModel,
  request: Omit<EvaluateRequest, "system" | "model" | "base" | "out">,
): Promise<ModelAnswers> {
  if (!task.approaches.length && !task.headed) {
    throw new UserError(
      `Cannot ask a model for ${task.name} of this kind: only the answers of a --system are scored`,
    );
  }
  const opened = openReader(await model.folder(), {
    tokenizerFile: request.tokenizerFile,
    seed: request.seed,
    log: (message) => request.reporter.log(message),
  });
  try {
    const data = fitted(task, given, opened.folder.taught, request.given);
    for (const note of data.notes?.slice(given.notes?.length ?? 0) ?? []) {
      request.reporter.log(note);
    }
    const asked = { name: model.name, units: task.units, labels: data.labels };
    return { ...await answerWith(task, data.test, opened, asked, request), data };
  } finally {
    opened.folder.close();
  }
}

/** Puts items to an open model folder. */
export async function answerWith<Item, Answer>(
  task: Task<Item, Answer>,
  items: readonly Item[],
  { folder, tokenizer }: Reader,
  { name, units, labels }: { name: string; units: string; labels: readonly string[] },
  request: Pick<
    EvaluateRequest,
    "maxTokens" | "batchSize" | "makeModel" | "reporter" | "signal"
  >,
): Promise<{ answers: Answer[]; parameters: number; device: string }> {
  const approach = approachOfModel(task, folder);
  const progress = request.reporter.progress(name, items.length, units);
  try {
    const reader = {
      tokenizer,
      labels,
      maxTokens: request.maxTokens,
      signal: request.signal,
      onProgress: (done: number) => progress.update(done),
    };
    const made = await request.makeModel(folder.config, {
      batchSize: "rows" in approach ? approach.rows(request.batchSize) : request.batchSize,
      sequenceLength: approach.rowLength(items, reader),
      training: false,
    });
    try {
      made.model.writeParameters(folder.read);
      const answers = await approach.answer(items, made, reader);
      return { answers, parameters: parameterCount(folder.config), device: made.device };
    } finally {
      made.close();
    }
  } finally {
    progress.finish();
  }
}

/** How a model is asked: by the head that it was taught the task with, or as the task has it. */
function approachOfModel<Item, Answer>(
  task: Task<Item, Answer>,
  { path, config: { head }, taught }: Pick<ModelFolder, "path" | "config" | "taught">,
): Approach<Item, Answer> | HeadApproach<Item, Answer> {
  const headed = head && taught?.task === task.name ? task.headed?.(head) : undefined;
  const approach = headed ?? task.approaches[0];
  if (approach) return approach;
  throw new UserError(
    `Cannot ask the model ${path} for ${task.name}: it has no head that was taught the task; teach it ` +
      `first with finetune ${task.name}`,
  );
}

/** The data in the labels that a model was taught, where it was taught this task. */
export function fitted<Item, Answer>(
  task: Task<Item, Answer>,
  data: TaskData<Item>,
  taught: Taught | undefined,
  given: Given,
): TaskData<Item> {
  if (taught?.task !== task.name) return data;
  return task.fit?.(data, taught.labels, given) ?? data;
}
