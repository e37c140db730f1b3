/** `model tokenizer`: the tokenizer.json of a model, for `pipeline run --tokenizer`. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { exists, writeAtomic } from "../core/files.ts";
import { isHubId, localTokenizer } from "../model/weights/mod.ts";
import { join } from "../core/std.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "model tokenizer",
  summary: "Copy a model's tokenizer.json, to make a corpus with it",
  description: "Of a Hugging Face id only this file is downloaded. The pipeline itself may reach " +
    "nothing but its mirror, so it takes tokenizers as files.",
  options: {
    model: modelOption("the model", true),
    out: { type: "string", placeholder: "FILE", help: "the file to write", required: true },
  },
  examples: [
    "deno task model tokenizer --model state-spaces/mamba-130m-hf --out tokenizer.json",
  ],
  async run(invocation) {
    const model = invocation.requiredString("model");
    const out = invocation.requiredString("out");
    const path = exists(model) || !isHubId(model)
      ? join(model, "tokenizer.json")
      : await localTokenizer(model, invocation.reporter);
    if (!exists(path)) {
      throw new UserError(`Cannot copy the tokenizer of ${model}: there is no ${path}`);
    }
    if (exists(out)) {
      throw new UserError(`Cannot write ${out}: it exists already; name another file`);
    }
    const { vocabularySize } = loadTokenizer(path);
    writeAtomic(out, Deno.readFileSync(path));
    if (invocation.json) {
      return invocation.reporter.line(jsonLine({ out, vocabulary_size: vocabularySize }));
    }
    invocation.reporter.line(`${out} has ${vocabularySize} ids`);
  },
};
