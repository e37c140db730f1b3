/**
 * The training loop. It knows the model by its interface only, so that tests run it on the float64
 * reference and users on a GPU.
 * @module
 */
import { Interrupted, UserError } from "../../core/errors.ts";
import { formatDuration, type Reporter } from "../../core/reporter.ts";
import type { StepReport, TrainableModel } from "../mamba/mod.ts";
import type { TrainerState } from "./checkpoint.ts";
import { LoopClock } from "./clock.ts";
import type { TrainConfig } from "./configuration.ts";
import { requireRows, type RowSource, type TrainingCorpus } from "./corpus.ts";
import { type HeldOutLoss, heldOutLoss } from "./perplexity.ts";
import { type RunListener, RunRecord } from "./record.ts";
import { agreeOn, type Job, type RankTimes, rankTimes } from "./job.ts";
import { sharedBatches } from "./rows.ts";
import type { NewSample } from "./samples.ts";
import type { ScoredRows } from "./validation_rows.ts";
import { totalSteps } from "./schedule.ts";
import { RunSaver } from "./saver.ts";
import type { StepShare } from "./share.ts";
import { judge, returnsPast, skipsInARow, spikeEvent, type Verdict } from "./spikes.ts";
import {
  describeFailure,
  queueGradients,
  type StepGradients,
  stepMetrics,
  updateOptions,
} from "./step.ts";

/** What the loop works with. */
interface LoopOptions {
  /** The run folder. */
  run: string;
  corpus: TrainingCorpus;
  config: TrainConfig;
  /** Holding the weights and moments of `state`. */
  model: TrainableModel;
  /** Where the run stands. */
  state: TrainerState;
  /** Whether the run began with random weights, which its averages are to forget. */
  random?: boolean;
  /** The processes that share the run. */
  job: Job;
  /** This process's part of every step. */
  share: StepShare;
  /** The tokenizer.json that goes into each checkpoint. */
  tokenizer?: Uint8Array;
  /** The model card that goes into the checkpoint of a state. */
  card?: (state: TrainerState) => string;
  /** Steps between the lines that stay; by the length of the run where not said. */
  logEvery?: number;
  /** Bytes that the model has taken of its device; those of the process where not said. */
  memory?: () => number;
  /** Hears of every step. */
  listener?: RunListener;
  /** Has the model write samples, from the weights that it holds. */
  sample?: () => Promise<NewSample[]>;
  /** Puts the model back to the newest checkpoint, or to the start, and returns the state there. */
  restore: () => TrainerState;
  reporter: Reporter;
  /** Has the loop save and stop. */
  signal: AbortSignal;
  /** How to go on after an interruption, for the closing message. */
  resumeHint?: string;
}

/** What a run came to. */
export interface LoopResult {
  /** Updates done in all. */
  step: number;
  /** Whether these are all that the configuration asks for. */
  finished: boolean;
  /** Positions trained on, padding included. */
  tokens: number;
  /** The training loss of the last step, in nats per token. */
  loss: number;
  /** The last validation loss, in nats per token. */
  validationLoss?: number;
  /** What all steps of the run took, validations and saving left out: as the report has it. */
  seconds: number;
  /** Positions trained on per second of these. */
  tokensPerSecond: number;
  /** How long the loop took in this process, all told. */
  secondsHere: number;
  /** Of this process, spent reading rows and making batches; the device computes meanwhile. */
  dataSeconds: number;
  /** The last checkpoint. */
  checkpoint: string;
  /** How each of several ranks spent the loop's time. */
  ranks?: RankTimes[];
}

/**
 * Trains from `state` to the last step: draw rows, accumulate gradients, update, judge, validate,
 * log, save, step after step.
 *
 * Several ranks run it side by side: each computes its share of every step, sees the same sums and
 * comes to the same decisions; rank 0 alone writes.
 *
 * The device never waits for the host. While it computes a step, the next step's rows are drawn and
 * their gradients are queued behind it (`ahead`), and a checkpoint is read off the device and
 * written piece by piece (`saver`).
 *
 * The function is longer than 100 lines so that a reader finds the whole of a step in one place.
 * @throws {Interrupted} after saving, when the signal fires.
 * @throws {UserError} where loss or gradient are not finite, or the corpus is empty.
 */
export async function trainLoop(options: LoopOptions): Promise<LoopResult> {
  const { run, corpus, config, model, reporter, signal, listener, job, share } = options;
  const { spikes: spikeRules, validation, checkpoint } = config;
  const rows = requireRows(corpus, "train");
  const heldOut = validation.every > 0 ? requireRows(corpus, "validation") : undefined;
  const steps = totalSteps(config, model.sequenceLength);
  let state: TrainerState = { ...options.state };
  const record = new RunRecord({
    run,
    spikes: spikeRules,
    steps,
    reporter,
    listener,
    logEvery: options.logEvery,
    memory: options.memory ?? processMemory,
    writes: job.leads,
  }, state.step);
  const saver = new RunSaver({
    run,
    model,
    keep: checkpoint.keep,
    tokenizer: options.tokenizer,
    card: options.card,
    sync: () => record.sync(),
    writes: job.leads,
    ranks: job.ranks,
  }, state.step);
  const clock = new LoopClock();
  const tokens = config.batch.rows * config.batch.accumulate * model.sequenceLength;
  /** Gradients of the step after `state`, where they are queued already. */
  let ahead: StepGradients | undefined;
  let validationLoss: number | undefined;
  let tokensHere = 0;
  let path: string;

  /** Draws the rows of the step after `state` and queues their gradients on the device. */
  const queueNext = (before?: () => void): StepGradients => {
    const { seed } = config;
    const mine = clock.reading(() => sharedBatches(rows, state.rows, { seed, share }, corpus));
    const part = { ...mine, first: share.first, lanes: share.lanes };
    return queueGradients(model, part, { seed, step: state.step }, () => {
      before?.();
      saver.readPiece();
    });
  };
  const isLate = () => checkpoint.minutes > 0 && saver.age >= checkpoint.minutes * 60_000;
  const isDue = (every: number) => every > 0 && (state.step % every === 0 || state.step === steps);

  try {
    while (state.step < steps) {
      const timeUp = clock.hasPassed(config.hours);
      const wanted = await agreeOn(job, { stop: signal.aborted, timeUp, late: isLate() });
      if (wanted.stop) {
        path = await saver.save(state);
        await job.barrier(); // nobody leaves while it is being written
        throw job.agreed(interruption(options, state.step, steps, path));
      }
      if (wanted.timeUp) break;

      // Draw rows and accumulate their gradients, unless that was done while the device was busy.
      const gradients = ahead ?? queueNext();
      ahead = undefined;

      // Update the weights.
      const step = state.step + 1;
      const update = updateOptions(config, step, steps, options.random);
      if (spikeRules.action === "skip") update.skipAbove = record.spikes.limits;
      await model.update(update);
      tokensHere += tokens;
      state.step = step;
      state.rows += tokens / model.sequenceLength;
      state.tokens += tokens;
      await clock.letSignalsIn(); // here, where the device has the most to do meanwhile

      // Go ahead to the next step's gradients, unless a validation needs the device in between. This
      // step's report has to be asked for before anything else is queued.
      const asked: { report?: Promise<StepReport> } = {};
      const validates = isDue(validation.every);
      if (!validates && step < steps && !signal.aborted) {
        ahead = queueNext(() => asked.report = model.report());
      }
      const report = await (asked.report ?? model.report());

      // Judge the step by its loss and the norm of its gradient.
      const verdict = judge(step, report, record.spikes, spikeRules);
      for (const line of verdict.lines) reporter.log(line);
      if (verdict.action === "fail") {
        await saver.finish();
        const what = await describeFailure(model, gradients, report, undefined, job);
        throw job.agreed(failure(step, what, saver));
      }
      if (verdict.action === "rollback") {
        state = await rollBack(options, { step, gradients, report, verdict }, state, record, saver);
        ahead = undefined; // gradients of weights that are gone
        clock.startStep();
        continue;
      }
      if (verdict.action === "skip") {
        if (skipsInARow(state.spikes ?? [], step) >= spikeRules.limit) {
          await saver.finish();
          const what = await describeFailure(model, gradients, report, undefined, job);
          const why = `leaving out ${spikeRules.limit} updates in a row`;
          throw job.agreed(failure(step, what, saver, why));
        }
        state.spikes = [...state.spikes ?? [], spikeEvent(step, report, verdict, "skip")];
        record.noteSpikes(state.spikes);
      }
      const metrics = stepMetrics({ ...report, skipped: verdict.action === "skip" }, {
        step,
        learningRate: update.learningRate,
        tokens: state.tokens,
        own: tokens,
        seconds: clock.stepSeconds,
      });
      const last = state.spikes?.at(-1);
      if (last?.back_to === step - 1) metrics.rolled_back_from = last.step;

      // Validate.
      let samples: NewSample[] | undefined;
      let heldOutRows: ScoredRows[] | undefined;
      if (validates && heldOut) {
        const seen = await validate(options, heldOut);
        samples = seen.samples;
        heldOutRows = seen.parts;
        validationLoss = seen.loss;
        metrics.validation_loss = seen.loss;
        if (seen.byCorpus) {
          const parts = Object.entries(seen.byCorpus);
          for (const [name, loss] of parts) metrics[`validation_loss:${name}`] = loss;
          const told = parts.map(([name, loss]) => `${name} ${loss.toFixed(4)}`);
          reporter.log(`Validation after step ${step}: ${told.join(", ")}`);
        }
        if (!state.best || seen.loss < state.best.loss) state.best = { step, loss: seen.loss };
      }

      // Log.
      record.write(metrics, samples, heldOutRows);
      clock.startStep();

      // Save. A new best is saved whenever it is found, as it is what most people will want to use.
      await saver.advance();
      const isBest = validates && state.best?.step === step;
      if (step < steps && (isDue(checkpoint.every) || wanted.late || isBest)) {
        const going = await saver.saveInBackground(state);
        if (!going) {
          await saver.save(state);
          clock.startStep();
        }
      }
    }
    path = await saver.save(state);
    record.close();
  } catch (error) {
    record.close();
    await saver.abort();
    throw error;
  } finally {
    saver.close();
  }
  const finished = state.step >= steps;
  const spent = await rankTimes(job, clock.seconds);
  const { seconds: secondsHere } = clock;
  if (!finished) {
    reporter.log(
      `Stopped after ${formatDuration(secondsHere)}, the limit of this run; --resume goes on`,
    );
  }
  return {
    step: state.step,
    finished,
    tokens: state.tokens,
    loss: record.last?.loss ?? NaN,
    ...(validationLoss === undefined ? {} : { validationLoss }),
    seconds: secondsHere,
    tokensPerSecond: tokensHere / secondsHere,
    secondsHere,
    dataSeconds: clock.readingSeconds,
    checkpoint: path,
    ...(spent === undefined ? {} : { ranks: spent }),
  };
}

/** Bytes of this process. */
const processMemory = (): number => Deno.memoryUsage().rss;

/** The validation loss, and samples, of the averaged weights where the run keeps them. */
async function validate(
  { model, config, corpus, sample, job }: LoopOptions,
  heldOut: RowSource,
): Promise<HeldOutLoss & { samples?: NewSample[] }> {
  const { weights, rows } = config.validation;
  const averaged = config.average.decay > 0 && weights === "average";
  if (averaged) await model.swapAverages();
  const seen = await heldOutLoss(model, heldOut, { count: rows, seed: config.seed, job }, corpus);
  const samples = await sample?.();
  if (averaged) await model.swapAverages();
  return samples ? { ...seen, samples } : seen;
}

/** A step whose update the run undoes. */
interface UndoneStep {
  step: number;
  gradients: StepGradients;
  report: StepReport;
  verdict: Verdict;
}

/**
 * Puts the model back to the newest checkpoint. Returns the state from which the run goes on: that of
 * the checkpoint, but with the rows after those that led to the spike.
 * @throws {UserError} where the run has come back from the same stretch too often.
 */
async function rollBack(
  { model, config, restore, reporter, job }: LoopOptions,
  { step, gradients, report, verdict }: UndoneStep,
  { rows, spikes = [] }: TrainerState,
  record: RunRecord,
  saver: RunSaver,
): Promise<TrainerState> {
  await saver.finish();
  await job.barrier(); // every rank is to see the checkpoint that was being written
  const { limit } = config.spikes;
  const what = await describeFailure(model, gradients, report, verdict.what[0], job);
  const back = restore();
  saver.restored(back.step);
  if (returnsPast(spikes, back.step) >= limit) {
    throw job.agreed(failure(step, what, saver, `going back to step ${back.step} ${limit} times`));
  }
  const left = rows - back.rows;
  reporter.log(
    `Going back from step ${step} to step ${back.step}, and on without the ` +
      `${left} rows between them`,
  );
  record.rewind(back.step);
  const event = spikeEvent(step, report, verdict, "rollback");
  const all = [...spikes, { ...event, back_to: back.step, rows_left_out: left }];
  record.noteSpikes(all);
  return { ...back, rows, spikes: all };
}

/** The error of a run that cannot go on after a step. */
function failure(step: number, what: string, saver: RunSaver, why?: string): UserError {
  const saved = saver.saved
    ? `the last good checkpoint is ${saver.saved.path}`
    : "no checkpoint was saved before it";
  return new UserError(
    `Training stopped at step ${step}: ${what}${why ? `, after ${why}` : ""}; ${saved}; ` +
      `go on from there with a lower optimizer.learning_rate`,
  );
}

/** What a run that was told to stop says in the end. */
function interruption(
  { resumeHint }: LoopOptions,
  step: number,
  steps: number,
  path: string,
): Interrupted {
  const hint = resumeHint ? `; go on with: ${resumeHint}` : "";
  return new Interrupted(`Stopped after step ${step} of ${steps}; saved in ${path}${hint}`);
}
