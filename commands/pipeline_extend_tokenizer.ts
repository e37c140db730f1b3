/** `pipeline extend-tokenizer`: domain tokens on top of a tokenizer. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { writeAtomic } from "../core/files.ts";
import { counterFor, extendTokenizer } from "../pipeline/tokenizer/mod.ts";
import { countPretokens, TEXT_OPTIONS } from "./text_options.ts";

export const command: Command = {
  name: "pipeline extend-tokenizer",
  summary: "Add a domain's tokens to a tokenizer, keeping its ids",
  description: "Learns merges on top of the tokenizer's own from a corpus or from files. Old ids " +
    'stay what they are; "model extend" gives a model of the old tokenizer the new rows.',
  options: {
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: "the tokenizer.json to extend",
      required: true,
    },
    ...TEXT_OPTIONS,
    add: { type: "integer", placeholder: "N", min: 1, help: "tokens to add", required: true },
    out: { type: "string", placeholder: "tokenizer.json", help: "where it goes", required: true },
  },
  examples: [
    "deno task pipeline extend-tokenizer --tokenizer neox.json --corpus corpus --add 4096 --out bio.json",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const path = invocation.requiredString("tokenizer");
    const counter = await countPretokens(invocation, counterFor(path));
    const add = invocation.requiredNumber("add");
    const out = invocation.requiredString("out");
    const minimum = invocation.requiredNumber("min-count");
    const { json, firstId, added } = extendTokenizer(path, counter, add, minimum);
    writeAtomic(out, JSON.stringify(json, null, 1) + "\n");
    if (added < add) {
      reporter.log(`The text has pairs for ${added} tokens only, not ${add}; give more text`);
    }
    const figures = { out, first_id: firstId, added, vocabulary_size: firstId + added };
    if (invocation.json) return reporter.line(jsonLine(figures));
    reporter.line(
      `${added} tokens added, ids ${firstId} to ${firstId + added - 1}, in ${out}`,
    );
  },
};
