/** `pipeline locate`: from a place in a shard to its document. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { textIds } from "../pipeline/texts/documents.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { locate } from "../pipeline/shards/mod.ts";
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
    const corpus = invocation.requiredString("corpus");
    const pieces = await locate(
      corpus,
      invocation.requiredString("shard"),
      invocation.requiredNumber("row"),
      invocation.number("column"),
    );
    const texts = readTextCorpus(corpus);
    const ids = texts && await textIds(corpus, texts, pieces.map((p) => p.pmid));
    if (invocation.json) {
      const told = ids ? pieces.map((p) => ({ ...p, id: ids.get(p.pmid) ?? "" })) : pieces;
      return reporter.line(jsonLine({ pieces: told }));
    }
    for (const { pmid, version, source, start, length, chunk, text, token } of pieces) {
      const part = chunk === 0 ? "" : `, part ${chunk + 1}`;
      const name = ids
        ? `Document ${pmid}, id ${JSON.stringify(ids.get(pmid) ?? "")}`
        : `PMID ${pmid} version ${version}`;
      reporter.line(
        `${name} from ${source}, columns ${start} to ${start + length - 1}${part}`,
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
