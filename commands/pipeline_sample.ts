/** `pipeline sample`: which rows a step of training reads, and which of them are a rank's. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError } from "../core/errors.ts";
import {
  openCorpus,
  openMix,
  rankRows,
  requireRows,
  selectedCorpus,
} from "../model/training/mod.ts";
import { selectionOf, selectionOptions } from "./selection_options.ts";

export const command: Command = {
  name: "pipeline sample",
  summary: "Print the rows that a step of training reads, or a rank's share of them",
  description:
    "One JSON object per row: its place in the training order, its number among the rows, and its " +
    "tokens. The order is the trainer's own and is computed from the place alone: rank R of N " +
    "takes its share of any step without hearing of the others. Programs have the same from rankRows() " +
    "of mod.ts.",
  options: {
    corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
    mix: {
      type: "string",
      placeholder: "A=0.8,B=0.2",
      help: "several corpus folders instead, with their shares of the tokens",
    },
    step: { type: "integer", min: 1, default: 1, help: "the step, from 1" },
    "batch-size": { type: "integer", min: 1, default: 8, help: "rows of a step, over all ranks" },
    seed: { type: "integer", min: 0, default: 0, help: "of the order of rows" },
    rank: { type: "integer", min: 0, default: 0, help: "this rank, from 0" },
    ranks: { type: "integer", min: 1, default: 1, help: "how many ranks share a step" },
    ...selectionOptions,
  },
  examples: [
    "deno task pipeline sample --corpus corpus --step 1000 --batch-size 64 --rank 3 --ranks 8",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const mix = invocation.string("mix");
    const folder = invocation.string("corpus");
    if ((mix === undefined) === (folder === undefined)) {
      throw new UsageError("Give either --corpus DIR or --mix");
    }
    const batch = invocation.requiredNumber("batch-size");
    const seed = invocation.requiredNumber("seed");
    const rank = invocation.requiredNumber("rank");
    const ranks = invocation.requiredNumber("ranks");
    if (rank >= ranks) throw new UsageError(`--rank ${rank} must be below --ranks ${ranks}`);
    if (batch % ranks !== 0) {
      throw new UsageError(`--batch-size ${batch} must be a multiple of --ranks ${ranks}`);
    }
    using corpus = mix === undefined ? openCorpus(folder ?? "") : openMix(mix);
    const chosen = await selectedCorpus(corpus, selectionOf(invocation), reporter);
    const rows = requireRows(chosen, "train");
    const step = invocation.requiredNumber("step");
    for (const read of rankRows(rows, { step, rows: batch, seed, rank, ranks })) {
      reporter.line(jsonLine({ ...read, tokens: [...read.tokens] }));
    }
  },
};
