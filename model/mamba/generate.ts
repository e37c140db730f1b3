/** Text from a model, token by token. @module */
import { nth } from "../../core/nth.ts";
import type { MambaConfig } from "./config.ts";
import { Random } from "./random.ts";
import { chooseToken, type SamplingOptions } from "./sampling.ts";
import type { GeneratedToken, RecurrentModel } from "./types.ts";

/** What {@linkcode generateTokens} takes beyond the model. */
export interface GenerateOptions extends Partial<SamplingOptions> {
  /** Most tokens to generate. */
  maxNewTokens: number;
  /** Of the sampling; 0 by default. */
  seed?: number;
  /** Go on at the end-of-text id instead of stopping. */
  ignoreEnd?: boolean;
  /** Ends the text where it is. */
  signal?: AbortSignal;
}

/**
 * Feeds `prompt` and yields token after token until end-of-text, the limit or the signal. Greedy
 * unless a temperature is given. The state is constant in size: nothing is computed twice.
 * @throws {RangeError} for an empty prompt.
 */
export async function* generateTokens(
  model: RecurrentModel,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken> {
  if (prompt.length === 0) throw new RangeError("A prompt needs at least one token");
  const { config } = model;
  const seen = Array.from(prompt);
  const most = options.maxNewTokens;
  const sampling = samplingOf(options);
  const random = new Random(options.seed ?? 0, purposeOf(0));
  const greedy = isGreedy(sampling) ? model.greedy?.bind(model) : undefined;
  const together = new Rounds(model.mostSteps ?? 1);
  model.reset();
  for (const token of seen.slice(0, -1)) {
    if (model.feed) model.feed(token); // no read-back for logits that nobody looks at
    else await model.step(token);
  }
  let last = seen.at(-1) ?? config.endOfText;
  for (let made = 0; made < most && !options.signal?.aborted;) {
    const choices = greedy
      ? nth(await together.run(most - made, (steps) => greedy([last], steps)), 0)
      : [chooseToken(await model.step(last), config.vocabSize, sampling, random, seen)];
    for (const choice of choices) {
      if (choice.token === config.endOfText && !options.ignoreEnd) return;
      yield choice;
      made++;
      seen.push(last = choice.token);
      if (options.signal?.aborted) return;
    }
  }
}

/** A model whose rows step together. */
interface BatchRecurrentModel extends Pick<RecurrentModel, "greedy" | "mostSteps"> {
  readonly config: MambaConfig;
  readonly rows: number;
  reset(): void;
  feedRows(tokens: readonly number[]): void;
  stepRows(tokens: readonly number[]): Promise<Float32Array[]>;
}

/**
 * Continues several prompts at once and returns each one's tokens. Rows are fed side by side, each
 * with its own prompt's next token or its own last choice; a row that is done idles. Prompt i's random
 * numbers depend on the seed and on `first + i` alone, not on its neighbours.
 * @throws {RangeError} for more prompts than rows, or an empty one.
 */
export async function generateBatch(
  model: BatchRecurrentModel,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions & {
    first?: number;
    /** Hears each row's new tokens; true ends the row, such as at a stop string. */
    enough?: (row: number, token: number) => boolean;
  },
): Promise<GeneratedToken[][]> {
  if (prompts.length > model.rows || prompts.some((p) => p.length === 0)) {
    throw new RangeError(`${prompts.length} prompts came for ${model.rows} rows, or an empty one`);
  }
  const { config } = model;
  const sampling = samplingOf(options);
  const seed = options.seed ?? 0;
  const rows = prompts.map((prompt, i) => ({
    seen: Array.from(prompt),
    fed: 0,
    out: [] as GeneratedToken[],
    random: new Random(seed, purposeOf((options.first ?? 0) + i)),
    done: false,
  }));
  type Row = typeof rows[number];
  const active = (i: number): Row | undefined => rows[i]?.done === false ? rows[i] : undefined;
  const take = (row: Row, index: number, choice: GeneratedToken) => {
    const end = choice.token === config.endOfText && !options.ignoreEnd;
    if (!end) row.out.push(choice);
    row.seen.push(choice.token);
    const enough = !end && options.enough?.(index, choice.token) === true;
    row.done = end || enough || row.out.length >= options.maxNewTokens;
  };
  const greedy = isGreedy(sampling) ? model.greedy?.bind(model) : undefined;
  const together = new Rounds(model.mostSteps ?? 1);
  model.reset();
  while (rows.some((row) => !row.done) && !options.signal?.aborted) {
    const tokens = Array.from(
      { length: model.rows },
      (_, i) => {
        const row = active(i);
        return row?.seen[row.fed] ?? config.endOfText;
      },
    );
    const going = rows.filter((row) => !row.done);
    const left = Math.max(
      ...going.map((row) => row.seen.length - row.fed - 1 + options.maxNewTokens - row.out.length),
    );
    if (going.every((row) => row.fed + 1 < row.seen.length)) {
      model.feedRows(tokens); // nobody looks at these logits
      for (const row of going) row.fed++;
    } else if (greedy) {
      const starts = rows.map((row) => row.fed);
      const forced = (step: number, row: number) => active(row)?.seen[nth(starts, row) + step + 1];
      const made = await together.run(left, (steps) => greedy(tokens, steps, forced));
      for (const [i, row] of rows.entries()) {
        for (const choice of nth(made, i)) {
          if (row.done) break;
          if (++row.fed === row.seen.length) take(row, i, choice);
        }
      }
    } else {
      const logits = await model.stepRows(tokens);
      for (const [i, row] of rows.entries()) {
        if (row.done || ++row.fed < row.seen.length) continue;
        take(row, i, chooseToken(nth(logits, i), config.vocabSize, sampling, row.random, row.seen));
      }
    }
  }
  return rows.map((row) => row.out);
}

/** How many steps go to the device at once: about a quarter of a second of them, as measured. */
class Rounds {
  #most: number;
  #steps = 1;

  constructor(most: number) {
    this.#most = most;
  }

  async run<T>(left: number, round: (steps: number) => Promise<T>): Promise<T> {
    const steps = Math.min(left, this.#steps);
    const start = performance.now();
    const made = await round(steps);
    const each = (performance.now() - start) / steps;
    this.#steps = Math.max(1, Math.min(this.#most, 2 * this.#steps, Math.floor(250 / each)));
    return made;
  }
}

/** Whether the likeliest token is taken, whatever came before: what the device can choose itself. */
const isGreedy = ({ temperature, repetitionPenalty }: SamplingOptions) =>
  temperature === 0 && repetitionPenalty === 1;

/** What keys the random numbers of prompt i; a single prompt is the first. */
const purposeOf = (index: number) => index ? `generate/${index}` : "generate";

const samplingOf = (options: GenerateOptions): SamplingOptions => ({
  temperature: options.temperature ?? 0,
  topK: options.topK ?? 0,
  topP: options.topP ?? 1,
  repetitionPenalty: options.repetitionPenalty ?? 1,
});

/** Cuts streamed text at the first of some stop strings, holding back what may become one. */
export class StopText {
  #stops: string[];
  #held = "";
  /** True once a stop string was met. */
  stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((s) => s !== "");
  }

  /** Takes a piece and returns what can be shown now. */
  push(piece: string): string {
    if (this.stopped) return "";
    const text = this.#held + piece;
    const at = Math.min(...this.#stops.map((s) => text.indexOf(s)).filter((i) => i >= 0));
    if (Number.isFinite(at)) {
      this.stopped = true;
      this.#held = "";
      return text.slice(0, at);
    }
    let keep = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > keep; n--) {
        if (text.endsWith(stop.slice(0, n))) keep = n;
      }
    }
    this.#held = text.slice(text.length - keep);
    return text.slice(0, text.length - keep);
  }

  /** What was held back, at the end. */
  flush(): string {
    const rest = this.stopped ? "" : this.#held;
    this.#held = "";
    return rest;
  }
}

/**
 * How many of a text's tokens lie wholly before the place where it was cut.
 * @param length characters of the text that are left
 * @param push a fresh stream decoder's: the text that a token completes
 */
export function tokensBefore(
  tokens: readonly number[],
  length: number,
  push: (token: number) => string,
): number {
  let characters = 0;
  let kept = 0;
  for (const [i, token] of tokens.entries()) {
    const piece = push(token);
    characters += piece.length;
    if (characters > length) break;
    // A token that completes no character belongs to the one that its successors complete.
    if (piece !== "") kept = i + 1;
  }
  return kept;
}
