/** `model extend`: rows for an extended tokenizer's new ids. @module */
import type { Command } from "../core/cli.ts";
import { extendModel } from "../model/extend.ts";

export const command: Command = {
  name: "model extend",
  summary: "Give a model the rows of an extended tokenizer",
  description:
    "Each new token's embedding is the mean of those of the old pieces that made it; all " +
    "else stays. Train on afterwards: the new rows are a start. Compare perplexity per byte, which " +
    "does not depend on how text is cut.",
  options: {
    model: { type: "string", placeholder: "DIR", help: "the model folder", required: true },
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: 'what "pipeline extend-tokenizer" wrote',
      required: true,
    },
    out: { type: "string", placeholder: "DIR", help: "the folder to write", required: true },
  },
  examples: [
    "deno task model extend --model mamba-130m --tokenizer bio.json --out mamba-130m-bio",
  ],
  run(invocation) {
    const { reporter } = invocation;
    const result = extendModel(
      invocation.string("model")!,
      invocation.string("tokenizer")!,
      invocation.string("out")!,
    );
    if (invocation.json) reporter.line(JSON.stringify(result));
    else {
      reporter.line(
        `${result.out} has ${result.new_vocabulary} ids, ${
          result.new_vocabulary - result.old_vocabulary
        } of them new`,
      );
    }
    return Promise.resolve();
  },
};
