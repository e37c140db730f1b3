/** `pipeline locate`: from a place in a shard to its document. @module */
import type { Command } from "../core/cli.ts";
import { locate } from "../pipeline/tokens/provenance.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline locate",
  summary: "Name the documents in a row of a shard, or the one at a column",
  options: {
    corpus: CORPUS,
    shard: {
      type: "string",
      placeholder: "train-00000",
      help: "the shard's name or path",
      required: true,
    },
    row: { type: "integer", min: 0, help: "the row, from 0", required: true },
    column: { type: "integer", min: 0, help: "the token in the row, from 0" },
  },
  examples: [
    "deno task pipeline locate --corpus corpus --shard train-00000 --row 17 --column 300",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const pieces = await locate(
      invocation.string("corpus")!,
      invocation.string("shard")!,
      invocation.number("row")!,
      invocation.number("column"),
    );
    if (invocation.json) return reporter.line(JSON.stringify({ pieces }));
    for (const { pmid, version, source, start, length, chunk, text, token } of pieces) {
      const part = chunk === 0 ? "" : `, part ${chunk + 1}`;
      reporter.line(
        `PMID ${pmid} version ${version} from ${source}, columns ${start} to ${
          start + length - 1
        }${part}`,
      );
      if (token) {
        reporter.line(
          `column ${token.column} is id ${token.id}, ${JSON.stringify(token.text)}, in`,
        );
      }
      reporter.line(text + "\n");
    }
  },
};
