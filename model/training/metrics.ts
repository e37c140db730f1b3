/** A run's figures, one object per step: metrics.jsonl, and the same for TensorBoard. @module */
import { exists, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { encodeFileVersion, encodeScalars, readEvents } from "./tensorboard.ts";

/** One line of metrics.jsonl. */
export interface StepMetrics {
  /** The update's number, from 1. */
  step: number;
  /** Positions trained on so far, padding included. */
  tokens: number;
  /**
   * What was minimised: the mean negative log-likelihood of the step's scored targets, in nats, with the
   * objective's other terms; null in the file if NaN.
   */
  loss: number;
  /** The mean negative log-likelihood alone, where the objective has other terms. */
  plain_loss?: number;
  /** The rate that this step was updated with. */
  learning_rate: number;
  /** Before clipping; null in the file where it was not finite. */
  grad_norm: number;
  /** Positions trained on per second in this step alone. */
  tokens_per_second: number;
  /** In nats per token, in steps after which it was computed. */
  validation_loss?: number;
  /** Of a mix: the validation loss on each corpus by its name. */
  [byCorpus: `validation_loss:${string}`]: number;
  /** 1 where the step's update was left out because of a spike or of an overflow of f16. */
  skipped?: number;
  /** On the first step after a return to a checkpoint: the step that spiked. */
  rolled_back_from?: number;
  /** Mixed precision: what the next step's gradients are scaled with. */
  loss_scale?: number;
}

/** Where a run's metrics are. */
const METRICS_FILE = "metrics.jsonl";

/**
 * Reads metrics.jsonl up to `lastStep`; a line cut short by a kill ends it.
 * An absent file has no lines.
 */
export function readMetrics(run: string, lastStep = Infinity): StepMetrics[] {
  const path = join(run, METRICS_FILE);
  const metrics: StepMetrics[] = [];
  if (!exists(path)) return metrics;
  for (const line of Deno.readTextFileSync(path).split("\n").slice(0, -1)) {
    const one = JSON.parse(line) as StepMetrics;
    if (one.step > lastStep) break;
    one.loss ??= NaN; // JSON has no such number
    one.grad_norm ??= NaN;
    metrics.push(one);
  }
  return metrics;
}

/** What a run took, by its metrics. */
export interface RunFigures {
  tokens: number;
  /** In steps: validations and checkpoints take time besides. */
  seconds: number;
  /** Of all steps. */
  tokensPerSecond: number;
}

/** What the steps of a run took, those of all its processes together. */
export function runFigures(metrics: readonly StepMetrics[]): RunFigures {
  let seconds = 0;
  let before = 0;
  for (const { tokens, tokens_per_second: rate } of metrics) {
    if (rate > 0) seconds += (tokens - before) / rate;
    before = tokens;
  }
  return { tokens: before, seconds, tokensPerSecond: seconds > 0 ? before / seconds : 0 };
}

/** Appends to both files. */
export class MetricsWriter {
  readonly #lines: Deno.FsFile;
  readonly #events: Deno.FsFile;

  /** Opens a run's files, cut back to what was written up to `lastStep`. */
  constructor(run: string, lastStep: number) {
    const lines = join(run, METRICS_FILE);
    const kept = readMetrics(run, lastStep);
    writeAtomic(lines, kept.map((m) => JSON.stringify(m) + "\n").join(""));
    this.#lines = Deno.openSync(lines, { append: true });
    this.#events = Deno.openSync(cutEvents(run, lastStep), { append: true });
  }

  write(metrics: StepMetrics): void {
    append(this.#lines, new TextEncoder().encode(JSON.stringify(metrics) + "\n"));
    const { step, ...scalars } = metrics;
    append(this.#events, encodeScalars({ wallTime: Date.now() / 1000, step, scalars }));
  }

  /** Makes what was written durable, before a checkpoint that counts on it. */
  sync(): void {
    this.#lines.syncSync();
    this.#events.syncSync();
  }

  close(): void {
    this.#lines.close();
    this.#events.close();
  }
}

function append(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

/** The run's event file, made where there is none, without the events after `lastStep`. */
function cutEvents(run: string, lastStep: number): string {
  const names = [...Deno.readDirSync(run)].map((entry) => entry.name)
    .filter((name) => name.startsWith("events.out.tfevents.") && !name.endsWith(".partial")).sort();
  const now = Date.now() / 1000;
  const path = join(run, names[0] ?? `events.out.tfevents.${Math.floor(now)}.pubmamba`);
  const start = encodeFileVersion(now);
  if (!names[0]) {
    writeAtomic(path, start);
    return path;
  }
  const bytes = Deno.readFileSync(path);
  const kept = readEvents(bytes, path);
  const end = kept.findLast((event) => event.step <= lastStep)?.end;
  writeAtomic(path, end === undefined ? start : bytes.subarray(0, end));
  return path;
}
