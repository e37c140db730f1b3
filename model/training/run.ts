/** A training run as a whole: its folder, its start, going on with it, its end. @module */
import project from "../../deno.json" with { type: "json" };
import { messageOf, UserError } from "../../core/errors.ts";
import type { Peaks } from "../../kernels/peaks.ts";
import type { KernelTime } from "../../kernels/plan.ts";
import {
  type Checkpoint,
  listCheckpoints,
  openNewestCheckpoint,
  pruneCheckpoints,
  removeCheckpoint,
  type TrainerState,
} from "./checkpoint.ts";
import {
  type MadeModel,
  type MakeModel,
  type MambaConfig,
  type Moments,
  parameterList,
} from "../mamba/mod.ts";
import { localModel } from "../weights/mod.ts";
import { readMetrics, runFigures } from "./metrics.ts";
import { isDone, markDone, type RunFile } from "./run_file.ts";
import { adaptedConfig, requireSameAdapters } from "./adapters.ts";
import { cardOf, describe, recordRun } from "./description.ts";
import { planRun, type RunPlan, type TrainRequest } from "./plan.ts";
import { sampler } from "./samples.ts";
import { openStart, startOfCheckpoint } from "./start.ts";
import { type LoopResult, trainLoop } from "./loop.ts";
import { ALONE, requireSame, warnOfSharedDevices } from "./job.ts";
import { shareOf } from "./share.ts";
import { totalSteps } from "./schedule.ts";
import { trainingTerms } from "./terms.ts";

export type { TrainRequest };

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
  const { out, reporter } = request;
  const plan = await planRun(request);
  const { corpus } = plan;
  const job = request.job ?? ALONE;
  const pin = ({ corpus: begun, followed = [] }: RunFile) => {
    const needed = [begun, ...followed].map((one) => one.shards_sha256 ?? one.manifest_sha256);
    if (job.leads) request.corpus.pin?.(out, needed);
  };
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
      // Killed between its last checkpoint and the mark, or before that checkpoint took the place of
      // older ones.
      if (!job.leads) return result;
      if (!isDone(out)) markDone(out, result);
      pruneCheckpoints(out, plan.config.checkpoint.keep, checkpoint.state.best?.step);
      return result;
    }
    let made: MadeModel | undefined;
    const make: MakeModel = async (...args) => made = await request.makeModel(...args);
    try {
      const result = await trainFrom(
        { ...request, corpus, makeModel: make },
        { ...plan, pin },
        checkpoint,
      );
      // What is done needs no shards any more.
      if (result.finished && job.leads) request.corpus.pin?.(out, []);
      return result;
    } catch (error) {
      // A lost device first shows as an error in whatever waited for it; the event that says it is
      // lost comes one turn of the event loop later.
      await new Promise((resolve) => setTimeout(resolve, 0));
      // Of several ranks the others would wait for this one: the job is started again as a whole.
      if (!made?.lost?.() || losses === MOST_DEVICE_LOSSES || job.size > 1) throw error;
      reporter.log(
        `The device was lost (${messageOf(error)}); opening it again, ` +
          `${losses + 1} of ${MOST_DEVICE_LOSSES}`,
      );
    } finally {
      made?.close();
    }
  }
}

/** Trains from a checkpoint, which it closes, or from the start. */
async function trainFrom(
  request: TrainRequest,
  { init, config, followed, pin }: RunPlan & { pin(run: RunFile): void },
  checkpoint: Checkpoint | undefined,
): Promise<LoopResult> {
  const { corpus, out, reporter, signal, resumeHint, job = ALONE } = request;
  const { sequenceLength } = corpus;
  const start = checkpoint
    ? startOfCheckpoint(checkpoint, corpus)
    : openStart(await localModel(init, reporter), corpus, { ...config, named: init });
  try {
    if (checkpoint) {
      requireSameAdapters(out, start.config, adaptedConfig(start.config, config.lora));
    }
    const terms = trainingTerms(config, start.config);
    const share = shareOf(config.batch, job);
    const { lanes } = share;
    const shape = { batchSize: share.rows, sequenceLength, ...terms, lanes, ranks: job.ranks };
    const made = await request.makeModel(start.config, shape);
    const { model, device, recurrent, memory } = made;
    await requireSame(job, {
      "program version": project.version,
      "command or configuration": JSON.stringify(config),
      "corpus": corpus.manifestSha256,
      "start of the model": init,
      "checkpoint": checkpoint ? String(checkpoint.state.step) : "none",
      "device": device,
    });
    await warnOfSharedDevices(job, made, reporter);
    // Before the weights are written, because profiling runs a step, which changes them.
    const { onProfile } = request;
    const profile = onProfile && await profileStep(made);
    const load = (from: Checkpoint | undefined): TrainerState => {
      model.writeParameters(from?.folder.read ?? start.read);
      model.writeMoments(from?.moments ?? noMoments(start.config));
      if (from?.average && terms.averageDecay) model.writeAverages(from.average);
      model.writeLossScale?.(from?.state.lossScale);
      const state = from?.state ?? START;
      // Later checkpoints, damaged or left behind, would be taken for those of the run from here on.
      for (const { path, step } of job.leads ? listCheckpoints(out) : []) {
        if (step > state.step) removeCheckpoint(path);
      }
      return state;
    };
    const state = load(checkpoint);
    const now = { init, config, device, model: start.config, state, share, followed };
    const run = recordRun(request, now);
    pin(run);
    if (job.leads) markDone(out);
    reporter.log(describe(run, start.config, state, totalSteps(config, sequenceLength)));
    if (profile) onProfile?.(...profile);
    const looped = await trainLoop({
      run: out,
      corpus,
      config,
      model,
      state,
      random: init.startsWith("random:"),
      job,
      share,
      tokenizer: start.tokenizer,
      card: (state) => cardOf(run, out, start.config, state),
      listener: request.listener,
      logEvery: request.logEvery,
      memory,
      sample: job.leads
        ? sampler(config, start.tokenizer, recurrent, (message) => reporter.log(message))
        : undefined,
      restore() {
        const { every } = config.checkpoint;
        const log = (damage: string) => reporter.log(damage);
        // Not to a checkpoint of a step where the run was stopped by chance: it is to end as if it had
        // never been stopped.
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
    // The rank that leads has the run's record; all places that tell its speed tell it from there.
    const result = job.leads ? { ...looped, ...speedOf(out) } : looped;
    if (result.finished && job.leads) markDone(out, result);
    return result;
  } finally {
    start.close();
    checkpoint?.close();
  }
}

/** A step's kernels, and what the device reaches at best. */
async function profileStep({ timeline, peaks }: MadeModel): Promise<[KernelTime[], Peaks?]> {
  if (!timeline) throw new UserError("Cannot profile: this kind of model tells no times");
  const measured = await peaks?.();
  await timeline(); // compiles
  return [await timeline(), measured];
}

/** The moments that every run begins with. */
function noMoments(model: MambaConfig): (name: string) => Moments {
  const sizes = new Map(parameterList(model).map(({ name, size }) => [name, size]));
  return (name) => {
    const size = sizes.get(name);
    if (size === undefined) throw new RangeError(`No parameter is named ${name}`);
    return { m: new Float32Array(size), v: new Float32Array(size) };
  };
}

/** The time and the speed of a run's steps, by its record up to a step. */
function speedOf(out: string, step?: number): Pick<LoopResult, "seconds" | "tokensPerSecond"> {
  const { seconds, tokensPerSecond } = runFigures(readMetrics(out, step));
  return { seconds, tokensPerSecond };
}

/** The result of a run that has nothing left to do. */
function finishedResult(out: string, { path, state }: Checkpoint): LoopResult {
  const { step, tokens } = state;
  const metrics = readMetrics(out, step);
  const validationLoss = metrics.findLast((m) => m.validation_loss !== undefined)?.validation_loss;
  const loss = metrics.at(-1)?.loss ?? NaN;
  return {
    step,
    finished: true,
    tokens,
    loss,
    ...speedOf(out, step),
    secondsHere: 0,
    dataSeconds: 0,
    checkpoint: path,
    ...(validationLoss === undefined ? {} : { validationLoss }),
  };
}
