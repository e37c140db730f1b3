/** Texts that a model in training writes after a fixed prompt at each validation: samples.jsonl. @module */
import { exists, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { messageOf } from "../../core/errors.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { type Tokenizer, tokenizerFromJson } from "../../pipeline/tokenizer/mod.ts";
import { generateTokens, type RecurrentModel } from "../mamba/mod.ts";
import type { TrainConfig } from "./configuration.ts";

/** One line of samples.jsonl. */
export interface RunSample {
  /** After which update. */
  step: number;
  /** What it was given. */
  prompt: string;
  /** What the model wrote after it. */
  text: string;
  /** 0 takes the likeliest token each time. */
  temperature: number;
  /** Of the sampling: the same at every step, so that texts can be compared. */
  seed: number;
}

/** A sample that does not yet say after which step it was written. */
export type NewSample = Omit<RunSample, "step">;

/** What to draw. */
interface SampleOptions {
  prompt: string;
  /** How many; the first takes the likeliest tokens, the others are sampled. */
  count: number;
  /** Most tokens of each. */
  tokens: number;
  seed: number;
}

/** Draws samples, each from the beginning: whatever the model read before does not matter. */
export async function drawSamples(
  model: RecurrentModel,
  tokenizer: Tokenizer,
  { prompt, count, tokens, seed }: SampleOptions,
): Promise<NewSample[]> {
  const ids = [model.config.endOfText, ...tokenizer.encode(prompt)];
  const samples: NewSample[] = [];
  for (let i = 0; i < count; i++) {
    const temperature = i === 0 ? 0 : 0.8;
    const written: number[] = [];
    const options = { maxNewTokens: tokens, temperature, topP: 0.95, seed: seed + i };
    for await (const { token } of generateTokens(model, ids, options)) written.push(token);
    samples.push({ prompt, text: tokenizer.decode(written), temperature, seed: seed + i });
  }
  return samples;
}

/**
 * Draws a run's samples at each call; undefined where the run wants none, or has no way to.
 * @param tokenizerFile the bytes of the model's tokenizer.json.
 * @param recurrent makes the model's recurrent form. Where the device has no room for it the run goes
 * on without samples, and `log` hears of it.
 */
export function sampler(
  { validation, seed }: TrainConfig,
  tokenizerFile: Uint8Array,
  recurrent: (() => Promise<RecurrentModel>) | undefined,
  log: (message: string) => void,
): (() => Promise<NewSample[]>) | undefined {
  const { every, samples: count, prompt, sample_tokens: tokens } = validation;
  if (!every || !count || !recurrent) return undefined;
  const without = (error: unknown) => log(`Validations go without samples: ${messageOf(error)}`);
  let tokenizer: Tokenizer;
  try {
    tokenizer = tokenizerFromJson(JSON.parse(new TextDecoder().decode(tokenizerFile)));
  } catch (error) {
    without(error);
    return undefined;
  }
  let possible = true;
  return async () => {
    if (!possible) return [];
    let model: RecurrentModel;
    try {
      model = await recurrent();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      possible = false;
      without(error);
      return [];
    }
    try {
      return await drawSamples(model, tokenizer, { prompt, count, tokens, seed });
    } finally {
      model.destroy();
    }
  };
}

const SAMPLES_FILE = "samples.jsonl";

/** Reads a run's samples up to `lastStep`; a line cut short by a kill ends them. */
export function readSamples(run: string, lastStep = Infinity): RunSample[] {
  const path = join(run, SAMPLES_FILE);
  const samples: RunSample[] = [];
  if (!exists(path)) return samples;
  for (const line of Deno.readTextFileSync(path).split("\n").slice(0, -1)) {
    const one = JSON.parse(line) as RunSample;
    if (one.step > lastStep) break;
    samples.push(one);
  }
  return samples;
}

/** Cuts a run's samples back to what was written up to `lastStep`. */
export function cutSamples(run: string, lastStep: number): void {
  const path = join(run, SAMPLES_FILE);
  if (exists(path)) writeAtomic(path, linesOf(readSamples(run, lastStep)));
}

/** Appends samples. */
export function appendSamples(run: string, samples: readonly RunSample[]): void {
  const path = join(run, SAMPLES_FILE);
  const file = Deno.openSync(path, { append: true, create: true });
  try {
    const bytes = new TextEncoder().encode(linesOf(samples));
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.syncSync();
  } finally {
    file.close();
  }
}

const linesOf = (samples: readonly RunSample[]) =>
  samples.map((sample) => JSON.stringify(sample) + "\n").join("");
