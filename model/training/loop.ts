/**
 * The training loop: rows in a seeded order, gradient accumulation, AdamW under a schedule,
 * checkpoints, and going on from one exactly. It knows the model by its interface only.
 * @module
 */
import { collectGarbage } from "../../core/collect.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { formatDuration, type Reporter } from "../../core/reporter.ts";
import type { TrainerState } from "./checkpoint.ts";
import { requireRows, type RowSource, type TrainingCorpus } from "./corpus.ts";
import { meanLoss } from "./perplexity.ts";
import type { RunListener } from "./listener.ts";
import { RunRecord } from "./record.ts";
import { RunSaver } from "./saver.ts";
import type { RunSample } from "./samples.ts";
import { judge, returnsPast, skipsInARow, type SpikeEvent, type Verdict } from "./spikes.ts";
import {
  describeFailure,
  queueGradients,
  type StepGradients,
  stepMetrics,
  tokensOf,
  updateOptions,
} from "./step.ts";
import type { TrainConfig } from "./configuration.ts";
import { stepBatches } from "./rows.ts";
import type { StepReport, TrainableModel } from "../mamba/types.ts";

/** What the loop works with. */
export interface LoopOptions {
  /** The run folder. */
  run: string;
  corpus: TrainingCorpus;
  config: TrainConfig;
  /** Holding the weights and moments of `state`. */
  model: TrainableModel;
  /** Where the run stands. */
  state: TrainerState;
  /** Files that go into each checkpoint besides weights and state. */
  tokenizer?: Uint8Array;
  card?: (state: TrainerState) => string;
  /** Called after each validation, with the metrics written. */
  onValidated?: () => void;
  listener?: RunListener;
  /** Has the model write samples, from the weights that it holds. */
  sample?: () => Promise<Omit<RunSample, "step">[]>;
  /** Puts the model back to the newest checkpoint, or to the start; returns where that is. */
  restore: () => TrainerState;
  reporter: Reporter;
  signal: AbortSignal;
  /** How to go on after an interruption, for the closing message. */
  resumeHint?: string;
}

/** What a run came to. */
export interface LoopResult {
  /** Updates done in all, and whether these are all of the configuration's. */
  step: number;
  /** Whether these are all that the configuration asks for. */
  finished: boolean;
  /** Positions trained on, padding included. */
  tokens: number;
  /** The last step's. */
  loss: number;
  /** The last one, in nats a token. */
  validationLoss?: number;
  /** Of this process, over the whole loop. */
  seconds: number;
  /** Of this process. */
  tokensPerSecond: number;
  /** Of this process, spent reading rows and making batches; the device computes meanwhile. */
  dataSeconds: number;
  /** The last checkpoint. */
  checkpoint: string;
}

/** A step that is queued and whose report has not come in yet. */
interface PendingStep {
  step: number;
  learningRate: number;
  gradients: StepGradients;
  /** Undefined until it is asked for. */
  report?: Promise<StepReport>;
}

/** A step's figures as its record keeps them. */
const eventOf = (step: number, { loss, gradNorm }: StepReport, { what }: Verdict) => ({
  step,
  what,
  loss: Number.isFinite(loss) ? loss : null,
  grad_norm: Number.isFinite(gradNorm) ? gradNorm : null,
});

/** Milliseconds between collections of garbage: a tenth of a second each. */
const COLLECT_EVERY = 60_000;

/** Updates of a run: as configured, or what its tokens come to. */
export function totalSteps(config: TrainConfig, sequenceLength: number): number {
  if (!config.tokens) return config.steps;
  return Math.ceil(config.tokens / (config.batch.rows * config.batch.accumulate * sequenceLength));
}

/**
 * Trains from `state` to the last step.
 * @throws {Interrupted} after saving, when the signal fires.
 * @throws {UserError} where loss or gradient are not finite, or the corpus is empty.
 */
export function trainLoop(options: LoopOptions): Promise<LoopResult> {
  return new Loop(options).run();
}

class Loop {
  readonly #options: LoopOptions;
  readonly #rows: RowSource;
  readonly #validation: RowSource | undefined;
  /** Of the whole run. */
  readonly #steps: number;
  readonly #record: RunRecord;
  readonly #began = performance.now();
  #state: TrainerState;
  /** Of this process. */
  #tokens = 0;
  #dataSeconds = 0;
  #pending: PendingStep | undefined;
  #validationLoss: number | undefined;
  readonly #saver: RunSaver;
  /** When the last step came in, the event loop turned, and so on. */
  #stepTime = performance.now();
  #turnTime = performance.now();
  #collectTime = performance.now();

  constructor(options: LoopOptions) {
    const { corpus, config, model, run, reporter } = options;
    this.#options = options;
    this.#rows = requireRows(corpus, "train");
    if (config.validation.every) this.#validation = requireRows(corpus, "validation");
    this.#steps = totalSteps(config, model.sequenceLength);
    this.#state = { ...options.state };
    const { spikes } = config;
    const steps = this.#steps;
    const about = { run, spikes, steps, reporter, listener: options.listener };
    this.#record = new RunRecord(about, this.#state.step);
    this.#saver = new RunSaver({
      run,
      model,
      keep: config.checkpoint.keep,
      tokenizer: options.tokenizer,
      card: options.card,
      state: () => this.#state,
      sync: () => this.#record.sync(),
    });
  }

  async run(): Promise<LoopResult> {
    const { signal } = this.#options;
    let finished = true;
    try {
      while (this.#state.step < this.#steps) {
        await this.#turn();
        if (signal.aborted) await this.#interrupt();
        if (this.#outOfTime()) {
          finished = false;
          break;
        }
        await this.#queueStep();
        if (this.#dueNow() && !await this.#settle()) continue;
        // At the end there is nothing left to go on with meanwhile.
        if (this.#state.step < this.#steps && this.#dueToSave()) {
          if (!await this.#saver.begin(!this.#pending)) await this.#save();
        }
      }
      await this.#save();
      this.#record.close();
      return this.#result(finished);
    } catch (error) {
      this.#record.close();
      await this.#saver.abort();
      throw error;
    } finally {
      this.#saver.close();
    }
  }

  /**
   * Prepares the next step's gradients while the device is at the step before, queues them as soon as
   * it is done, takes in that step's report, then queues the update. What waits for the device waits
   * between the two steps, and with the next one's commands at hand.
   */
  async #queueStep(): Promise<void> {
    const { config, corpus, model } = this.#options;
    const step = this.#state.step + 1;
    const began = performance.now();
    const batches = stepBatches(this.#rows, this.#state.rows, config, corpus);
    this.#dataSeconds += (performance.now() - began) / 1000;
    let fed: Promise<void> | undefined;
    const gradients = queueGradients(model, batches, () => {
      if (this.#pending) this.#pending.report = model.report();
      fed = this.#saver.feed();
    });
    // After going back there are other weights, and what was accumulated is void.
    if (!await this.#settle()) return;
    await fed;
    await this.#saver.advance();
    const options = updateOptions(config, step, this.#steps);
    const { learningRate } = options;
    const limited = config.spikes.action === "skip";
    model.update({ ...options, ...(limited ? { skipAbove: this.#record.spikes.limits } : {}) });
    this.#pending = { step, learningRate, gradients };
    this.#state.step = step;
    const tokens = tokensOf(model, batches);
    this.#state.rows += tokens / model.sequenceLength;
    this.#state.tokens += tokens;
    this.#tokens += tokens;
  }

  /**
   * Waits for the pending step's report, checks and records it. False where the run went back to a
   * checkpoint instead.
   */
  async #settle(): Promise<boolean> {
    const pending = this.#pending;
    if (!pending) return true;
    this.#pending = undefined;
    const { model, config, reporter } = this.#options;
    const { spikes } = this.#state;
    const report = await (pending.report ?? model.report());
    const { step, learningRate, gradients } = pending;
    const verdict = judge(step, report, this.#record.spikes, config.spikes);
    for (const line of verdict.lines) reporter.log(line);
    if (verdict.action === "fail") await this.#fail(pending, report);
    if (verdict.action === "rollback") {
      await this.#rollBack(pending, report, verdict);
      return false;
    }
    if (verdict.action === "skip") {
      if (skipsInARow(spikes ?? [], step) >= config.spikes.limit) {
        await this.#fail(pending, report, `leaving out ${config.spikes.limit} updates in a row`);
      }
      this.#note({ ...eventOf(step, report, verdict), action: "skip" });
    }
    const metrics = stepMetrics({ ...report, skipped: verdict.action === "skip" }, {
      step,
      learningRate,
      tokens: this.#state.tokens,
      own: tokensOf(model, gradients.batches),
      seconds: (performance.now() - this.#stepTime) / 1000,
    });
    const before = spikes?.at(-1);
    if (before?.back_to === step - 1) metrics.rolled_back_from = before.step;
    let samples: Omit<RunSample, "step">[] | undefined;
    if (this.#due(config.validation.every)) {
      const seen = await this.#validate();
      metrics.validation_loss = seen.loss;
      samples = seen.samples;
    }
    this.#record.write(metrics, samples);
    if (metrics.validation_loss !== undefined) this.#options.onValidated?.();
    this.#saver.settle(step);
    this.#stepTime = performance.now();
    return true;
  }

  /** Goes back to the newest checkpoint, and on from there with the rows after those seen. */
  async #rollBack(pending: PendingStep, report: StepReport, verdict: Verdict): Promise<void> {
    const { config, restore, reporter } = this.#options;
    const { step } = pending;
    await this.#saver.giveUp(step);
    const { rows, spikes = [] } = this.#state;
    const { limit } = config.spikes;
    const { gradients } = pending;
    const [bad] = verdict.what;
    const failure = await describeFailure(this.#options.model, gradients, report, bad);
    const back = restore();
    this.#saver.restored(back.step);
    if (returnsPast(spikes, back.step) >= limit) {
      throw this.#failure(step, failure, `going back to step ${back.step} ${limit} times`);
    }
    const left = rows - back.rows;
    reporter.log(
      `Going back from step ${step} to step ${back.step}, and on without the ` +
        `${left} rows between them`,
    );
    this.#state = { ...back, rows, ...(spikes.length ? { spikes } : {}) };
    this.#record.rewind(back.step);
    const event = { ...eventOf(step, report, verdict), action: "rollback" as const };
    this.#note({ ...event, back_to: back.step, rows_left_out: left });
    this.#stepTime = performance.now();
  }

  /** Keeps a spike in the run's state and record. */
  #note(event: SpikeEvent): void {
    this.#state.spikes = [...this.#state.spikes ?? [], event];
    this.#record.noteSpikes(this.#state.spikes);
  }

  /** The validation loss, and samples, of the averaged weights where there are any. */
  async #validate(): Promise<{ loss: number; samples?: Omit<RunSample, "step">[] }> {
    const { model, config, corpus, sample } = this.#options;
    const { weights, rows } = config.validation;
    const averaged = config.average.decay > 0 && weights === "average";
    if (averaged) model.swapAverages();
    const loss = await meanLoss(model, this.#validation!, rows, corpus.endOfText);
    const samples = await sample?.();
    if (averaged) model.swapAverages();
    this.#validationLoss = loss;
    const { best, step } = this.#state;
    if (!best || loss < best.loss) this.#state.best = { step, loss };
    return { loss, samples };
  }

  /** Saves where the run stands, and waits for it. */
  async #save(): Promise<void> {
    await this.#settle();
    await this.#saver.save();
    this.#stepTime = performance.now();
  }

  #due(every: number): boolean {
    const { step } = this.#state;
    return every > 0 && (step % every === 0 || step === this.#steps);
  }

  /** True where something follows this step that needs it finished before the next is queued. */
  #dueNow(): boolean {
    const { config: { validation }, model } = this.#options;
    const { step } = this.#state;
    return this.#due(validation.every) || step === this.#steps ||
      !model.snapshot && this.#dueToSave();
  }

  #dueToSave(): boolean {
    const { every, minutes } = this.#options.config.checkpoint;
    const late = minutes > 0 && this.#saver.age >= minutes * 60_000;
    // A new best is kept: it is what most people will want to use.
    return late || this.#due(every) ||
      (this.#state.best?.step === this.#state.step &&
        this.#due(this.#options.config.validation.every));
  }

  #outOfTime(): boolean {
    const { hours } = this.#options.config;
    return hours > 0 && performance.now() - this.#began >= hours * 3_600_000;
  }

  /** Lets signals in: a model that computes on this thread would otherwise never let go of it. */
  async #turn(): Promise<void> {
    if (performance.now() - this.#turnTime < 50) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (performance.now() - this.#collectTime >= COLLECT_EVERY) {
      collectGarbage(); // what the steps leave beyond the heap would wait for days
      this.#collectTime = performance.now();
    }
    this.#turnTime = performance.now();
  }

  async #interrupt(): Promise<never> {
    await this.#save();
    throw new Interrupted(
      `Stopped after step ${this.#state.step} of ${this.#steps}; saved in ${
        this.#saver.saved!.path
      }` +
        (this.#options.resumeHint ? `; go on with: ${this.#options.resumeHint}` : ""),
    );
  }

  async #fail({ step, gradients }: PendingStep, report: StepReport, why?: string): Promise<never> {
    await this.#saver.giveUp(step);
    throw this.#failure(step, await describeFailure(this.#options.model, gradients, report), why);
  }

  #failure(step: number, what: string, why?: string): UserError {
    const { saved: last } = this.#saver;
    const saved = last
      ? `the last good checkpoint is ${last.path}`
      : "no checkpoint was saved before it";
    return new UserError(
      `Training stopped at step ${step}: ${what}${why ? `, after ${why}` : ""}; ${saved}; ` +
        `go on from there with a lower optimizer.learning_rate`,
    );
  }

  #result(finished: boolean): LoopResult {
    const seconds = (performance.now() - this.#began) / 1000;
    const { step, tokens } = this.#state;
    const result: LoopResult = {
      step,
      finished,
      tokens,
      loss: this.#record.last?.loss ?? NaN,
      seconds,
      tokensPerSecond: this.#tokens / seconds,
      dataSeconds: this.#dataSeconds,
      checkpoint: this.#saver.saved!.path,
    };
    if (this.#validationLoss !== undefined) result.validationLoss = this.#validationLoss;
    if (!finished) {
      this.#options.reporter.log(
        `Stopped after ${formatDuration(seconds)}, the limit of this run; --resume goes on`,
      );
    }
    return result;
  }
}
