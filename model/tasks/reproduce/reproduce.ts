/**
 * A reproduction: every set of a folder, every model, asked as it is and taught over several seeds after
 * the same search for each, tested once; then one page and one table. The work is done in pieces (see
 * pieces.ts), so that it can be stopped anywhere.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists, readJson, refuseForeign, sha256, writeAtomic } from "../../../core/files.ts";
import type { Reporter } from "../../../core/reporter.ts";
import { join } from "../../../core/std.ts";
import type { MakeModel } from "../../mamba/types.ts";
import { isRun, type PartialConfig } from "../../training/mod.ts";
import { askModel } from "../core/evaluate.ts";
import { learnedTask } from "../core/finetune.ts";
import { writeReport } from "../core/results_files.ts";
import { developRun, FINETUNE_DEFAULTS } from "../core/run.ts";
import type {
  Approach,
  HeadApproach,
  Score,
  SystemAnswers,
  TaskData,
  TaskReader,
} from "../core/task.ts";
import type { OnnxFolder } from "../onnx/folder.ts";
import { type AnswerFile, findAnswers, type NamedSystem } from "./answers.ts";
import { rowsOf, type ScoredSystem, type SetSummary } from "./compare.ts";
import { type Found, type FoundSet, isAsked, RESULTS_FILE } from "./find.ts";
import { factsOf, folderName, type ModelFacts, openModel, type ReproducedModel } from "./models.ts";
import { type Inputs, piece } from "./pieces.ts";

/** What every model is taught with, and how much is searched. */
export interface Protocol {
  /** Peaks of the learning rate to choose among on the development split; undefined for the task's. */
  learningRates?: readonly number[];
  /** Times through the training examples; undefined for the task's own. */
  epochs?: number;
  /** How many runs with the chosen setting. */
  seeds: number;
  /** Examples of an update. */
  rows: number;
  accumulate: number;
  maxTokens: number;
  /** Only so few examples and questions of every set that a run says nothing but that all works. */
  quick: boolean;
}

/** What {@linkcode reproduce} takes. */
export interface ReproduceRequest {
  found: Found;
  models: readonly ReproducedModel[];
  /** The label of the model that the others are compared with. */
  base: string;
  systems: readonly NamedSystem[];
  protocol: Protocol;
  /** Where everything is written. */
  out: string;
  makeModel: MakeModel;
  reporter: Reporter;
  signal: AbortSignal;
}

/** What a reproduction came to. */
export interface Reproduction {
  summaries: SetSummary[];
  /** Of each model, by label. */
  facts: Map<string, ModelFacts>;
}

/** Examples, and questions of a split, of a quick run. */
const QUICK = 24;

/** Seed of the bootstrap. */
const BOOTSTRAP_SEED = 0;

/** The record of a results folder. */
interface OwnFile {
  program: "pubmamba reproduce";
  /** When it was begun: the date of all results files. */
  begun: string;
}

/**
 * The date that a results folder was begun at; a new one is begun now.
 * @throws {UserError} where something else is in the folder.
 */
function beginResults(out: string, now: Date = new Date()): Date {
  const file = join(out, RESULTS_FILE);
  if (!exists(file)) {
    refuseForeign(out, "a reproduction", (name) => name.startsWith(RESULTS_FILE));
    Deno.mkdirSync(out, { recursive: true });
    const own: OwnFile = { program: "pubmamba reproduce", begun: now.toISOString() };
    writeAtomic(file, JSON.stringify(own, null, 2) + "\n");
  }
  return new Date(readJson<OwnFile>(file, "reproduction").begun);
}

/** The learning rates that are tried for a task. */
export function ratesFor(set: FoundSet, { learningRates, quick }: Protocol): readonly number[] {
  const own = set.task.finetuning?.defaults?.learningRate ??
    FINETUNE_DEFAULTS.optimizer.learning_rate;
  const rates = learningRates ?? [own];
  return quick ? rates.slice(0, 1) : rates;
}

/** Times through the training examples of a task. */
export function epochsFor(set: FoundSet, { epochs, quick }: Protocol): number {
  return quick ? 1 : epochs ?? set.task.finetuning?.defaults?.epochs ?? 5;
}

/** The seeds of the runs of a set. */
export function seedsOf({ seeds, quick }: Protocol): number[] {
  return Array.from({ length: quick ? 1 : seeds }, (_, seed) => seed);
}

/** A set's data, cut for a quick run. */
export function dataOf(set: FoundSet, { quick }: Protocol): TaskData<unknown> {
  const data = set.read();
  if (!quick) return data;
  const { train, develop, test } = data;
  return {
    ...data,
    train: train.slice(0, QUICK),
    develop: develop.slice(0, QUICK),
    test: test.slice(0, QUICK),
  };
}

/** How a task is put when it is taught: by the head that is its default, or by words. */
export function approachFor(
  { task }: FoundSet,
): Approach<unknown, unknown> | HeadApproach<unknown, unknown> | undefined {
  const head = task.finetuning?.defaults?.head;
  if (!head || head.asked) return task.approaches[0];
  return task.headed?.({ context: "both", crf: head.crf, sparse: head.sparse }) ??
    task.approaches[0];
}

/** The configuration of a run. */
export function configFor(set: FoundSet, protocol: Protocol, rate: number): PartialConfig {
  const approach = approachFor(set);
  const head = approach && "head" in approach ? set.task.finetuning?.defaults?.head : undefined;
  return {
    ...FINETUNE_DEFAULTS,
    batch: { rows: protocol.rows, accumulate: protocol.accumulate },
    optimizer: {
      ...FINETUNE_DEFAULTS.optimizer,
      learning_rate: rate,
      // A head begins anew: it never learns slower than what is below it.
      ...(head ? { head_learning_rate: Math.max(rate, head.learningRate) } : {}),
    },
    ...(head
      ? {
        objective: {
          dropout: head.dropout,
          token_dropout: head.tokenDropout ?? 0,
          state_dropout: head.stateDropout ?? 0,
        },
      }
      : {}),
  };
}

/** The work on one set. */
interface SetWork {
  request: ReproduceRequest;
  set: FoundSet;
  data: TaskData<unknown>;
  folder: string;
  begun: Date;
}

/** A model's answers to a set's questions. */
interface Answered {
  answers: unknown[];
  labels: readonly string[];
  device: string;
}

/** What the search of a model came to. */
interface Search {
  /** By learning rate: the development score of the run with the first seed. */
  tried: { learningRate: number; developmentScore: number; step: number }[];
  learningRate: number;
  developmentScore: number;
}

/**
 * Does what is not done yet.
 * @throws {Interrupted} when the signal fires; the same call goes on.
 * @throws {UserError} where finished pieces were made from something else.
 */
export async function reproduce(request: ReproduceRequest): Promise<Reproduction> {
  const { found, models, systems, protocol, out, reporter } = request;
  const files = findAnswers(systems, found.sets);
  const begun = beginResults(out);
  const facts = new Map<string, ModelFacts>();
  for (const model of models) facts.set(model.label, await factsOf(model));
  const summaries: SetSummary[] = [];
  for (const [i, set] of found.sets.entries()) {
    reporter.log(`Set ${i + 1} of ${found.sets.length}: ${set.id}`);
    const folder = join(out, "sets", set.id);
    const work: SetWork = { request, set, data: dataOf(set, protocol), folder, begun };
    summaries.push(await summarise(work, facts, files.get(set.id) ?? []));
  }
  return { summaries, facts };
}

/** All systems' answers to a set, and what they came to. */
async function summarise(
  work: SetWork,
  facts: ReadonlyMap<string, ModelFacts>,
  files: readonly AnswerFile[],
): Promise<SetSummary> {
  const { request: { models, protocol, base }, set, data, folder } = work;
  const answered: AnsweredSystem[] = [];
  for (const model of models) {
    const known = facts.get(model.label);
    if (!known) throw new TypeError(`Nothing is known of ${model.label}`);
    const isPeer = model.onnx !== undefined;
    if (isPeer ? set.task.closed : isAsked(set.task)) {
      answered.push(await asked(work, model, known));
    }
    if (!isPeer && set.purpose === "finetune") answered.push(await taught(work, model, known));
  }
  const inputs = {
    data: data.sha256,
    quick: protocol.quick,
    base,
    answers: answered.map(({ label, kind, digest }) => `${label} ${kind} ${digest}`),
    files: files.map(({ label, digest }) => `${label} ${digest}`),
  };
  const path = join(folder, "summary.json");
  // Further models and systems may join: only then is the summary made again.
  const old = exists(path) ? readJson<{ inputs: Inputs }>(path, "summary").inputs : undefined;
  if (old && JSON.stringify(old) !== JSON.stringify(inputs)) Deno.removeSync(path);
  return await piece(path, inputs, () => {
    const { task } = set;
    const trivial = writeReports(work, answered, facts, files);
    const scored: ScoredSystem[] = [
      ...(trivial
        ? [{ kind: "trivial" as const, name: trivial.name, scores: [trivial.score] }]
        : []),
      ...files.map(({ label, path }): ScoredSystem => ({
        kind: "system",
        name: label,
        scores: [task.score(data, data.test, answersOf(work, path))],
      })),
      ...answered.map(({ kind, label, runs, search }): ScoredSystem => ({
        kind,
        name: label,
        scores: runs.map(({ labels, answers }) =>
          task.score({ ...data, labels }, data.test, answers)
        ),
        learningRate: search?.learningRate,
        development: search?.developmentScore,
      })),
    ];
    const summary: SetSummary = {
      id: set.id,
      task: task.name,
      place: set.place,
      count: data.test.length,
      units: task.units,
      notes: data.notes ?? [],
      rows: rowsOf(scored, base, BOOTSTRAP_SEED),
    };
    return Promise.resolve(summary);
  });
}

/** The answers in a system's file; those of a quick run are the first. */
function answersOf({ set, data }: SetWork, path: string): unknown[] {
  const { task } = set;
  if (!task.readAnswers) {
    throw new UserError(
      `Cannot use the answers ${path}: those of ${task.name} are not read from files; take it away`,
    );
  }
  return task.readAnswers(path, set.read() ?? data).slice(0, data.test.length);
}

/** A model's answers in every run. */
interface AnsweredSystem {
  kind: "asked" | "taught";
  label: string;
  /** Of all answers. */
  digest: string;
  runs: (Answered & { folder: string; seed: number })[];
  search?: Search;
}

/** What decides a model's answers, besides the kind of device. */
function inputsOf({ data, request: { protocol } }: SetWork, { digest }: ModelFacts): Inputs {
  const { maxTokens, quick } = protocol;
  return { model: digest, data: data.sha256, max_tokens: maxTokens, quick };
}

/** Asks a model as it is. */
async function asked(
  work: SetWork,
  model: ReproducedModel,
  facts: ModelFacts,
): Promise<AnsweredSystem> {
  const folder = join(work.folder, folderName(model.label), "asked");
  const said = await piece(
    join(folder, "answers.json"),
    inputsOf(work, facts),
    () => model.onnx ? askPeer(work, model.label, model.onnx) : ask(work, model, model.label, 0),
  );
  return {
    kind: "asked",
    label: model.label,
    digest: sha256(JSON.stringify(said.answers)),
    runs: [{ ...said, folder, seed: 0 }],
  };
}

/** Puts a set's questions to a model of another kind, by the words of their answers. */
async function askPeer(
  { request, set, data }: SetWork,
  name: string,
  folder: OnnxFolder,
): Promise<Answered> {
  const { protocol: { maxTokens }, reporter, signal } = request;
  const { closed } = set.task;
  if (!closed) throw new TypeError(`${set.task.name} is not put in words`);
  const { openPeer } = await import("../onnx/peer.ts");
  const peer = await openPeer(folder);
  const items = closed.items(data.test, data.labels);
  const progress = reporter.progress(name, items.length, set.task.units);
  try {
    const onProgress = (done: number) => progress.update(done);
    const words = closed.words(data.labels);
    const said = await peer.answer(items, words, { maxTokens, signal, onProgress });
    const device = "ONNX Runtime in WebAssembly";
    return { answers: closed.answers(data.test, said), labels: data.labels, device };
  } finally {
    progress.finish();
    await peer.close();
  }
}

/** Puts a set's questions to a model or to what it has become. */
async function ask(
  { request, set, data }: SetWork,
  model: ReproducedModel,
  name: string,
  seed: number,
): Promise<Answered> {
  const { protocol: { maxTokens, rows }, makeModel, reporter, signal } = request;
  const { answers, data: fitted, device } = await askModel(
    set.task,
    data,
    { name, folder: model.folder },
    {
      given: set.given,
      tokenizerFile: model.tokenizerFile,
      maxTokens,
      batchSize: rows,
      seed,
      makeModel,
      reporter,
      signal,
    },
  );
  return { answers, labels: fitted.labels, device };
}

/** Searches on the development split, teaches with every seed, and tests each run once. */
async function taught(
  work: SetWork,
  model: ReproducedModel,
  facts: ModelFacts,
): Promise<AnsweredSystem> {
  const { set, request: { protocol } } = work;
  const own = join(work.folder, folderName(model.label));
  const rates = ratesFor(set, protocol);
  const settings = {
    ...inputsOf(work, facts),
    epochs: epochsFor(set, protocol),
    rows: protocol.rows,
    accumulate: protocol.accumulate,
  };
  const runFolder = (rate: number, seed: number) => join(own, "runs", `rate-${rate}-seed-${seed}`);
  const search = await piece(
    join(own, "search.json"),
    { ...settings, learning_rates: rates },
    async (): Promise<Search> => {
      const tried: Search["tried"] = [];
      for (const learningRate of rates) {
        const out = runFolder(learningRate, 0);
        const { developmentScore, step } = await develop(work, model, out, learningRate, 0);
        tried.push({ learningRate, developmentScore, step });
      }
      // The first of equals, so that the order of the rates decides and nothing else.
      const best = tried.reduce((a, b) => b.developmentScore > a.developmentScore ? b : a);
      return { tried, learningRate: best.learningRate, developmentScore: best.developmentScore };
    },
  );
  const runs: AnsweredSystem["runs"] = [];
  for (const seed of seedsOf(protocol)) {
    const folder = join(own, `seed-${seed}`);
    const out = runFolder(search.learningRate, seed);
    const said = await piece(
      join(folder, "answers.json"),
      { ...settings, learning_rate: search.learningRate, seed },
      async () => {
        const { checkpoint } = await develop(work, model, out, search.learningRate, seed);
        const tested = { ...model, folder: () => Promise.resolve(checkpoint) };
        return await ask(work, tested, `${model.label}, seed ${seed}`, seed);
      },
    );
    runs.push({ ...said, folder, seed });
  }
  // What was searched and not chosen, and what is tested, is not needed any more.
  if (exists(join(own, "runs"))) Deno.removeSync(join(own, "runs"), { recursive: true });
  const digest = sha256(JSON.stringify(runs.map(({ answers }) => answers)));
  return { kind: "taught", label: model.label, digest, runs, search };
}

/** Teaches a model, or goes on with it. */
async function develop(
  { set, data, request }: SetWork,
  model: ReproducedModel,
  out: string,
  rate: number,
  seed: number,
) {
  const { protocol, makeModel, reporter, signal } = request;
  const approach = approachFor(set);
  if (!approach) throw new UserError(`Cannot teach ${set.task.name}`);
  const { folder, tokenizer } = await openModel(model, seed);
  const { labels } = data;
  const reader: TaskReader = { tokenizer, labels, maxTokens: protocol.maxTokens, signal };
  try {
    reporter.log(`${model.label}, learning rate ${rate}, seed ${seed}`);
    return await developRun({
      task: learnedTask(set.task, data, reader, approach),
      init: model.name,
      base: folder,
      tokenizer,
      out,
      epochs: epochsFor(set, protocol),
      config: { ...configFor(set, protocol, rate), seed },
      resume: isRun(out),
      makeModel,
      reporter,
      signal,
      resumeHint: "the same command again",
    });
  } finally {
    folder.close();
  }
}

/**
 * Writes every run's results as `evaluate` does, beside the base's answers of the same seed, and returns
 * the trivial system, where the task has one.
 */
function writeReports(
  work: SetWork,
  answered: readonly AnsweredSystem[],
  facts: ReadonlyMap<string, ModelFacts>,
  files: readonly AnswerFile[],
): { name: string; score: Score } | undefined {
  const { request: { base, reporter }, set, data, begun } = work;
  let trivial: { name: string; score: Score } | undefined;
  const quiet: Reporter = { ...reporter, line() {}, write() {}, log() {} };
  const note = (systems: readonly { key: string; name: string; score: Score }[] = []) => {
    trivial ??= systems.find(({ key }) => !["model", "base", "system", "other"].includes(key));
  };
  for (const { kind, label, runs } of answered) {
    for (const { folder, seed, answers, labels, device } of runs) {
      const beside = label === base
        ? undefined
        : answered.find((other) => other.label === base && other.kind === kind)?.runs
          .find((run) => run.seed === seed);
      const systems: SystemAnswers<unknown>[] = [
        { role: "model", name: label, answers },
        ...(beside ? [{ role: "base" as const, name: base, answers: beside.answers }] : []),
      ];
      const purpose = kind === "taught" ? "finetune" as const : "evaluate" as const;
      const report = set.task.report({
        data: { ...data, labels },
        systems,
        purpose,
        given: set.given,
        seed: BOOTSTRAP_SEED,
      });
      note(report.systems);
      const { parameters = 0 } = facts.get(label) ?? {};
      writeReport(folder, report, {
        model: label,
        parameters,
        device,
        seed,
        started: begun,
      }, quiet);
    }
  }
  if (trivial || answered.length) return trivial;
  for (const { label, path } of files) {
    const answers = answersOf(work, path);
    const systems: SystemAnswers<unknown>[] = [{ role: "system", name: label, answers }];
    note(
      set.task.report({ data, systems, purpose: "evaluate", given: set.given, seed: 0 }).systems,
    );
  }
  return trivial;
}
