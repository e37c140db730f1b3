/** `generate`: text from a model. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { fail, Interrupted, messageOf, UsageError, UserError } from "../core/errors.ts";
import { join } from "../core/std.ts";
import { type Device } from "../kernels/device.ts";
import { openDevice } from "../kernels/open_device.ts";
import { requireSelfTest } from "../kernels/self_test.ts";
import { kindOf } from "../model/mamba/kinds.ts";
import {
  localModel,
  type ModelFolder,
  openModelFolder,
  TOKENIZER_REMEDY,
} from "../model/weights/mod.ts";
import {
  generateBatch,
  type GenerateOptions,
  generateTokens,
  StopText,
  tokensBefore,
} from "../model/mamba/generate.ts";
import { createRecurrentMamba } from "../model/mamba/recurrent.ts";
import { loadTokenizer, type Tokenizer } from "../pipeline/tokenizer/mod.ts";
import { deviceChoice, deviceOptions } from "./device_options.ts";
import { modelOption, TOKENIZER_OPTION, tokenizerOption } from "./model_options.ts";

export const command: Command = {
  name: "generate",
  summary: "Generate text with a model",
  description:
    "Streams the continuation of a prompt to stdout. The prompt is read as the beginning " +
    "of a document. The model runs with its recurrent state, so a token costs the same time and " +
    "memory however long the text. Stops at the end of the document.",
  options: {
    model: modelOption("the model", true),
    prompt: { type: "string", placeholder: "TEXT", help: "the text to continue" },
    prompts: {
      type: "string",
      placeholder: "FILE",
      help:
        'instead: many texts, one on each line, or JSON lines with "prompt"; results in their order',
    },
    batch: { type: "integer", help: "prompts of a file that run together", default: 16, min: 1 },
    tokenizer: TOKENIZER_OPTION,
    "max-new-tokens": { type: "integer", help: "most tokens to generate", default: 128, min: 1 },
    temperature: {
      type: "number",
      help: "0 takes the likeliest token; 1 samples from the model's distribution",
      default: 0,
      min: 0,
    },
    "top-k": { type: "integer", help: "sample among the likeliest N tokens", default: 0, min: 0 },
    "top-p": {
      type: "number",
      help: "sample among the likeliest tokens that reach this probability together",
      default: 1,
      min: 1e-6,
      max: 1,
    },
    "repetition-penalty": {
      type: "number",
      help: "above 1, tokens already in the text become less likely",
      default: 1,
      min: 0.01,
    },
    stop: { type: "list", placeholder: "TEXT", help: "stop before this text; may be repeated" },
    seed: { type: "integer", help: "seed of the sampling", default: 0, min: 0 },
    weights: {
      type: "string",
      choices: ["auto", "f16", "f32"],
      help: "what products read: weights rounded to f16, about twice as fast, or as they are; " +
        "auto is f16 where the device can",
      default: "auto",
    },
    ...deviceOptions,
  },
  examples: [
    'deno task generate --model biomamba-130m --prompt "Aspirin is"',
    'deno task generate --model biomamba-130m --prompt "BACKGROUND: " --temperature 0.8 --top-p 0.95 --seed 7',
    "deno task generate --model biomamba-130m --prompts questions.jsonl --json",
  ],
  async run(invocation) {
    const { signal, reporter } = invocation;
    const one = invocation.string("prompt");
    const file = invocation.string("prompts");
    if ((one === undefined) === (file === undefined)) {
      throw new UsageError("Give either --prompt TEXT or --prompts FILE");
    }
    const texts = file === undefined ? [one ?? ""] : readPrompts(file);
    const given = await tokenizerOption(invocation);
    const folder = openModelFolder(await localModel(invocation.requiredString("model"), reporter));
    const tokenizer = openTokenizer(given, folder);
    const device = await openDevice(deviceChoice(invocation));
    const options: GenerateOptions = {
      maxNewTokens: invocation.requiredNumber("max-new-tokens"),
      temperature: invocation.number("temperature"),
      topK: invocation.number("top-k"),
      topP: invocation.number("top-p"),
      repetitionPenalty: invocation.number("repetition-penalty"),
      seed: invocation.number("seed"),
      signal,
    };
    const job = { invocation, device, folder, tokenizer, texts, options };
    try {
      await requireSelfTest(device, kindOf(folder.config).recurrence);
      const result = file === undefined ? await streamOne(job) : await runBatches(job);
      if (invocation.json) {
        invocation.reporter.line(jsonLine({ ...result, device: device.description }));
      }
      if (signal.aborted) throw new Interrupted("Interrupted");
    } finally {
      folder.close();
      device.destroy();
    }
  },
};

interface Job {
  invocation: Invocation;
  device: Device;
  folder: ModelFolder;
  tokenizer: Tokenizer;
  texts: string[];
  options: GenerateOptions;
}

/** What `--json` says of one prompt. */
interface Generated {
  prompt: string;
  text: string;
  tokens: number[];
  logprobs: number[];
}

/** A document's beginning: its start, then the prompt. */
const encode = ({ folder, tokenizer }: Job, text: string) => [
  folder.config.endOfText,
  ...tokenizer.encode(text),
];

async function streamOne(job: Job): Promise<Generated & { tokens_per_second: number }> {
  const { invocation, device, folder, tokenizer, options } = job;
  const { reporter } = invocation;
  const [text = ""] = job.texts;
  const model = await createRecurrentMamba(device, folder.config, folder.read, {
    half: readsHalf(job),
  });
  const decoder = tokenizer.streamDecoder();
  const stop = new StopText(invocation.list("stop"));
  const tokens: number[] = [];
  const logprobs: number[] = [];
  let generated = "";
  const show = (piece: string) => {
    generated += piece;
    if (piece) reporter.write(piece);
  };
  reporter.write(text);
  const start = performance.now();
  for await (const choice of generateTokens(model, encode(job, text), options)) {
    tokens.push(choice.token);
    logprobs.push(choice.logProbability);
    show(stop.push(decoder.push(choice.token)));
    if (stop.stopped) break;
  }
  show(stop.push(decoder.flush()) + stop.flush());
  const kept = stop.stopped ? keptTokens(tokenizer, tokens, generated) : tokens.length;
  const rate = tokensPerSecond(tokens.length, start);
  reporter.write("\n");
  reporter.log(`${tokens.length} tokens, ${rate.toFixed(1)} tokens/s`);
  model.destroy();
  return {
    prompt: text,
    text: generated,
    tokens: tokens.slice(0, kept),
    logprobs: logprobs.slice(0, kept),
    tokens_per_second: rate,
  };
}

async function runBatches(job: Job): Promise<{ results: Generated[]; tokens_per_second: number }> {
  const { invocation, device, folder, tokenizer, texts, options } = job;
  const { reporter } = invocation;
  const rows = Math.min(invocation.requiredNumber("batch"), texts.length);
  const model = await createRecurrentMamba(device, folder.config, folder.read, {
    rows,
    half: readsHalf(job),
  });
  const results: Generated[] = [];
  const start = performance.now();
  const progress = reporter.progress("Generating", texts.length, "prompts");
  let made = 0;
  for (let first = 0; first < texts.length && !options.signal?.aborted; first += rows) {
    const prompts = texts.slice(first, first + rows);
    const ids = prompts.map((text) => encode(job, text));
    const stops = prompts.map(() => new StopText(invocation.list("stop")));
    const decoders = prompts.map(() => tokenizer.streamDecoder());
    const enough = (row: number, token: number) => {
      const stop = stops[row] ?? fail(`there is no prompt in row ${row}`);
      stop.push(decoders[row]?.push(token) ?? "");
      return stop.stopped;
    };
    const outs = await generateBatch(model, ids, { ...options, first, enough });
    prompts.forEach((prompt, i) => {
      const out = outs[i] ?? [];
      const tokens = out.map((t) => t.token);
      const stop = new StopText(invocation.list("stop"));
      const text = stop.push(tokenizer.decode(tokens)) + stop.flush();
      made += tokens.length;
      const kept = stop.stopped ? keptTokens(tokenizer, tokens, text) : tokens.length;
      const logprobs = out.slice(0, kept).map((t) => t.logProbability);
      results.push({ prompt, text, tokens: tokens.slice(0, kept), logprobs });
      if (!invocation.json) reporter.line(`${prompt}${text}\n`);
    });
    progress.update(results.length, `${tokensPerSecond(made, start).toFixed(1)} tokens/s`);
  }
  progress.finish();
  const rate = tokensPerSecond(made, start);
  reporter.log(`${made} tokens for ${results.length} prompts, ${rate.toFixed(1)} tokens/s`);
  model.destroy();
  return { results, tokens_per_second: rate };
}

/** How many tokens make up a text that was cut at a stop string. */
function keptTokens(tokenizer: Tokenizer, tokens: readonly number[], text: string): number {
  const decoder = tokenizer.streamDecoder();
  return tokensBefore(tokens, text.length, (token) => decoder.push(token));
}

function readsHalf({ invocation, device }: Job): boolean {
  const weights = invocation.string("weights");
  if (weights === "f16") device.requireHalf();
  return weights === "f16" || weights === "auto" && device.features.has("shader-f16");
}

const tokensPerSecond = (tokens: number, start: number) =>
  tokens / Math.max(1e-9, (performance.now() - start) / 1000);

/** One prompt per line; where the first line is a JSON object, each line is one, with a "prompt". */
function readPrompts(file: string): string[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw new UserError(`Cannot read the prompts ${file}: ${messageOf(error)}`);
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const [first] = lines;
  if (first === undefined) {
    throw new UserError(`Cannot use the prompts ${file}: it has no line of text`);
  }
  if (!first.trimStart().startsWith("{")) return lines;
  return lines.map((line, i) => {
    let prompt: unknown;
    try {
      prompt = (JSON.parse(line) as { prompt?: unknown }).prompt;
    } catch {
      // said below
    }
    if (typeof prompt === "string") return prompt;
    throw new UserError(
      `Cannot use the prompts ${file}: line ${i + 1} is not a JSON object with a text "prompt"`,
    );
  });
}

function openTokenizer(given: string | undefined, folder: ModelFolder): Tokenizer {
  const file = given ?? folder.tokenizerFile;
  if (!file) {
    throw new UserError(
      `Cannot read the prompt: ${join(folder.path, "tokenizer.json")} does not exist; ` +
        TOKENIZER_REMEDY,
    );
  }
  const tokenizer = loadTokenizer(file);
  const { paddedVocabSize } = folder.config;
  if (tokenizer.vocabularySize > paddedVocabSize) {
    throw new UserError(
      `Cannot use ${file}: it has ${tokenizer.vocabularySize} ids and the model ${folder.path} ` +
        `${paddedVocabSize}; use the tokenizer that the model was trained with`,
    );
  }
  return tokenizer;
}
