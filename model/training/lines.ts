/** The lines of a run that stay on the terminal: its course every so many steps, and each validation. @module */
import { formatBytes, formatDuration, type Reporter } from "../../core/reporter.ts";
import { terminalWidth, wrap } from "../../core/terminal.ts";
import type { StepMetrics } from "./metrics.ts";
import type { NewSample } from "./samples.ts";

/** A run of any length prints about so many lines at most, validations beside them. */
const MOST_LINES = 50;

/** The heading comes again after so many lines, so that it is still on the screen. */
const HEADING_EVERY = 20;

/**
 * Of what each column says, and its width; together they fit 80 columns. Of a narrower terminal the
 * last ones are left out.
 */
const COLUMNS = [
  ["loss", 7],
  ["val loss", 8],
  ["lr", 7],
  ["grad norm", 9],
  ["tokens/s", 8],
  ["time left", 11],
  ["memory", 7],
] as const;

/**
 * Steps between two lines: the smallest of 1, 2, 5, 10, 20, 50, ... with which a run of `steps` prints
 * at most 50 lines.
 */
export function lineInterval(steps: number): number {
  for (let power = 1;; power *= 10) {
    for (const factor of [1, 2, 5]) {
      if (steps / (factor * power) <= MOST_LINES) return factor * power;
    }
  }
}

/** What {@linkcode StepLines} takes. */
interface LineOptions {
  reporter: Reporter;
  /** Of the whole run. */
  steps: number;
  /** Steps between two lines; {@linkcode lineInterval} where not said. */
  every?: number;
  /** Bytes that the run has taken, of the device's memory where that is known. */
  memory: () => number;
  /** Columns that lines may have; those of the terminal where not said. */
  columns?: number;
}

/** Prints a run's course. */
export class StepLines {
  readonly #options: LineOptions;
  readonly #every: number;
  readonly #width: number;
  /** Columns of a line. */
  readonly #room: number;
  #began = performance.now();
  #from = 0;
  #lines = 0;

  constructor(options: LineOptions) {
    this.#options = options;
    this.#every = options.every ?? lineInterval(options.steps);
    this.#width = Math.max(4, options.steps.toLocaleString("en").length);
    this.#room = options.columns ?? terminalWidth(Deno.stderr);
  }

  /** The run goes on after `step`: the time left is counted from here. */
  began(step: number): void {
    this.#began = performance.now();
    this.#from = step;
  }

  /** Prints a step if its turn has come, if it is the last one, or if it was validated. */
  step(metrics: StepMetrics, samples: readonly NewSample[] = []): void {
    const { reporter, steps, memory } = this.#options;
    const { step, validation_loss: validation } = metrics;
    const due = step % this.#every === 0 || step === steps;
    if (!due && validation === undefined && !samples.length) return;
    if (this.#lines++ % HEADING_EVERY === 0) {
      reporter.log(this.#line("step", COLUMNS.map(([name]) => name)));
    }
    const rate = metrics.tokens_per_second;
    reporter.log(this.#line(step.toLocaleString("en"), [
      metrics.loss.toFixed(4),
      validation?.toFixed(4) ?? "",
      metrics.learning_rate.toExponential(2),
      metrics.grad_norm < 1e6 ? metrics.grad_norm.toFixed(3) : metrics.grad_norm.toExponential(2),
      rate < 100 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en"),
      this.#timeLeft(step),
      formatBytes(memory()),
    ]));
    for (const { prompt, text } of samples) {
      const told = `${prompt ? `after ${quoted(prompt)}` : "a document"}: ${quoted(text)}`;
      const indent = " ".repeat(this.#width + 2);
      for (const line of wrap(told, this.#room - indent.length)) reporter.log(indent + line);
    }
  }

  #timeLeft(step: number): string {
    const seconds = (performance.now() - this.#began) / 1000;
    const done = step - this.#from;
    return done > 0 ? formatDuration(seconds / done * (this.#options.steps - step)) : "";
  }

  #line(step: string, cells: readonly string[]): string {
    const padded = cells.map((cell, i) => cell.padStart(COLUMNS[i]?.[1] ?? 0));
    let line = step.padStart(this.#width);
    for (const cell of padded) {
      if (line.length + 2 + cell.length > this.#room) break;
      line += `  ${cell}`;
    }
    return line;
  }
}

/** Text on one line, in quotes. */
const quoted = (text: string): string => `"${text.replace(/\s+/g, " ").trim()}"`;
