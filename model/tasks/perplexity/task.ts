/** `evaluate perplexity`: how well a model predicts held-out documents. @module */
import { UsageError, UserError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { formatTable } from "../../../core/reporter.ts";
import { type Facet, FACETS } from "../../../pipeline/facets/document_facts.ts";
import { findMeshTree, readMeshTree } from "../../../pipeline/facets/mesh_tree.ts";
import type { Split, TrainingCorpus } from "../../training/corpus.ts";
import {
  evaluatePerplexity,
  type OnRow,
  type PerplexityResult,
} from "../../training/perplexity.ts";
import { openCorpus } from "../../training/shard_corpus.ts";
import { formatInterval, type Interval, pairedBootstrap } from "../../statistics/mod.ts";
import type { Measurement, MeasurementRequest } from "../core/task.ts";
import { DocumentLosses, groupTable } from "./document_losses.ts";
import { type PerplexityPage, perplexityPage } from "./page.ts";

/** The perplexity of a corpus's held-out documents. */
export const perplexity: Measurement = {
  name: "perplexity",
  evaluation: {
    summary: "Perplexity of a model on held-out documents, per token and per byte",
    description:
      "Every scored token weighs the same; padding is not scored. The interval is a 95% " +
      "bootstrap interval over packed rows. Perplexities per token can be compared between models " +
      "with the same tokenizer only; bits per byte between any. Of a run it is the checkpoint and the " +
      "weights that validation chose. The test split is the default: choose between models on " +
      "--split validation.",
    options: {
      corpus: { type: "string", placeholder: "DIR", help: "the corpus folder", required: true },
      split: {
        type: "string",
        help: "which documents",
        choices: ["validation", "test", "train"],
        default: "test",
      },
      rows: { type: "integer", help: "only so many rows of the split, drawn by --seed", min: 1 },
      "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
      seed: { type: "integer", help: "of the drawn rows and of the bootstrap", default: 0 },
      base: {
        type: "string",
        placeholder: "DIR|ID",
        help: "the model it was adapted from, scored on the same rows, with a paired test",
      },
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
      report: { type: "string", placeholder: "F.html", help: "write the result as a page, too" },
    },
    examples: [
      "deno task evaluate perplexity --model runs/biomamba/checkpoints/step-00001000 --corpus corpus",
      "deno task evaluate perplexity --model biomamba-130m --corpus corpus --by year,type",
      "deno task evaluate perplexity --model mamba-130m-hf --corpus corpus --base mamba-130m --json",
    ],
  },
  async measure(request) {
    const { given, model } = request;
    const folder = given.string("corpus")!;
    const facets = facetsOf(given.string("by"));
    using corpus = openCorpus(folder);
    const branches = facets.includes("branch")
      ? await readMeshTree(given.string("mesh-tree") ?? findMeshTree(folder))
      : undefined;
    const split = given.string("split") as Split;
    const documents = facets.length ? await DocumentLosses.open(folder, split) : undefined;
    const base = given.string("base");
    let beside: PerplexityPage["base"];
    const own = await scoreRows(request, corpus, model, documents);
    const text = [resultTable(own.result)];
    const by = await documents?.group(folder, facets, branches);
    for (const [facet, groups] of Object.entries(by ?? {})) text.push(groupTable(facet, groups));
    const json: Record<string, unknown> = { model, ...own.result, ...(by ? { by } : {}) };
    if (base !== undefined) {
      const other = await scoreRows(request, corpus, base);
      const comparison = comparePerplexities(own.rows, other.rows, given.number("seed") ?? 0);
      const said = comparisonText(comparison);
      text.push(`Its base, ${base}:`, resultTable(other.result), said);
      beside = { name: base, result: other.result, comparison: said };
      json.base = { name: base, ...other.result };
      json.comparison = comparison;
    }
    const output = given.string("output");
    if (output) writeAtomic(output, JSON.stringify(json, null, 2) + "\n");
    const page = given.string("report");
    if (page) {
      const shown = { model, corpus: folder, result: own.result, by, base: beside };
      writeAtomic(page, perplexityPage(shown));
      request.reporter.log(`Wrote ${page}`);
    }
    return { text: text.join("\n\n"), json };
  },
};

/** Scores a model on the chosen rows; the losses stay told apart by row, for the paired test. */
async function scoreRows(
  { given, makeModel, reporter, signal }: MeasurementRequest,
  corpus: TrainingCorpus,
  model: string,
  documents?: DocumentLosses,
): Promise<{ result: PerplexityResult; rows: ScoredRow[] }> {
  const rows: ScoredRow[] = [];
  const onRow: OnRow = (row, losses, targets) => {
    documents?.onRow(row, losses, targets);
    let nll = 0;
    let scored = 0;
    targets.forEach((target, t) => {
      if (target < 0) return;
      nll += losses[t]!;
      scored++;
    });
    rows.push({ nll, targets: scored });
  };
  const result = await evaluatePerplexity({
    model,
    corpus,
    split: given.string("split") as Split,
    rows: given.number("rows"),
    batchSize: given.number("batch-size")!,
    seed: given.number("seed"),
    makeModel,
    onRow: documents || given.string("base") !== undefined ? onRow : undefined,
    reporter,
    signal,
  });
  return { result, rows };
}

/** How many rows were scored, and of how many. */
function rowsOf({ rows, of_rows: all, seed }: PerplexityResult): string {
  const number = (n: number) => n.toLocaleString("en");
  return rows < all
    ? `${number(rows)} of ${number(all)}, drawn by seed ${seed}`
    : `all ${number(rows)}`;
}

function resultTable(result: PerplexityResult): string {
  const { interval } = result;
  return formatTable(["perplexity", "value"], [
    ["split", result.split],
    ["rows", rowsOf(result)],
    ["scored tokens", result.tokens.toLocaleString("en")],
    ["loss (nats per token)", result.loss.toFixed(4)],
    ["perplexity", result.perplexity.toFixed(3)],
    ["95% interval", formatInterval(interval, 3)],
    ...(result.bits_per_byte === undefined ? [] : [
      ["bits per byte", result.bits_per_byte.toFixed(4)],
      ["perplexity of a byte", (result.byte_perplexity ?? NaN).toFixed(4)],
    ]),
  ]);
}

/** The summed loss of one row. */
interface ScoredRow {
  nll: number;
  targets: number;
}

/** Two models' perplexities on the same rows. */
interface PerplexityComparison {
  /** The model's perplexity less the base's: below 0 where the model is better. */
  difference: number;
  interval: Interval;
  p: number;
}

/**
 * Paired bootstrap of two models' perplexities over the rows that both have read.
 * @throws {UserError} where their rows have different numbers of scored tokens: other tokenizers.
 */
export function comparePerplexities(
  own: readonly ScoredRow[],
  base: readonly ScoredRow[],
  seed: number,
): PerplexityComparison {
  if (own.length !== base.length || own.some(({ targets }, i) => targets !== base[i]!.targets)) {
    throw new UserError(
      "Cannot compare the perplexities: the models did not score the same tokens; name models that " +
        "read the corpus with the same tokenizer",
    );
  }
  const statistic = (rows: readonly ScoredRow[]) => (indices: Uint32Array) => {
    let nll = 0;
    let targets = 0;
    for (const index of indices) {
      nll += rows[index]!.nll;
      targets += rows[index]!.targets;
    }
    return Math.exp(nll / targets);
  };
  const { difference, interval, pValue } = pairedBootstrap(
    own.length,
    statistic(own),
    statistic(base),
    { resamples: 2000, seed },
  );
  return { difference, interval, p: pValue };
}

function comparisonText({ difference, interval, p }: PerplexityComparison): string {
  const { low, high } = interval;
  const verdict = high < 0
    ? "It is better than its base."
    : low > 0
    ? "It is worse than its base."
    : "This does not show a difference from its base.";
  return `Against its base: perplexity ${difference.toFixed(3)} (95% ${low.toFixed(3)} to ` +
    `${high.toFixed(3)}), p = ${p.toFixed(4)}\n${verdict}`;
}

function facetsOf(text: string | undefined): Facet[] {
  const words = (text ?? "").split(",").map((w) => w.trim()).filter(Boolean);
  for (const word of words) {
    if (!(FACETS as readonly string[]).includes(word)) {
      throw new UsageError(`Option --by has "${word}": choose among ${FACETS.join(", ")}`);
    }
  }
  return words as Facet[];
}
