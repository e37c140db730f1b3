/** `pipeline run`: everything from the mirror to shards. @module */
import type { Command } from "../core/cli.ts";
import { runPipeline } from "../pipeline/run.ts";
import { buildTextCorpus, textFiles } from "../pipeline/texts/corpus.ts";
import { printSummary, RUN_OPTIONS, runOptions, withoutNetwork } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline run",
  summary: "Bring PubMed files into a corpus: documents, catalogue, tokens, shards",
  description:
    "Reads a folder or an HTTP mirror laid out as NLM's server (baseline/, updatefiles/), " +
    "checks every file's MD5, and writes what the corpus lacks. Stopped or killed, it goes on where " +
    "it was; a second run does nothing. Settings are recorded in the corpus and hold from then on. " +
    "A folder of .jsonl, .parquet (their field text) or .txt files (each a document) makes a corpus " +
    "too, to mix with PubMed in training; what their records say besides text is kept, to choose by.",
  options: {
    source: {
      type: "string",
      placeholder: "URL|DIR",
      required: true,
      help: "the mirror: a folder or a URL with baseline/ and updatefiles/; or a folder of texts",
    },
    ...RUN_OPTIONS,
  },
  examples: [
    "deno task pipeline run --source https://ftp.ncbi.nlm.nih.gov/pubmed/ --corpus corpus --files 1-4",
    "deno task pipeline run --source mirror --corpus corpus --tokenizer tokenizer.json",
  ],
  async run(invocation) {
    withoutNetwork(invocation.string("source")!);
    const options = runOptions(invocation), source = invocation.string("source")!;
    if (textFiles(source).length === 0) {
      return printSummary(invocation, await runPipeline(options));
    }
    const { splits, tokenizer_sha256 } = await buildTextCorpus({ ...options, source });
    const sum = (of: (split: typeof splits.train) => number) =>
      Object.values(splits).reduce((n, s) => n + of(s), 0);
    const figures = {
      documents: sum((s) => s.documents),
      tokens: sum((s) => s.tokens),
      rows: sum((s) => s.rows),
      shards: sum((s) => s.shards.length),
    };
    const { corpus } = options, { reporter } = invocation;
    if (invocation.json) {
      return reporter.line(JSON.stringify({ corpus, source, ...figures, tokenizer_sha256 }));
    }
    const { documents, tokens, rows, shards } = figures;
    reporter.line(`${documents} documents, ${tokens} tokens, ${rows} rows, ${shards} shards`);
  },
};
