/**
 * The training loop: rows in a seeded order, gradient accumulation, AdamW under a schedule,
 * checkpoints, and going on from one exactly. It knows the model by its interface only.
 * @module
 */
import { Interrupted, UserError } from "../core/errors.ts";
import { formatDuration, type Progress, type Reporter } from "../core/reporter.ts";
import { sampleRow } from "../pipeline/tokens/sampler.ts";
import { type CountedBatch, makeBatch } from "./batch.ts";
import {
  listCheckpoints,
  pruneCheckpoints,
  saveCheckpoint,
  type TrainerState,
} from "./checkpoint.ts";
import { requireRows, type RowSource, type TrainingCorpus } from "./corpus.ts";
import { MetricsWriter, readMetrics, type StepMetrics } from "./metrics.ts";
import { meanLoss } from "./perplexity.ts";
import { scheduleFactor } from "./schedule.ts";
import { SpikeDetector } from "./spikes.ts";
import type { TrainConfig } from "./train_config.ts";
import type { StepReport, TrainableModel } from "./types.ts";

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
  reporter: Reporter;
  signal: AbortSignal;
  /** How to go on after an interruption, for the closing message. */
  resumeHint?: string;
}

/** What a run came to. */
export interface LoopResult {
  /** Updates done in all, and whether these are all of the configuration's. */
  step: number;
  finished: boolean;
  tokens: number;
  /** The last step's. */
  loss: number;
  validationLoss?: number;
  /** Of this process, over the whole loop. */
  seconds: number;
  tokensPerSecond: number;
  /** The last checkpoint. */
  checkpoint: string;
}

/** A step that is queued and whose report has not come in yet. */
interface PendingStep {
  step: number;
  learningRate: number;
  batches: CountedBatch[];
  scale: number;
  report: Promise<StepReport>;
}

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
  readonly #metrics: MetricsWriter;
  readonly #progress: Progress;
  readonly #lossSpikes: SpikeDetector;
  readonly #normSpikes: SpikeDetector;
  readonly #began = performance.now();
  readonly #firstTokens: number;
  readonly #state: TrainerState;
  #pending: PendingStep | undefined;
  #last: StepMetrics | undefined;
  #validationLoss: number | undefined;
  #saved: { step: number; path: string } | undefined;
  /** When the last step came in, the last checkpoint was saved, the event loop last turned. */
  #stepTime = performance.now();
  #saveTime = performance.now();
  #turnTime = performance.now();

  constructor(options: LoopOptions) {
    const { corpus, config, model, run, reporter } = options;
    this.#options = options;
    this.#rows = requireRows(corpus, "train");
    if (config.validation.every) this.#validation = requireRows(corpus, "validation");
    this.#steps = totalSteps(config, model.sequenceLength);
    this.#state = { ...options.state };
    this.#firstTokens = this.#state.tokens;
    this.#saved = listCheckpoints(run).find(({ step }) => step === this.#state.step);
    this.#last = readMetrics(run, this.#state.step).at(-1);
    this.#metrics = new MetricsWriter(run, this.#state.step);
    this.#progress = reporter.progress("Training", this.#steps, "steps", this.#state.step);
    const { z_score, window } = config.spikes;
    this.#lossSpikes = new SpikeDetector(z_score, window);
    this.#normSpikes = new SpikeDetector(z_score, window);
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
        if (this.#dueNow()) await this.#settle();
        if (this.#dueToSave()) await this.#save();
      }
      await this.#settle();
      await this.#save();
      this.#progress.finish();
      return this.#result(finished);
    } finally {
      this.#progress.finish();
      this.#metrics.close();
    }
  }

  /** Queues the next step's gradients, takes in the step before, then queues the update. */
  async #queueStep(): Promise<void> {
    const { config, model } = this.#options, { optimizer } = config;
    const step = this.#state.step + 1, batches = this.#batches();
    const scored = batches.reduce((sum, batch) => sum + batch.scored, 0);
    // Over the whole step, so that accumulation equals one large batch.
    const scale = scored ? 1 / scored : 0;
    for (const batch of batches) model.accumulate(batch, scale);
    await this.#settle();
    const learningRate = optimizer.learning_rate *
      scheduleFactor(config.schedule, step, this.#steps);
    model.update({
      step,
      learningRate,
      beta1: optimizer.beta1,
      beta2: optimizer.beta2,
      epsilon: optimizer.epsilon,
      weightDecay: optimizer.weight_decay,
      maxGradNorm: optimizer.max_grad_norm || Infinity,
    });
    this.#pending = { step, learningRate, batches, scale, report: model.report() };
    this.#state.step = step;
    this.#state.rows += batches.length * model.batchSize;
    this.#state.tokens += batches.length * model.batchSize * model.sequenceLength;
  }

  /** The micro-batches of the next step. */
  #batches(): CountedBatch[] {
    const { config, model, corpus } = this.#options;
    return Array.from({ length: config.batch.accumulate }, (_, micro) => {
      const first = this.#state.rows + micro * model.batchSize;
      const rows = Array.from(
        { length: model.batchSize },
        (_, r) =>
          this.#rows.draw?.(config.seed, first + r) ??
            this.#rows.row(sampleRow(this.#rows.rows, config.seed, first + r)),
      );
      return makeBatch(rows, model.batchSize, model.sequenceLength, corpus.endOfText);
    });
  }

  /** Waits for the pending step's report, checks and records it. */
  async #settle(): Promise<void> {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = undefined;
    const { loss, gradNorm } = await pending.report;
    const { model, config, reporter } = this.#options, { step } = pending;
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      await this.#fail(pending, loss, gradNorm);
    }
    const tokens = pending.batches.length * model.batchSize * model.sequenceLength;
    const seconds = (performance.now() - this.#stepTime) / 1000;
    const metrics: StepMetrics = {
      step,
      tokens: this.#state.tokens,
      loss,
      learning_rate: pending.learningRate,
      grad_norm: gradNorm,
      tokens_per_second: Number((tokens / seconds).toPrecision(6)),
    };
    if (this.#due(config.validation.every)) {
      metrics.validation_loss = await this.#validate();
    }
    this.#metrics.write(metrics);
    if (metrics.validation_loss !== undefined) this.#options.onValidated?.();
    this.#last = metrics;
    for (
      const [name, value, spikes] of [
        ["loss", loss, this.#lossSpikes],
        ["gradient norm", gradNorm, this.#normSpikes],
      ] as const
    ) {
      const z = spikes.observe(value);
      if (z !== undefined) {
        reporter.log(
          `Step ${step}: the ${name} ${value.toPrecision(4)} is ${z.toFixed(1)} standard ` +
            `deviations above its last ${config.spikes.window} steps`,
        );
      }
    }
    const rate = metrics.tokens_per_second;
    const speed = rate < 100 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en");
    this.#progress.update(step, `loss ${loss.toFixed(4)}, ${speed} tokens/s`);
    this.#stepTime = performance.now();
  }

  async #validate(): Promise<number> {
    const { model, config, corpus } = this.#options;
    const loss = await meanLoss(model, this.#validation!, config.validation.rows, corpus.endOfText);
    this.#validationLoss = loss;
    const { best, step } = this.#state;
    if (!best || loss < best.loss) this.#state.best = { step, loss };
    return loss;
  }

  async #save(): Promise<void> {
    const { run, model, config, tokenizer, card } = this.#options;
    const { step, best } = this.#state;
    this.#saveTime = performance.now();
    if (this.#saved?.step === step) return;
    this.#metrics.sync();
    const extras = { tokenizer, card: card?.(this.#state) };
    const path = await saveCheckpoint(run, model, this.#state, extras);
    this.#saved = { step, path };
    pruneCheckpoints(run, config.checkpoint.keep, best?.step);
    this.#stepTime = this.#saveTime = performance.now();
  }

  #due(every: number): boolean {
    const { step } = this.#state;
    return every > 0 && (step % every === 0 || step === this.#steps);
  }

  /** True where something follows this step that needs it finished before the next is queued. */
  #dueNow(): boolean {
    return this.#due(this.#options.config.validation.every) || this.#dueToSave();
  }

  #dueToSave(): boolean {
    const { every, minutes } = this.#options.config.checkpoint;
    const late = minutes > 0 && performance.now() - this.#saveTime >= minutes * 60_000;
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
    this.#turnTime = performance.now();
  }

  async #interrupt(): Promise<never> {
    await this.#settle();
    await this.#save();
    throw new Interrupted(
      `Stopped after step ${this.#state.step} of ${this.#steps}; saved in ${this.#saved!.path}` +
        (this.#options.resumeHint ? `; go on with: ${this.#options.resumeHint}` : ""),
    );
  }

  async #fail({ step, batches, scale }: PendingStep, loss: number, norm: number): Promise<never> {
    const { model } = this.#options;
    // The next step's gradients may be in place of this one's: add these again to find the cause.
    for (const batch of batches) model.accumulate(batch, scale);
    const tensor = await model.findNonFinite();
    const what = Number.isFinite(loss) ? `the gradient norm is ${norm}` : `the loss is ${loss}`;
    const where = tensor ? `, with values that are not finite in ${tensor}` : "";
    const saved = this.#saved
      ? `the last good checkpoint is ${this.#saved.path}`
      : "no checkpoint was saved before it";
    throw new UserError(
      `Training stopped at step ${step}: ${what}${where}; ${saved}; ` +
        `go on from there with a lower optimizer.learning_rate`,
    );
  }

  #result(finished: boolean): LoopResult {
    const seconds = (performance.now() - this.#began) / 1000, { step, tokens } = this.#state;
    const result: LoopResult = {
      step,
      finished,
      tokens,
      loss: this.#last?.loss ?? NaN,
      seconds,
      tokensPerSecond: (tokens - this.#firstTokens) / seconds,
      checkpoint: this.#saved!.path,
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
