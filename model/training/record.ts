/** What a run writes as it goes on: metrics, samples, progress, and who hears of them. @module */
import type { Progress, Reporter } from "../../core/reporter.ts";
import { MetricsWriter, readMetrics, type StepMetrics } from "./metrics.ts";
import { StepLines } from "./lines.ts";
import { readRun, writeRun } from "./run_file.ts";
import { appendSamples, cutSamples, type NewSample, type RunSample } from "./samples.ts";
import { type SpikeEvent, SpikeWatch } from "./spikes.ts";
import type { TrainConfig } from "./configuration.ts";
import { appendValidation, cutValidations, type ScoredRows } from "./validation_rows.ts";

/** Who hears of a run. Called between steps: whatever takes time must happen elsewhere. */
export interface RunListener {
  /** Training begins after `step` of `steps`; again where it went back to a checkpoint. */
  began?(step: number, steps: number): void;
  /** A step came in, and is in the run folder's metrics. */
  step?(metrics: StepMetrics): void;
  /** The model wrote samples; they are in the run folder. */
  sampled?(samples: RunSample[]): void;
  /** A validation came in; its figures and samples are in the run folder. */
  validated?(): void;
}

/** What {@linkcode RunRecord} takes. */
interface RecordOptions {
  /** The run folder. */
  run: string;
  spikes: TrainConfig["spikes"];
  /** Of the whole run. */
  steps: number;
  reporter: Reporter;
  listener?: RunListener;
  /** Steps between the lines that stay; by the length of the run where not said. */
  logEvery?: number;
  /** Bytes that the run has taken. */
  memory: () => number;
  /** Whether this process is the one that writes; of several ranks all but one only remember. */
  writes: boolean;
}

/** The record of a run up to some step, which everything later is cut off from. */
export class RunRecord {
  readonly #options: RecordOptions;
  readonly #progress: Progress;
  readonly #lines: StepLines;
  #metrics: MetricsWriter | undefined;
  #last: StepMetrics | undefined;
  #spikes!: SpikeWatch;

  /** @param step the last step that stays. */
  constructor(options: RecordOptions, step: number) {
    this.#options = options;
    const { reporter, steps, logEvery: every, memory } = options;
    this.#progress = reporter.progress("Training", steps, "steps", step);
    this.#lines = new StepLines({ reporter, steps, every, memory });
    this.#open(step);
  }

  #open(step: number): void {
    const { run, spikes, steps, listener } = this.#options;
    const past = readMetrics(run, step);
    if (this.#options.writes) {
      this.#metrics = new MetricsWriter(run, step);
      cutSamples(run, step);
      cutValidations(run, step);
    }
    this.#last = past.at(-1);
    // Steps that are not finite, or whose gradient overflowed, were not taken in.
    const judged = past.map(({ loss, grad_norm: gradNorm }) => ({ loss, gradNorm }))
      .filter(({ loss, gradNorm }) => Number.isFinite(loss) && Number.isFinite(gradNorm));
    this.#spikes = new SpikeWatch(spikes.z_score, spikes.window, judged);
    this.#lines.began(step);
    listener?.began?.(step, steps);
  }

  /** The last step's metrics. */
  get last(): StepMetrics | undefined {
    return this.#last;
  }

  /** Judges the run's steps. */
  get spikes(): SpikeWatch {
    return this.#spikes;
  }

  /** Writes a step, what the model wrote after it, and what its validation came to row by row. */
  write(
    metrics: StepMetrics,
    samples: readonly NewSample[] = [],
    heldOut: ScoredRows[] = [],
  ): void {
    const { run, listener, writes } = this.#options;
    const { step, loss, tokens_per_second: rate } = metrics;
    this.#last = metrics;
    if (!writes) return;
    this.#metrics?.write(metrics);
    listener?.step?.(metrics);
    if (samples.length) {
      const stamped = samples.map((sample) => ({ step, ...sample }));
      appendSamples(run, stamped);
      listener?.sampled?.(stamped);
    }
    if (heldOut.length) appendValidation(run, { step, parts: heldOut });
    if (metrics.validation_loss !== undefined) listener?.validated?.();
    this.#lines.step(metrics, samples);
    const speed = rate < 100 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en");
    this.#progress.update(step, `loss ${loss.toFixed(4)}, ${speed} tokens/s`);
  }

  /** Puts a step that was left out or gone back from into run.json, after those before it. */
  noteSpikes(spikes: SpikeEvent[]): void {
    const { run, writes } = this.#options;
    if (!writes) return;
    writeRun(run, { ...readRun(run), spikes });
  }

  /** Goes back to a step: what was written after it is gone. */
  rewind(step: number): void {
    this.#metrics?.close();
    this.#open(step);
    this.#progress.update(step);
  }

  /** Makes what was written durable, before a checkpoint that counts on it. */
  sync(): void {
    this.#metrics?.sync();
  }

  close(): void {
    this.#progress.finish();
    this.#metrics?.close();
  }
}
