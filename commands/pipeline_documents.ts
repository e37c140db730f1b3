/** `pipeline documents`: the live documents as JSON lines. @module */
import type { Command } from "../core/cli.ts";
import { UserError } from "../core/errors.ts";
import { Interrupted } from "../core/errors.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveDocuments } from "../pipeline/documents/live_documents.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline documents",
  summary: "Print the live documents as JSON lines, by ascending PMID",
  options: {
    corpus: CORPUS,
    pmid: { type: "integer", min: 1, help: "only this one" },
  },
  examples: [
    "deno task pipeline documents --corpus corpus --pmid 23657305",
    "deno task pipeline documents --corpus corpus > documents.jsonl",
  ],
  async run(invocation) {
    const corpus = invocation.string("corpus")!, pmid = invocation.number("pmid");
    const catalogue = readCatalogue(corpus);
    let count = 0, text = "";
    try {
      for await (const document of liveDocuments(corpus, catalogue, pmid)) {
        text += JSON.stringify(document) + "\n";
        if (++count % 100 === 0) {
          invocation.reporter.write(text);
          text = "";
          if (invocation.signal.aborted) throw new Interrupted();
        }
      }
    } finally {
      catalogue.close();
    }
    invocation.reporter.write(text);
    if (pmid !== undefined && count === 0) {
      throw new UserError(`Cannot find PMID ${pmid} among the live documents of ${corpus}`);
    }
  },
};
