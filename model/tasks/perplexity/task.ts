/** `evaluate perplexity`: how well a model predicts held-out documents. @module */
import { UsageError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { formatTable } from "../../../core/reporter.ts";
import { type Facet, FACETS } from "../../../pipeline/selection/document_facts.ts";
import { findMeshTree, readMeshTree } from "../../../pipeline/selection/mesh_tree.ts";
import type { Split } from "../../training/corpus.ts";
import { evaluatePerplexity } from "../../training/perplexity.ts";
import { openCorpus } from "../../training/shard_corpus.ts";
import type { Measurement } from "../core/task.ts";
import { DocumentLosses, groupTable } from "./document_losses.ts";

/** The perplexity of a corpus's held-out documents. */
export const perplexity: Measurement = {
  name: "perplexity",
  evaluation: {
    summary: "Perplexity of a model on held-out documents, per token and per byte",
    description:
      "Every scored token weighs the same; padding is not scored. The interval is a 95% " +
      "bootstrap interval over packed rows. Perplexities per token can be compared between models " +
      "with the same tokenizer only; bits per byte between any.",
    options: {
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
    },
    examples: [
      "deno task evaluate perplexity --model runs/biomamba/checkpoints/step-00001000 --corpus corpus",
      "deno task evaluate perplexity --model biomamba-130m --corpus corpus --by year,type",
      "deno task evaluate perplexity --model mamba-130m-hf --corpus corpus --split test --json",
    ],
  },
  async measure({ given, model, makeModel, reporter, signal }) {
    const folder = given.string("corpus")!;
    const split = given.string("split") as Split;
    const facets = facetsOf(given.string("by"));
    using corpus = openCorpus(folder);
    const branches = facets.includes("branch")
      ? await readMeshTree(given.string("mesh-tree") ?? findMeshTree(folder))
      : undefined;
    const documents = facets.length
      ? await DocumentLosses.open(folder, split, given.number("rows"))
      : undefined;
    const result = await evaluatePerplexity({
      model,
      corpus,
      split,
      rows: given.number("rows"),
      batchSize: given.number("batch-size")!,
      seed: given.number("seed"),
      makeModel,
      onRow: documents?.onRow,
      reporter,
      signal,
    });
    const { interval } = result;
    const text = [formatTable(["perplexity", "value"], [
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
    ])];
    const by = await documents?.group(folder, facets, branches);
    for (const [facet, groups] of Object.entries(by ?? {})) {
      text.push(groupTable(facet, groups));
    }
    const json = { model, ...result, ...(by ? { by } : {}) };
    const output = given.string("output");
    if (output) writeAtomic(output, JSON.stringify(json, null, 2) + "\n");
    return { text: text.join("\n\n"), json };
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
