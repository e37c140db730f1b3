/** `generate`: text from a model. @module */
import type { Command } from "../core/cli.ts";
import { Interrupted, UserError } from "../core/errors.ts";
import { openDevice } from "../kernels/device.ts";
import { openModelFolder } from "../model/folder.ts";
import { generateTokens, StopText } from "../model/generate.ts";
import { createRecurrentMamba } from "../model/recurrent.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { deviceOptions } from "./device_options.ts";

export const command: Command = {
  name: "generate",
  summary: "Generate text with a model",
  description:
    "Streams the continuation of a prompt to stdout. The prompt is read as the beginning " +
    "of a document. The model runs with its recurrent state, so a token costs the same time and " +
    "memory however long the text. Stops at the end of the document.",
  options: {
    model: { type: "string", placeholder: "DIR", help: "the model folder", required: true },
    prompt: { type: "string", placeholder: "TEXT", help: "the text to continue", required: true },
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: "tokenizer.json, where the model folder has none",
    },
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
    ...deviceOptions,
  },
  examples: [
    'deno task generate --model biomamba-130m --prompt "Aspirin is"',
    'deno task generate --model biomamba-130m --prompt "BACKGROUND: " --temperature 0.8 --top-p 0.95 --seed 7',
  ],
  async run(invocation) {
    const { reporter, signal } = invocation, path = invocation.string("model")!;
    const folder = openModelFolder(path);
    const file = invocation.string("tokenizer") ?? folder.tokenizerFile;
    if (!file) {
      throw new UserError(
        `Cannot read the prompt: ${path} has no tokenizer.json; name one with --tokenizer FILE`,
      );
    }
    const tokenizer = loadTokenizer(file), { config } = folder;
    if (tokenizer.vocabularySize > config.paddedVocabSize) {
      throw new UserError(
        `Cannot use ${file}: it has ${tokenizer.vocabularySize} ids and the model ${path} ` +
          `${config.paddedVocabSize}; use the tokenizer that the model was trained with`,
      );
    }
    const text = invocation.string("prompt")!;
    const prompt = [config.endOfText, ...tokenizer.encode(text)];
    const limit = invocation.number("memory-limit");
    const device = await openDevice({
      variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
      memoryLimit: limit === undefined ? undefined : limit * 1e9,
    });
    try {
      const model = await createRecurrentMamba(device, config, (name) => folder.read(name));
      folder.close();
      const decoder = tokenizer.streamDecoder(), stop = new StopText(invocation.list("stop"));
      const tokens: number[] = [], logProbabilities: number[] = [];
      let generated = "";
      const show = (piece: string) => {
        generated += piece;
        if (piece) reporter.write(piece);
      };
      reporter.write(text);
      const start = performance.now();
      for await (
        const { token, logProbability } of generateTokens(model, prompt, {
          maxNewTokens: invocation.number("max-new-tokens")!,
          temperature: invocation.number("temperature"),
          topK: invocation.number("top-k"),
          topP: invocation.number("top-p"),
          repetitionPenalty: invocation.number("repetition-penalty"),
          seed: invocation.number("seed"),
          signal,
        })
      ) {
        tokens.push(token);
        logProbabilities.push(logProbability);
        show(stop.push(decoder.push(token)));
        if (stop.stopped) break;
      }
      show(stop.push(decoder.flush()) + stop.flush());
      const seconds = (performance.now() - start) / 1000, rate = tokens.length / seconds;
      reporter.write("\n");
      reporter.log(
        `${tokens.length} tokens in ${seconds.toFixed(1)} s (${rate.toFixed(1)} tokens/s)`,
      );
      if (invocation.json) {
        reporter.line(JSON.stringify({
          prompt: text,
          text: generated,
          tokens,
          logprobs: logProbabilities,
          tokens_per_second: rate,
          device: device.description,
        }));
      }
      model.destroy();
      if (signal.aborted) throw new Interrupted("Interrupted");
    } finally {
      device.destroy();
    }
  },
};
