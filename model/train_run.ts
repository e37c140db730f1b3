/** A training run as a whole: its folder, its start, going on with it, its end. @module */
import { messageOf, UserError } from "../core/errors.ts";
import { exists, PARTIAL_SUFFIX } from "../core/files.ts";
import type { Reporter } from "../core/reporter.ts";
import { basename, resolve } from "../core/std.ts";
import { modelCard } from "./card.ts";
import {
  type Checkpoint,
  cleanCheckpoints,
  listCheckpoints,
  openNewestCheckpoint,
  removeCheckpoint,
  type TrainerState,
} from "./checkpoint.ts";
import type { MambaConfig } from "./config.ts";
import { requireRows, selectedCorpus, type TrainingCorpus } from "./corpus.ts";
import { localModel } from "./hub.ts";
import { readMetrics } from "./metrics.ts";
import { parameterCount, parameterList } from "./parameters.ts";
import type { KernelTime } from "../kernels/plan.ts";
import { writeRunReport } from "./report/run_report.ts";
import {
  configChanges,
  isDone,
  isRun,
  markDone,
  newRun,
  readRun,
  type RunFile,
  writeRun,
} from "./run.ts";
import { checkFits, openStart, type StartingPoint } from "./start.ts";
import { type LoopResult, totalSteps, trainLoop } from "./train.ts";
import {
  mergeConfig,
  type PartialConfig,
  resolveConfig,
  type TrainConfig,
} from "./train_config.ts";
import type { RunListener } from "./run_listener.ts";
import { sampler } from "./samples.ts";
import { trainingTerms } from "./training_terms.ts";
import type { Moments, RecurrentModel, TrainableModel, TrainingTerms } from "./types.ts";

/** A model, ready to hold weights, and the device that it lives on. */
export interface MadeModel {
  model: TrainableModel;
  /** One line that names the device. */
  device: string;
  /** The recurrent form of `model`, on its own weights as they are then. The caller destroys it. */
  recurrent?(): Promise<RecurrentModel>;
  /** When each kernel of a step runs on the device, where it can tell. */
  timeline?(): Promise<KernelTime[]>;
  /** True once the device is gone for good, other than by `close`. */
  lost?(): boolean;
  /** Frees the model and the device. */
  close(): void;
}

/** Makes a model for batches of a shape. Its weights are written afterwards. */
export type MakeModel = (
  config: MambaConfig,
  shape: TrainingTerms & {
    batchSize: number;
    sequenceLength: number;
    /** False for a model that only evaluates; by default true. */
    training?: boolean;
  },
) => Promise<MadeModel>;

/** What {@linkcode trainRun} takes. */
export interface TrainRequest {
  corpus: TrainingCorpus;
  /** A model folder, a Hugging Face id or `random:<preset>`; with `resume` it may be left out. */
  init?: string;
  /** The run folder. */
  out: string;
  /** Keys that differ from the defaults or, with `resume`, from the run's own configuration. */
  config: PartialConfig;
  /** Named in errors about `config`. */
  configSource?: string;
  resume: boolean;
  makeModel: MakeModel;
  /** Gets the times of one step's kernels before training begins. */
  onProfile?: (times: KernelTime[]) => void;
  listener?: RunListener;
  reporter: Reporter;
  signal: AbortSignal;
  resumeHint?: string;
}

const START: TrainerState = { step: 0, rows: 0, tokens: 0 };

/** How often a run begins again after its device was lost. */
const MOST_DEVICE_LOSSES = 3;

/**
 * Trains a run from its start or, with `resume`, from its newest undamaged checkpoint; a resumed run
 * ends with the same bytes as one that was never stopped. Where the device is lost it is opened
 * again, at most 3 times, and the run goes on from its newest checkpoint.
 * @throws {UserError} for bad input, before anything is written; or as {@linkcode trainLoop} does.
 */
export async function trainRun(request: TrainRequest): Promise<LoopResult> {
  const { out, reporter } = request, plan = await planRun(request), { corpus } = plan;
  const steps = totalSteps(plan.config, corpus.sequenceLength);
  for (let losses = 0;; losses++) {
    const going = losses > 0 || request.resume;
    const checkpoint = going
      ? openNewestCheckpoint(out, (damage) => reporter.log(`${damage}; trying the one before`))
      : undefined;
    if (checkpoint && checkpoint.state.step >= steps) {
      checkpoint.close();
      reporter.log(`The run is finished; more --steps than ${steps} make it longer`);
      const result = finishedResult(out, checkpoint);
      if (!isDone(out)) markDone(out, result); // killed between its last checkpoint and the mark
      return result;
    }
    let made: MadeModel | undefined;
    const make: MakeModel = async (...args) => made = await request.makeModel(...args);
    try {
      return await trainFrom({ ...request, corpus, makeModel: make }, plan, checkpoint);
    } catch (error) {
      // A device's loss shows first in whatever waited for it; its own word comes a turn later.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (!made?.lost?.() || losses === MOST_DEVICE_LOSSES) throw error;
      reporter.log(
        `The device was lost (${messageOf(error)}); opening it again, ` +
          `${losses + 1} of ${MOST_DEVICE_LOSSES}`,
      );
    } finally {
      made?.close();
    }
  }
}

/** A run's settings, checked. */
interface RunPlan {
  init: string;
  config: TrainConfig;
  /** With the documents that the configuration selects. */
  corpus: TrainingCorpus;
}

async function planRun(request: TrainRequest): Promise<RunPlan> {
  const { out, resume, reporter } = request;
  // A folder by its whole path: found again from anywhere, and not taken for a hub id.
  const given = request.init !== undefined && exists(request.init)
    ? resolve(request.init)
    : request.init;
  requireRows(request.corpus, "train");
  const old = resume ? readRun(out) : undefined;
  if (!old) refuseExisting(out);
  const source = request.configSource ?? "the command line";
  const config = resolveConfig(mergeConfig({ ...old?.config }, request.config), source);
  const corpus = await selectedCorpus(request.corpus, config.data, reporter);
  requireRows(corpus, "train");
  if (old) checkSameRun({ ...request, corpus }, given, old);
  if (config.validation.every) requireRows(corpus, "validation");
  if (old) {
    cleanCheckpoints(out);
    for (const change of configChanges(old.config, config)) reporter.log(`Changed: ${change}`);
  }
  const init = old?.init ?? given;
  if (init === undefined) throw new UserError("Cannot train: say what from with --init");
  return { init, config, corpus };
}

/** Trains from a checkpoint, which it closes, or from the start. */
async function trainFrom(
  request: TrainRequest,
  { init, config }: RunPlan,
  checkpoint: Checkpoint | undefined,
): Promise<LoopResult> {
  const { corpus, out, reporter, signal, resumeHint } = request, { sequenceLength } = corpus;
  const start = checkpoint
    ? startOfCheckpoint(checkpoint, corpus)
    : openStart(await localModel(init, reporter), corpus, config.seed);
  try {
    const terms = trainingTerms(config, start.config);
    const shape = { batchSize: config.batch.rows, sequenceLength, ...terms };
    const { model, device, recurrent, timeline } = await request.makeModel(start.config, shape);
    const load = (from: Checkpoint | undefined): TrainerState => {
      model.writeParameters(from?.folder.read ?? start.read);
      model.writeMoments(from?.moments ?? noMoments(start.config));
      if (from?.average && terms.averageDecay) model.writeAverages(from.average);
      model.writeLossScale?.(from?.state.lossScale);
      const state = from?.state ?? START;
      // Checkpoints past this one, damaged or left behind, would be taken for this run's.
      for (const { path, step } of listCheckpoints(out)) {
        if (step > state.step) removeCheckpoint(path);
      }
      return state;
    };
    const state = load(checkpoint);
    Deno.mkdirSync(out, { recursive: true });
    const run = recordRun(request, { init, config, device, model: start.config, state });
    markDone(out);
    reporter.log(describe(run, start.config, state, totalSteps(config, sequenceLength)));
    if (request.onProfile) {
      if (!timeline) throw new UserError("Cannot profile: this kind of model tells no times");
      await timeline(); // compiles
      request.onProfile(await timeline());
    }
    const result = await trainLoop({
      run: out,
      corpus,
      config,
      model,
      state,
      tokenizer: start.tokenizer,
      card: (state) => cardOf(run, out, start.config, state),
      onValidated: () => writeRunReport(out),
      listener: request.listener,
      sample: sampler(config, start.tokenizer, recurrent, (message) => reporter.log(message)),
      restore() {
        const { every } = config.checkpoint, log = (damage: string) => reporter.log(damage);
        // Not to where the run was stopped by chance: it is to end as if it never had been.
        const newest = openNewestCheckpoint(out, log, (step) => every > 0 && step % every === 0) ??
          openNewestCheckpoint(out, log);
        try {
          return { ...load(newest) };
        } finally {
          newest?.close();
        }
      },
      reporter,
      signal,
      resumeHint,
    });
    if (result.finished) markDone(out, result);
    return result;
  } finally {
    start.close();
    checkpoint?.close();
  }
}

/** The moments that every run begins with. */
function noMoments(model: MambaConfig): (name: string) => Moments {
  const sizes = new Map(parameterList(model).map(({ name, size }) => [name, size]));
  const zeros = (name: string) => new Float32Array(sizes.get(name)!);
  return (name) => ({ m: zeros(name), v: zeros(name) });
}

/** The result of a run that has nothing left to do. */
function finishedResult(out: string, { path, state }: Checkpoint): LoopResult {
  const { step, tokens } = state, metrics = readMetrics(out, step);
  const validationLoss = metrics.findLast((m) => m.validation_loss !== undefined)?.validation_loss;
  const loss = metrics.at(-1)?.loss ?? NaN;
  return {
    ...{
      step,
      finished: true,
      tokens,
      loss,
      seconds: 0,
      tokensPerSecond: 0,
      dataSeconds: 0,
      checkpoint: path,
    },
    ...(validationLoss === undefined ? {} : { validationLoss }),
  };
}

function refuseExisting(out: string): void {
  if (isRun(out)) {
    throw new UserError(
      `Cannot start a run in ${out}: there is one already; go on with it by --resume, ` +
        `or name another folder with --out`,
    );
  }
  if (!exists(out)) return;
  // What a run left that was killed as it began does not count.
  const holds = (folder: string) =>
    [...Deno.readDirSync(folder)].some(({ name }) => !name.endsWith(PARTIAL_SUFFIX));
  if (!Deno.statSync(out).isDirectory || holds(out)) {
    throw new UserError(`Cannot start a run in ${out}: it is not an empty folder`);
  }
}

function checkSameRun(
  { corpus, out }: TrainRequest,
  init: string | undefined,
  old: RunFile,
): void {
  if (init !== undefined && init !== old.init) {
    throw new UserError(
      `Cannot resume ${out} from --init ${init}: it was started from ${old.init}`,
    );
  }
  if (corpus.manifestSha256 !== old.corpus.manifest_sha256) {
    throw new UserError(
      `Cannot resume ${out}: the corpus ${corpus.path} is not the one it was started with ` +
        `(manifest ${corpus.manifestSha256.slice(0, 12)}..., the run's ` +
        `${
          old.corpus.manifest_sha256.slice(0, 12)
        }...), or other documents of it are selected; start a new run from its last checkpoint`,
    );
  }
}

/** A checkpoint as a starting point. */
function startOfCheckpoint(checkpoint: Checkpoint, corpus: TrainingCorpus): StartingPoint {
  const { folder, path } = checkpoint;
  checkFits(path, folder.config, folder.tokenizerFile, corpus);
  const tokenizer = folder.tokenizerFile
    ? Deno.readFileSync(folder.tokenizerFile)
    : corpus.tokenizer();
  // Closed with the checkpoint.
  return { config: folder.config, read: folder.read, tokenizer, close() {} };
}

/** Writes run.json, of a new run or with one more resumption. */
function recordRun(
  { corpus, out, reporter }: TrainRequest,
  now: {
    init: string;
    config: RunFile["config"];
    device: string;
    model: MambaConfig;
    state: TrainerState;
  },
): RunFile {
  const { init, config, device, model, state } = now;
  const old = isRun(out) ? readRun(out) : undefined;
  const resumption = { at: new Date().toISOString(), step: state.step, device };
  const changes = old ? roundingChanges(old, now) : [];
  if (changes.length) {
    reporter.log(
      `Going on with ${
        changes.join(" and ")
      }: results equal those of a run that was never stopped ` +
        `within rounding, not to the byte`,
    );
  }
  const run = old ? { ...old, config, resumed: [...old.resumed, resumption] } : newRun({
    init,
    corpus: {
      path: resolve(corpus.path),
      manifest_sha256: corpus.manifestSha256,
      tokenizer_sha256: corpus.tokenizerSha256,
    },
    config,
    sequence_length: corpus.sequenceLength,
    device,
  }, model);
  writeRun(out, run);
  return run;
}

/** What differs from the run so far that changes the order of sums, and nothing else. */
function roundingChanges(
  old: RunFile,
  { config, device }: { config: RunFile["config"]; device: string },
): string[] {
  const before = old.resumed.at(-1)?.device ?? old.device, { batch } = old.config;
  const { rows, accumulate } = config.batch,
    same = rows * accumulate === batch.rows * batch.accumulate;
  return [
    ...(before === device ? [] : [`another device (${device}, before ${before})`]),
    ...(same && rows !== batch.rows
      ? [
        `another split of the batch (${rows} x ${accumulate}, before ${batch.rows} x ${batch.accumulate})`,
      ]
      : []),
  ];
}

function describe(run: RunFile, model: MambaConfig, state: TrainerState, steps: number): string {
  const { rows, accumulate } = run.config.batch;
  const batch = `${rows}${accumulate > 1 ? ` x ${accumulate}` : ""} rows of ${run.sequence_length}`;
  const first = state.step + 1;
  return `Training ${parameterCount(model).toLocaleString("en")} parameters, steps ${first} to ` +
    `${steps} of ${batch} tokens, ${
      run.config.precision === "mixed" ? "in mixed precision, " : ""
    }on ${run.resumed.at(-1)?.device ?? run.device}`;
}

/** The model card of a checkpoint. */
function cardOf(run: RunFile, out: string, model: MambaConfig, state: TrainerState): string {
  return modelCard({
    name: basename(resolve(out)),
    base: run.init.startsWith("random:") ? undefined : run.init,
    parameters: parameterCount(model),
    steps: state.step,
    tokens: state.tokens,
    sequenceLength: run.sequence_length,
    manifestSha256: run.corpus.manifest_sha256,
  });
}
