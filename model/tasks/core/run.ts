/**
 * A fine-tuning run as a whole: its folder, the development split that chooses the checkpoint, one
 * reading of the test split, and the comparison with the model it began from.
 * @module
 */
import { fail, UserError } from "../../../core/errors.ts";
import type { Reporter } from "../../../core/reporter.ts";
import { type Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import {
  checkpointPath,
  cleanCheckpoints,
  configChanges,
  describeTrained,
  doneResult,
  type FinetuningRecord,
  flatten,
  listCheckpoints,
  markDone,
  newRun,
  openCheckpoint,
  openNewestCheckpoint,
  type PartialConfig,
  readRun,
  refuseExisting,
  removeCheckpoint,
  requireSameAdapters,
  resolveConfig,
  type RunFile,
  startWithAdapters,
  type TrainConfig,
  type TrainerState,
  trainingTerms,
  writeRun,
} from "../../training/mod.ts";
import { type ModelFolder } from "../../weights/mod.ts";
import type { MadeModel, MakeModel } from "../../mamba/types.ts";
import { HEAD_KEY, type HeadConfig, headJson, isHeadParameter } from "../../mamba/head.ts";
import { initialParameters } from "../../mamba/initialize.ts";
import { parameterList } from "../../mamba/parameters.ts";
import { type MambaConfig, withoutHead } from "../../mamba/config.ts";
import type { ReadParameter } from "../../mamba/types.ts";
import { type BatchShape, fittingShape, stepExamples } from "./batching.ts";
import type { SupervisedExample } from "./examples.ts";
import { balanceClasses } from "./class_weights.ts";
import { examplesPerStep, finetuneLoop, trainStep } from "./loop.ts";
import type { Development } from "./task.ts";

/** Hears how many items are done. */
type OnProgress = (done: number) => void;

/** What a model is taught, and how it is examined. */
export interface FinetuneTask<Answers> {
  name: string;
  /** The label set, which the model keeps. */
  labels: readonly string[];
  /** What is learned from. */
  examples: SupervisedExample[];
  /** Tokens that a row must hold at least: the longest example's, in any split. */
  rowLength: number;
  /** What the splits count: "questions"; and how many there are. */
  units: string;
  developItems: number;
  testItems: number;
  /** The head of labels that learns, in place of the language model's; its rows for so many of texts. */
  head?: { config: HeadConfig; rows(textRows: number): number };
  /** Examines the development split; `onProgress` hears how many items are answered. */
  develop: (made: MadeModel, onProgress?: OnProgress) => Promise<Development>;
  /** Answers the test split; `onProgress` as above. */
  test: (made: MadeModel, onProgress?: OnProgress) => Promise<Answers>;
  /** Where its files are, and a hash of what was read from them. */
  path: string;
  sha256: string;
}

/** What {@linkcode finetuneRun} takes. */
export interface FinetuneRequest<Answers> {
  task: FinetuneTask<Answers>;
  /** The model to begin from as the user names it; open; and its tokenizer. */
  init: string;
  base: ModelFolder;
  tokenizer: Tokenizer;
  /** The run folder. */
  out: string;
  epochs: number;
  /** Of the training configuration: what differs from {@linkcode FINETUNE_DEFAULTS}. */
  config: PartialConfig;
  /** What differs from {@linkcode STEADYING_DEFAULTS}. */
  steadying?: Partial<FinetuningRecord>;
  resume: boolean;
  makeModel: MakeModel;
  reporter: Reporter;
  signal: AbortSignal;
  /** The words of the command line, for the record. */
  command?: readonly string[] | undefined;
  resumeHint?: string;
}

/** BioMamba's recipe; AdamW's betas and clipping as everywhere here. */
export const FINETUNE_DEFAULTS = {
  batch: { rows: 8, accumulate: 4 },
  optimizer: { learning_rate: 2e-5, weight_decay: 0.01 },
  schedule: { kind: "cosine", warmup: 0.1, final: 0 },
  checkpoint: { every: 0 },
} as const;

/** Nothing steadies a run that asks for nothing. */
export const STEADYING_DEFAULTS: FinetuningRecord = {
  early_stopping: 0,
  class_weights: "none",
  reinitialize: 0,
};

/** What a run came to. */
interface FinetuneResult<Answers> {
  device: string;
  /** The step and the development score of the checkpoint that was chosen. */
  step: number;
  developmentScore: number;
  /** The last step that was learned, where the run ended before all of its epochs. */
  endedEarly?: number;
  /** The chosen checkpoint's folder. */
  checkpoint: string;
  /** On the test split. */
  answers: Answers;
  /** Those of the model it began from; undefined where that has no such head. */
  baseAnswers?: Answers;
}

/** The checkpoint that a run's development split has chosen; nothing is tested yet. */
export interface Developed {
  /** Its folder. */
  checkpoint: string;
  step: number;
  /** The task's first measure on the development split, 0 to 1. */
  developmentScore: number;
  /** The last step that was learned, where the run ended before all of its epochs. */
  endedEarly?: number;
}

/**
 * Fine-tunes and evaluates; with `resume`, a run that was finished is only evaluated again.
 * @throws {UserError} for bad input, before anything is written, or as the loop does.
 */
export async function finetuneRun<Answers>(
  request: FinetuneRequest<Answers>,
): Promise<FinetuneResult<Answers>> {
  const { task, base, reporter } = request;
  return await withBest(request, async (made, developed, init) => {
    const { model, device } = made;
    const opened = openCheckpoint(developed.checkpoint);
    model.writeParameters(opened.folder.read);
    opened.close();
    const beside = init.fresh ? "" : ", and the base model";
    reporter.log(`Testing the checkpoint of step ${developed.step} once${beside}`);
    const { units, testItems } = task;
    const test = (label: string) =>
      withBar(reporter, label, testItems, units, (onProgress) => task.test(made, onProgress));
    const answers = await test("Testing");
    const result = { ...developed, device, answers };
    if (init.fresh) return result;
    // Fresh adapters change nothing.
    model.writeParameters(init.config.lora ? init.read : base.read);
    return { ...result, baseAnswers: await test("Testing the base model") };
  });
}

/**
 * Fine-tunes without a look at the test split: for a search, which the development split alone decides.
 * @throws {UserError} as {@linkcode finetuneRun}.
 */
export async function developRun<Answers>(request: FinetuneRequest<Answers>): Promise<Developed> {
  return await withBest(request, (_made, developed) => Promise.resolve(developed));
}

/** What a run would take, measured on a few steps and examined items. */
export interface RunCost {
  /** Optimizer updates of all epochs. */
  steps: number;
  secondsPerStep: number;
  /** Of one item of the development split. */
  secondsPerItem: number;
  /** The model with its head, and the shape of its batches, for a plan of its memory. */
  model: MambaConfig;
  batchSize: number;
  sequenceLength: number;
  terms: ReturnType<typeof trainingTerms>;
}

/** Steps that are timed, after one that is not: it waits for programs to be compiled. */
const TIMED_STEPS = 2;

/**
 * Times a run's steps and its examination, and writes nothing. The development split of the task should
 * be short: it is examined twice.
 * @throws {UserError} as {@linkcode finetuneRun}.
 */
export async function timeRun<Answers>(request: FinetuneRequest<Answers>): Promise<RunCost> {
  const { task } = request;
  const config = resolveRunConfig(request, undefined);
  const init = initialModel(request, config);
  const { rows, length } = batchShape(task, config);
  const batchSize = task.head?.rows(rows) ?? rows;
  const terms = trainingTerms(config, init.config);
  const made = await request.makeModel(init.config, {
    batchSize,
    sequenceLength: length,
    ...terms,
  });
  const { model } = made;
  const { examples } = task;
  try {
    model.writeParameters(init.read);
    const state: TrainerState = { step: 0, rows: 0, tokens: 0 };
    const examplesOf = stepExamples(examples, examplesPerStep(config), config.seed);
    const step = () => trainStep({ model, config, examples }, state, examplesOf(state.step));
    const timed = async (times: number, work: () => Promise<unknown>) => {
      await work();
      const began = performance.now();
      for (let i = 0; i < times; i++) await work();
      return (performance.now() - began) / 1000 / times;
    };
    return {
      steps: config.steps,
      secondsPerStep: await timed(TIMED_STEPS, step),
      secondsPerItem: await timed(1, () => task.develop(made)) / task.developItems,
      model: init.config,
      batchSize,
      sequenceLength: length,
      terms,
    };
  } finally {
    made.close();
  }
}

/**
 * Trains a run to its end and calls `use` while its model is still on the device. The run folder then
 * holds its best checkpoint alone.
 */
async function withBest<Answers, T>(
  given: FinetuneRequest<Answers>,
  use: (made: MadeModel, developed: Developed, init: InitialModel) => Promise<T>,
): Promise<T> {
  const request = withClassWeights(given);
  const { task, out } = request;
  const old = openRun(request);
  const config = resolveRunConfig(request, old);
  const init = initialModel(request, config);
  const shape = batchShape(task, config);
  const made = await request.makeModel(init.config, {
    batchSize: task.head?.rows(shape.rows) ?? shape.rows,
    sequenceLength: shape.length,
    ...trainingTerms(config, init.config),
  });
  try {
    const best = doneResult(out) as Best | undefined ??
      await trainToBest(request, old, config, made, init, shape);
    // From here on the run is its best checkpoint: what is exported is what was tested. A run that was
    // killed meanwhile comes here again.
    for (const { path, step } of listCheckpoints(out)) {
      if (step !== best.step) removeCheckpoint(path);
    }
    const { step, dev_score: developmentScore, ended_early: endedEarly } = best;
    const checkpoint = checkpointPath(out, step);
    return await use(made, { step, developmentScore, endedEarly, checkpoint }, init);
  } finally {
    made.close();
  }
}

/** A request whose examples are weighted by class, where that is asked for. */
function withClassWeights<A>(request: FinetuneRequest<A>): WeighedRequest<A> {
  const { task, steadying } = request;
  if (steadying?.class_weights !== "balanced") return request;
  const { examples, weights } = balanceClasses(task.examples, task.head?.config, task.labels);
  return { ...request, task: { ...task, examples }, labelWeights: weights };
}

/** A request, and what each label's loss is multiplied with. */
interface WeighedRequest<Answers> extends FinetuneRequest<Answers> {
  labelWeights?: Record<string, number>;
}

/** Runs `work` with a bar that counts items; the bar is gone afterwards, however it ends. */
async function withBar<T>(
  reporter: Reporter,
  label: string,
  items: number,
  units: string,
  work: (onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  const progress = reporter.progress(label, items, units);
  try {
    progress.update(0); // there is something to see before the first items are done
    return await work((done) => progress.update(done));
  } finally {
    progress.finish();
  }
}

/** The model that a run begins with. */
interface InitialModel {
  config: MambaConfig;
  read: ReadParameter;
  /** Whether its head of labels knows nothing yet. */
  fresh: boolean;
}

/**
 * The base with the head that the task asks for: its own, where it was taught the same task by such a
 * head, or else a fresh one by the seed.
 */
function initialModel<A>(request: FinetuneRequest<A>, config: TrainConfig): InitialModel {
  const whole = wholeModel(request, config.seed);
  const { seed, lora } = config;
  const top = request.steadying?.reinitialize ?? 0;
  if (top && (lora.targets || whole.config.lora)) {
    throw new UserError(
      `Cannot use --reinitialize ${top} with --lora: adapters belong to the layers of their base, ` +
        `which have to stay as they are; leave one of the two out`,
    );
  }
  const begun = top ? { ...whole, read: withFreshLayers(whole, top, seed) } : whole;
  const start = startWithAdapters(begun, request.base, { init: request.init, lora, seed });
  return { ...start, fresh: whole.fresh };
}

/**
 * The model with its `top` highest layers drawn anew by the seed, as fresh weights are, and all else as it
 * is (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning").
 * @throws {UserError} where it has fewer layers.
 */
function withFreshLayers(
  { config, read }: Pick<InitialModel, "config" | "read">,
  top: number,
  seed: number,
): ReadParameter {
  const { layers } = config;
  if (top > layers) {
    throw new UserError(
      `Cannot use --reinitialize ${top}: the model has ${layers} layers; give at most ${layers}`,
    );
  }
  const drawn = initialParameters(config, seed);
  const fresh = new Set(
    parameterList(config).filter(({ layer }) => layer >= layers - top && layer < layers)
      .map(({ name }) => name),
  );
  return (name) => fresh.has(name) ? drawn(name) : read(name);
}

/** The base with its head, before adapters. */
function wholeModel<A>({ task, base }: FinetuneRequest<A>, seed: number): InitialModel {
  const { head: own } = base.config;
  const sizes = withoutHead(base.config);
  const head = task.head?.config;
  if (!head) return { config: sizes, read: base.read, fresh: false };
  const config: MambaConfig = { ...sizes, head };
  const same = own && JSON.stringify(headJson(own)) === JSON.stringify(headJson(head));
  const { taught } = base;
  if (same && taught?.task === task.name && taught.labels.join("\n") === task.labels.join("\n")) {
    return { config, read: base.read, fresh: false };
  }
  const drawn = initialParameters(config, seed);
  const read = (name: string) => isHeadParameter(name) ? drawn(name) : base.read(name);
  return { config, read, fresh: true };
}

/** The shape of batches of texts, which a head that reads both ways reads once more. */
function batchShape<A>({ examples, rowLength }: FinetuneTask<A>, config: TrainConfig): BatchShape {
  return fittingShape(examples, {
    shortest: rowLength,
    perStep: examplesPerStep(config),
    most: config.batch.rows,
    seed: config.seed,
  });
}

/** Of the places of batches, this share may stay empty before a line says so. */
const MUCH_PADDING = 0.15;

/** The checkpoint that development chose; a finished run's closing figures. */
interface Best {
  step: number;
  dev_score: number;
  /** The last step, where the run ended before all of its epochs. */
  ended_early?: number;
}

/** Trains from the newest checkpoint or the base to the end, and keeps the best checkpoint only. */
async function trainToBest<A>(
  request: WeighedRequest<A>,
  old: RunFile | undefined,
  config: TrainConfig,
  made: MadeModel,
  init: InitialModel,
  shape: BatchShape,
): Promise<Best> {
  const { model, device } = made;
  const { task, out, reporter } = request;
  const { examples } = task;
  const newest = old ? openNewestCheckpoint(out, (damage) => reporter.log(damage)) : undefined;
  if (newest) requireSameAdapters(out, newest.folder.config, init.config);
  model.writeParameters(newest?.folder.read ?? init.read);
  if (newest) {
    model.writeMoments(newest.moments);
    model.writeLossScale?.(newest.state.lossScale);
  }
  const start: TrainerState = newest?.state ?? { step: 0, rows: 0, tokens: 0 };
  newest?.close();
  Deno.mkdirSync(out, { recursive: true });
  writeRun(out, describeRun(request, old, config, made, start.step));
  reporter.log(
    `Fine-tuning ${describeTrained(init.config)} on ` +
      `${examples.length} examples, ${config.steps} steps of ${examplesPerStep(config)}, ` +
      `${model.batchSize} rows of ${model.sequenceLength} tokens at once, ` +
      `${(100 * shape.fill).toFixed(0)} % full, on ${device}`,
  );
  if (1 - shape.fill > MUCH_PADDING) {
    reporter.log(
      `${(100 * (1 - shape.fill)).toFixed(0)} % of what is computed is padding: a step of ` +
        `${
          examplesPerStep(config)
        } examples fills rows of ${model.sequenceLength} tokens no better; ` +
        `more examples per step (--accumulate) do, or a lower --max-tokens`,
    );
  }
  const cut = examples.filter((example) => example.cut).length;
  if (cut) reporter.log(`${cut} of the examples were cut to --max-tokens`);
  const state = await finetuneLoop({
    run: out,
    model,
    config,
    examples,
    state: start,
    develop: () =>
      withBar(
        reporter,
        "Development",
        task.developItems,
        task.units,
        (onProgress) => task.develop(made, onProgress),
      ),
    patience: request.steadying?.early_stopping,
    // The one that is read with, which may not be the base folder's.
    tokenizer: Deno.readFileSync(request.tokenizer.path),
    taught: { task: task.name, labels: task.labels },
    reporter,
    signal: request.signal,
    resumeHint: request.resumeHint,
  });
  const { step, loss } = state.best ?? fail("a run that ended has judged its weights");
  const endedEarly = state.step < config.steps ? { ended_early: state.step } : {};
  const best: Best = { step, dev_score: 1 - loss, ...endedEarly };
  markDone(out, best);
  return best;
}

/** The record of the run that is gone on with; undefined for a new one. */
function openRun<A>(
  { out, resume, task, init, steadying }: FinetuneRequest<A>,
): RunFile | undefined {
  if (!resume) {
    refuseExisting(out);
    return undefined;
  }
  const old = readRun(out);
  if (old.init !== init || old.corpus.manifest_sha256 !== task.sha256) {
    throw new UserError(
      `Cannot resume ${out}: it fine-tuned ${old.init} on ${old.corpus.path}; give the same ` +
        `--model, --data and --fold, or name another folder with --out`,
    );
  }
  const headOf = (head: unknown) => JSON.stringify(head ?? null);
  const wanted = task.head ? headJson(task.head.config) : undefined;
  if (headOf(old.model[HEAD_KEY]) !== headOf(wanted)) {
    throw new UserError(
      `Cannot resume ${out}: it was begun with ${old.model[HEAD_KEY] ? "another" : "no"} head of ` +
        `labels; give the same --approach, --context and --crf, or name another folder with --out`,
    );
  }
  const before = flatten({ ...STEADYING_DEFAULTS, ...old.finetuning });
  const now = new Map(flatten({ ...STEADYING_DEFAULTS, ...steadying }));
  const changes = before.filter(([key, value]) => now.get(key) !== value)
    .map(([key, value]) => `${key}: ${value} -> ${now.get(key)}`);
  if (changes.length) refuseChanges(out, changes);
  cleanCheckpoints(out);
  return old;
}

/**
 * The resolved configuration, whose steps are all epochs' together.
 * @throws {UserError} where a run that is gone on with was begun with another.
 */
function resolveRunConfig<A>(
  { task, config, epochs, out }: FinetuneRequest<A>,
  old: RunFile | undefined,
): TrainConfig {
  const given = resolveConfig(config, "the command line");
  const perEpoch = Math.ceil(task.examples.length / examplesPerStep(given));
  const resolved = { ...given, steps: epochs * perEpoch };
  const changes = old ? configChanges(old.config, resolved) : [];
  if (changes.length) refuseChanges(out, changes);
  return resolved;
}

function refuseChanges(out: string, changes: readonly string[]): never {
  throw new UserError(
    `Cannot resume ${out} with other settings (${changes.join(", ")}); give those it was begun ` +
      `with, or name another folder with --out`,
  );
}

function describeRun<A>(
  { task, init, tokenizer, command, steadying, labelWeights }: WeighedRequest<A>,
  old: RunFile | undefined,
  config: TrainConfig,
  { model, device }: MadeModel,
  step: number,
): RunFile {
  if (old) {
    const resumption = { at: new Date().toISOString(), step, device };
    return { ...old, resumed: [...old.resumed, resumption] };
  }
  const corpus = {
    path: task.path,
    manifest_sha256: task.sha256,
    tokenizer_sha256: tokenizer.sha256,
  };
  const { sequenceLength: sequence_length } = model;
  const described = {
    init,
    corpus,
    task: task.name,
    config,
    finetuning: { ...STEADYING_DEFAULTS, ...steadying },
    label_weights: labelWeights,
    sequence_length,
    device,
    command,
  };
  return newRun(described, model.config);
}
