/** `pipeline run`: everything from the mirror to shards. @module */
import type { Command } from "../core/cli.ts";
import { runPipeline } from "../pipeline/run.ts";
import { textFiles } from "../pipeline/texts/corpus.ts";
import { runPart } from "../pipeline/parts/run_part.ts";
import { runTextPart } from "../pipeline/parts/texts.ts";
import { partOfCall, printPart } from "./part_option.ts";
import { runTexts } from "./run_texts.ts";
import { printSummary, RUN_OPTIONS, runOptions, withoutNetwork } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline run",
  summary: "Bring PubMed files into a corpus: documents, catalogue, tokens, shards",
  description:
    "Reads a folder or an HTTP mirror laid out as NLM's server (baseline/, updatefiles/), " +
    "checks every file's MD5, and writes what the corpus lacks. Stopped or killed, it goes on where " +
    "it was; a second run does nothing. Settings are recorded in the corpus and hold from then on. " +
    "A folder of .jsonl, .parquet (their field text) or .txt files (each a document) makes a corpus " +
    "too, to mix with PubMed in training; what their records say besides text is kept, to choose by. " +
    "With --part, many machines do it together (docs/cluster.md).",
  options: {
    source: {
      type: "string",
      placeholder: "URL|DIR",
      required: true,
      help: "the mirror: a folder or a URL with baseline/ and updatefiles/; or a folder of texts",
    },
    ...RUN_OPTIONS,
  },
  stopping: "Stopping; what has come is kept, and the same command goes on from there",
  examples: [
    "deno task pipeline run --source https://ftp.ncbi.nlm.nih.gov/pubmed/ --corpus corpus --files 1-4",
    "deno task pipeline run --source mirror --corpus corpus --tokenizer tokenizer.json",
    "deno task pipeline run --source mirror --corpus corpus --tokenizer tokenizer.json --part 2/8",
  ],
  async run(invocation) {
    const source = invocation.requiredString("source");
    withoutNetwork(source);
    const part = partOfCall(invocation);
    const texts = textFiles(source).length > 0;
    if (part) {
      const work = texts ? runTextPart : runPart;
      return printPart(invocation, await work({ ...runOptions(invocation), source }, part));
    }
    if (texts) return await runTexts(invocation, source);
    printSummary(invocation, await runPipeline(runOptions(invocation)));
  },
};
