/** `evaluate perplexity`: how well a model predicts held-out documents. @module */
import type { Command } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import type { Split } from "../model/training/corpus.ts";
import { evaluatePerplexity } from "../model/training/perplexity.ts";
import { openCorpus } from "../model/training/shard_corpus.ts";
import { deviceOptions, makeModelOf } from "./device_options.ts";
import { findMeshTree, readMeshTree } from "./mesh_tree.ts";
import { DocumentLosses, type Facet, FACETS, groupTable } from "./perplexity_by.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "evaluate perplexity",
  summary: "Perplexity of a model on held-out documents, per token and per byte",
  description: "Every scored token weighs the same; padding is not scored. The interval is a 95% " +
    "bootstrap interval over packed rows. Perplexities per token can be compared between models " +
    "with the same tokenizer only; bits per byte between any.",
  options: {
    model: modelOption("the model", true),
    corpus: { type: "string", placeholder: "DIR", help: "the corpus folder", required: true },
    split: {
      type: "string",
      help: "which documents",
      choices: ["validation", "test", "train"],
      default: "validation",
    },
    rows: { type: "integer", help: "only the first N rows of the split", min: 1 },
    "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
    seed: { type: "integer", help: "seed of the bootstrap", default: 0 },
    by: {
      type: "string",
      placeholder: FACETS.join(","),
      help:
        "also by what the documents are: year, publication type, major MeSH heading, branch of " +
        "MeSH (with NLM's mtreesYYYY.bin in the corpus folder, or --mesh-tree)",
    },
    "mesh-tree": {
      type: "string",
      placeholder: "FILE",
      help:
        "NLM's mtreesYYYY.bin or descYYYY.xml, also as .gz: where headings stand (default: the " +
        "newest in the corpus folder)",
    },
    output: { type: "string", placeholder: "F.json", help: "write the result to a file, too" },
    ...deviceOptions,
  },
  examples: [
    "deno task evaluate perplexity --model runs/biomamba/checkpoints/step-00001000 --corpus corpus",
    "deno task evaluate perplexity --model biomamba-130m --corpus corpus --by year,type",
    "deno task evaluate perplexity --model mamba-130m-hf --corpus corpus --split test --json",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const model = invocation.string("model")!;
    const folder = invocation.string("corpus")!;
    const split = invocation.string("split") as Split;
    const facets = facetsOf(invocation.string("by"));
    using corpus = openCorpus(folder);
    const branches = facets.includes("branch")
      ? await readMeshTree(invocation.string("mesh-tree") ?? findMeshTree(folder))
      : undefined;
    const documents = facets.length
      ? await DocumentLosses.open(folder, split, invocation.number("rows"))
      : undefined;
    const result = await evaluatePerplexity({
      model,
      corpus,
      split,
      rows: invocation.number("rows"),
      batchSize: invocation.number("batch-size")!,
      seed: invocation.number("seed"),
      makeModel: await makeModelOf(invocation),
      onRow: documents?.onRow,
      reporter,
      signal,
    });
    const { interval } = result;
    reporter.line(formatTable(["perplexity", "value"], [
      ["split", result.split],
      ["rows", result.rows.toLocaleString("en")],
      ["scored tokens", result.tokens.toLocaleString("en")],
      ["loss (nats a token)", result.loss.toFixed(4)],
      ["perplexity", result.perplexity.toFixed(3)],
      ["95% interval", `${interval.low.toFixed(3)} to ${interval.high.toFixed(3)}`],
      ...(result.bits_per_byte === undefined ? [] : [
        ["bits a byte", result.bits_per_byte.toFixed(4)],
        ["perplexity of a byte", result.byte_perplexity!.toFixed(4)],
      ]),
    ]));
    const by = await documents?.group(folder, facets, branches);
    for (const [facet, groups] of Object.entries(by ?? {})) {
      reporter.line("");
      reporter.line(groupTable(facet, groups));
    }
    const json = { model, ...result, ...(by ? { by } : {}) };
    const output = invocation.string("output");
    if (output) writeAtomic(output, JSON.stringify(json, null, 2) + "\n");
    if (invocation.json) reporter.line(JSON.stringify(json));
  },
};

function facetsOf(text: string | undefined): Facet[] {
  const words = (text ?? "").split(",").map((w) => w.trim()).filter(Boolean);
  for (const word of words) {
    if (!(FACETS as readonly string[]).includes(word)) {
      throw new UsageError(`Option --by has "${word}": choose among ${FACETS.join(", ")}`);
    }
  }
  return words as Facet[];
}
