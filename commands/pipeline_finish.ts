/** `pipeline finish`: merges the parts of a run on many machines. @module */
import type { Command } from "../core/cli.ts";
import { finishParts, jobToFinish } from "../pipeline/parts/finish.ts";
import { finishTextParts } from "../pipeline/parts/texts.ts";
import { CORPUS, printSummary, runOptions, WORKERS } from "./pipeline_options.ts";
import { printTexts } from "./run_texts.ts";

export const command: Command = {
  name: "pipeline finish",
  summary: "Merge the parts of a run on many machines into the corpus",
  description:
    "Takes what every `pipeline run --part I/N` (or refresh) left in the corpus folder, brings the " +
    "catalogue up to date and builds the shards: the corpus is byte for byte what one machine would " +
    "have made. Says which part is missing, and changes nothing then. Killed, it goes on where it " +
    "was. The settings are those of the parts.",
  options: { corpus: CORPUS, workers: WORKERS },
  examples: ["deno task pipeline finish --corpus corpus"],
  async run(invocation) {
    const options = runOptions(invocation);
    const { kind } = jobToFinish(options.corpus);
    if (kind === "PubMed") return printSummary(invocation, await finishParts(options));
    const built = await finishTextParts(options);
    printTexts(invocation, options.corpus, built.source, built);
  },
};
