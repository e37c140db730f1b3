/** `pipeline tokenize`: texts to ids. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError, UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatBytes } from "../core/reporter.ts";
import { loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { offsetsPath, tokenizeFile } from "../pipeline/shards/mod.ts";

export const command: Command = {
  name: "pipeline tokenize",
  summary: "Encode the text of each line into an array of ids that NumPy reads",
  description: 'Reads the "text" of every line of a .jsonl file, or every line of any other. ' +
    "Writes all ids one after the other as 16-bit numbers (<u2), and where each text begins " +
    "and the last ends into F.offsets.npy (<u4, one entry more than texts). Runs of spaces and " +
    "other added tokens always match; special tokens only on request.",
  options: {
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: "a tokenizer.json of the byte-level BPE kind",
      required: true,
    },
    input: { type: "string", placeholder: "F.jsonl", help: "the texts", required: true },
    output: { type: "string", placeholder: "F.npy", help: "where the ids go", required: true },
    "special-tokens": {
      type: "boolean",
      help: "let special tokens such as <|endoftext|> in the texts become their ids",
    },
  },
  examples: [
    "deno task pipeline tokenize --tokenizer tokenizer.json --input texts.jsonl --output ids.npy",
  ],
  async run(invocation) {
    const input = invocation.requiredString("input");
    const output = invocation.requiredString("output");
    if (!output.endsWith(".npy")) {
      throw new UsageError(`Option --output is "${output}": a name ending in .npy is needed`);
    }
    if (!exists(input)) throw new UserError(`Cannot read ${input}: there is no such file`);
    const tokenizer = loadTokenizer(invocation.requiredString("tokenizer"));
    const started = performance.now();
    const progress = invocation.reporter.progress("Tokenizing", Deno.statSync(input).size, "bytes");
    const done = await tokenizeFile(tokenizer, input, output, {
      specialTokens: invocation.boolean("special-tokens"),
      onProgress: (bytes) => progress.update(bytes),
      signal: invocation.signal,
    });
    progress.finish();
    const seconds = (performance.now() - started) / 1000;
    const { reporter } = invocation;
    const speed = formatBytes(done.bytes / seconds);
    if (invocation.json) {
      return reporter.line(
        jsonLine({ ...done, seconds, output, offsets: offsetsPath(output) }),
      );
    }
    reporter.line(`${done.texts} texts, ${done.tokens} tokens in ${output} (${speed}/s)`);
  },
};
