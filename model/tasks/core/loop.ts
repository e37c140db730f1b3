/**
 * The fine-tuning loop: epochs over supervised examples, AdamW under a schedule, and after every
 * epoch the development score that chooses the checkpoint. Goes on exactly from a checkpoint.
 * @module
 */
import { Interrupted, UserError } from "../../../core/errors.ts";
import type { Reporter } from "../../../core/reporter.ts";
import {
  describeFailure,
  MetricsWriter,
  pruneCheckpoints,
  queueGradients,
  readMetrics,
  saveCheckpoint,
  type StepMetrics,
  stepMetrics,
  type TrainConfig,
  type TrainerState,
  updateOptions,
  wholeStep,
} from "../../training/mod.ts";
import type { TrainableModel } from "../../mamba/types.ts";
import { type Taught } from "../../weights/mod.ts";
import type { Development } from "./task.ts";
import { stepExamples, stepsPerEpoch } from "./batching.ts";
import { packExamples, type SupervisedExample } from "./examples.ts";
import { packTexts } from "./head_examples.ts";

/** What the loop works with. */
interface FinetuneLoopOptions {
  run: string;
  /** Holding the weights and moments of `state`. */
  model: TrainableModel;
  /** `steps` is all epochs' steps; a step takes rows x accumulate examples. */
  config: TrainConfig;
  examples: SupervisedExample[];
  /** Where the run stands; `rows` counts examples, `best.loss` is 1 - the development score. */
  state: TrainerState;
  develop: () => Promise<Development>;
  /** Epochs without a better development score that end the run; 0 for never. */
  patience?: number;
  tokenizer?: Uint8Array;
  card?: string;
  /** Kept with the weights. */
  taught?: Taught;
  reporter: Reporter;
  signal: AbortSignal;
  resumeHint?: string;
}

/** A line of metrics.jsonl; the development figures stand where an epoch ends. */
export interface FinetuneMetrics extends StepMetrics {
  epoch: number;
  dev_score?: number;
  dev_loss?: number;
}

/** The metrics of a fine-tuning run, up to `lastStep`. */
export function readFinetuneMetrics(run: string, lastStep?: number): FinetuneMetrics[] {
  return readMetrics(run, lastStep) as FinetuneMetrics[];
}

/** Examples of one optimizer update. */
export function examplesPerStep(config: TrainConfig): number {
  return config.batch.rows * config.batch.accumulate;
}

/**
 * Trains from `state` to the last epoch and returns the final state, whose `best` names the step of
 * the checkpoint to use: of those with the highest development score the one with the lowest loss.
 * With `patience` it ends where so many epochs brought no higher score; learning rates are those of
 * the whole plan all the same.
 * @throws {Interrupted} after saving, when the signal fires.
 * @throws {UserError} where loss or gradient are not finite.
 */
export async function finetuneLoop(options: FinetuneLoopOptions): Promise<TrainerState> {
  const { run, model, config, reporter, signal } = options;
  const { steps } = config;
  const perStep = examplesPerStep(config);
  const perEpoch = stepsPerEpoch(options.examples.length, perStep);
  const examplesOf = stepExamples(options.examples, perStep, config.seed);
  const state = { ...options.state };
  const metrics = new MetricsWriter(run, state.step);
  const progress = reporter.progress("Fine-tuning", steps, "steps", state.step);
  const lines: FinetuneMetrics[] = readFinetuneMetrics(run, state.step);
  let bestLoss = lines.find((m) => m.step === state.best?.step)?.dev_loss ?? Infinity;
  const save = async () => {
    metrics.sync();
    const { tokenizer, card, taught } = options;
    const path = await saveCheckpoint(run, model, state, { tokenizer, card, taught });
    pruneCheckpoints(run, 1, state.best?.step);
    return path;
  };
  try {
    // A run that was killed after it had ended early has nothing more to learn.
    const ended = () => state.step >= steps || isPatienceOver(lines, options.patience);
    while (!ended()) {
      const line = await trainStep(options, state, examplesOf(state.step));
      if (state.step % perEpoch === 0 || state.step === steps) {
        progress.finish(); // the examination has a bar of its own
        const { score, loss } = await options.develop();
        line.dev_loss = loss;
        line.dev_score = score;
        const error = 1 - score;
        const { best } = state;
        const trained = meanLoss([...lines, line], line.epoch);
        let chosen = "";
        if (!best || error < best.loss || error === best.loss && loss < bestLoss) {
          state.best = { step: state.step, loss: error };
          bestLoss = loss;
          chosen = ", the best so far";
        }
        reporter.log(
          `Epoch ${line.epoch} of ${Math.ceil(steps / perEpoch)}: training loss ` +
            `${trained.toFixed(4)}, development score ${score.toFixed(4)}, ` +
            `development loss ${loss.toFixed(4)}${chosen}`,
        );
        metrics.write(line);
        await save();
      } else {
        metrics.write(line);
      }
      lines.push(line);
      progress.update(state.step, `loss ${line.loss.toFixed(4)}`);
      // Lets signals in, where the model computes on this thread.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (signal.aborted && !ended()) {
        throw new Interrupted(
          `Stopped after step ${state.step} of ${steps}; saved in ${await save()}` +
            (options.resumeHint ? `; go on with: ${options.resumeHint}` : ""),
        );
      }
    }
    if (state.step < steps) {
      reporter.log(
        `Stopped early after epoch ${Math.ceil(state.step / perEpoch)} of ` +
          `${Math.ceil(steps / perEpoch)}: the development score did not rise for ` +
          `${options.patience} ${options.patience === 1 ? "epoch" : "epochs"}`,
      );
    }
    return state;
  } finally {
    progress.finish();
    metrics.close();
  }
}

/**
 * Whether the last `patience` development scores are none higher than the best one before them; never
 * for a patience of 0.
 */
function isPatienceOver(lines: readonly FinetuneMetrics[], patience = 0): boolean {
  if (patience === 0) return false;
  const scores = lines.flatMap(({ dev_score }) => dev_score === undefined ? [] : [dev_score]);
  const first = scores.indexOf(Math.max(...scores));
  return scores.length - 1 - first >= patience;
}

/** The mean training loss of an epoch's steps that were taken. */
function meanLoss(lines: readonly FinetuneMetrics[], epoch: number): number {
  const taken = lines.filter((line) => line.epoch === epoch && Number.isFinite(line.loss));
  return taken.reduce((sum, line) => sum + line.loss, 0) / taken.length;
}

/** One optimizer update on some examples. Advances `state`. */
export async function trainStep(
  options: Pick<FinetuneLoopOptions, "model" | "config" | "examples">,
  state: TrainerState,
  some: SupervisedExample[],
): Promise<FinetuneMetrics> {
  const { model, config, examples } = options;
  const { batchSize, sequenceLength } = model;
  const began = performance.now();
  const { head, endOfText } = model.config;
  const batches = head
    ? packTexts(some, head, batchSize, sequenceLength, endOfText)
    : packExamples(some, batchSize, sequenceLength, endOfText);
  const gradients = queueGradients(model, wholeStep(batches), {
    seed: config.seed,
    step: state.step,
  });
  const step = state.step + 1;
  const update = updateOptions(config, step, config.steps);
  await model.update(update);
  const report = await model.report();
  // In mixed precision an overflow leaves the update out and lowers the scale: that is no failure.
  const finite = Number.isFinite(report.loss) && Number.isFinite(report.gradNorm);
  if (!finite && !report.overflow) {
    throw new UserError(
      `Fine-tuning stopped at step ${step}: ${await describeFailure(model, gradients, report)}; ` +
        `start again with a lower --learning-rate`,
    );
  }
  // What was read; the padding of rows is no part of it.
  const own = some.reduce((sum, example) => sum + example.tokens.length, 0);
  state.step = step;
  state.rows += some.length;
  state.tokens += own;
  const seconds = (performance.now() - began) / 1000;
  const { tokens } = state;
  const { learningRate } = update;
  return {
    ...stepMetrics(report, { step, learningRate, tokens, own, seconds }),
    epoch: Math.ceil(step / stepsPerEpoch(examples.length, examplesPerStep(config))),
  };
}
