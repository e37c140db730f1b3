/** `evaluate perplexity`: how well a model predicts held-out documents. @module */
import { fail, UsageError, UserError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { hasCitations } from "../../../pipeline/selection/columns.ts";
import { formatTable } from "../../../core/reporter.ts";
import { type Facet, FACETS } from "../../../pipeline/facets/document_facts.ts";
import { findMeshTree, readMeshTree } from "../../../pipeline/facets/mesh_tree.ts";
import {
  evaluatePerplexity,
  openCorpus,
  type PerplexityResult,
  type Split,
  type TrainingCorpus,
} from "../../training/mod.ts";
import { formatInterval } from "../../statistics/mod.ts";
import type { Given, Measurement, MeasurementRequest } from "../core/task.ts";
import { comparePerplexities, comparisonText } from "./comparison.ts";
import { DocumentLosses, groupTable } from "./document_losses.ts";
import { measureDocuments } from "./measure_documents.ts";
import { type PerplexityPage, perplexityPage } from "./page.ts";

/** The perplexity of a corpus's held-out documents. */
export const perplexity: Measurement = {
  name: "perplexity",
  evaluation: {
    summary: "Perplexity of a model on held-out documents, per token and per byte",
    description:
      "Every scored token weighs the same; padding is not scored. The interval is a 95% " +
      "bootstrap interval over packed rows, or over documents. Perplexities per token can be compared " +
      "between models with the same tokenizer only; bits per byte between any. Of a run it is the " +
      "checkpoint and the weights that validation chose. The test split is the default: choose between " +
      "models on --split validation. --text scores any texts, each by itself, long ones in windows " +
      "that overlap; of BioASQ's and other files of questions, each question with its answer. " +
      "--protocol v1 prints beside that what the code published with BioMamba computes, which scores " +
      "padding: it stands beside published figures and says little of text.",
    options: {
      corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
      text: {
        type: "string",
        placeholder: "F|DIR",
        help:
          "texts in place of a corpus: .jsonl or .parquet with text, .txt (one document), lines of " +
          "any other file, a folder of these, or a file of questions",
      },
      protocol: {
        type: "string",
        help: "rows: as in training; documents: each by itself; v1: BioMamba's, beside documents " +
          "(default: rows of a corpus, documents of texts)",
        choices: ["rows", "documents", "v1"],
      },
      window: {
        type: "integer",
        help: "documents: tokens that are read at once",
        min: 16,
        default: 1024,
      },
      stride: {
        type: "integer",
        help: "documents: tokens between the beginnings of windows (default: half the window)",
        min: 1,
      },
      tokenizer: {
        type: "string",
        placeholder: "FILE",
        help: "documents: the tokenizer.json to read with, where the model folder has none",
      },
      split: {
        type: "string",
        help: "which documents",
        choices: ["validation", "test", "train"],
        default: "test",
      },
      rows: {
        type: "integer",
        help: "only so many rows of the split, or documents, drawn by --seed",
        min: 1,
      },
      "batch-size": { type: "integer", help: "rows computed at once", min: 1, default: 8 },
      seed: { type: "integer", help: "of the drawn rows and of the bootstrap", default: 0 },
      base: {
        type: "string",
        placeholder: "DIR|ID",
        help:
          "the model it was adapted from, scored on the same text, with a paired bootstrap by " +
          "document",
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
      "deno task evaluate perplexity --model biomamba-130m --text abstracts.jsonl --protocol v1",
      "deno task evaluate perplexity --model biomamba-130m --text BioASQ-training11b.json",
    ],
  },
  async measure(request) {
    const { given, model, job } = request;
    const protocol = protocolOf(given);
    if (protocol !== "rows" && job.size > 1) {
      if (!job.leads) return { text: "", json: {} };
      request.reporter.log(
        "Documents are scored by rank 0 alone; ranks share the rows of a corpus",
      );
    }
    const { text, json, shown }: Measured = protocol === "rows"
      ? await measureRows(request)
      : await measureDocuments(request, protocol);
    if (!job.leads) return { text, json };
    const output = given.string("output");
    if (output) writeAtomic(output, JSON.stringify(json, null, 2) + "\n");
    const page = given.string("report");
    if (page && shown) {
      writeAtomic(page, perplexityPage({ model, ...shown }));
      request.reporter.log(`Wrote ${page}`);
    }
    return { text, json };
  },
};

/**
 * How the text is to be scored.
 * @throws {UsageError} where options do not go together.
 */
function protocolOf(given: Given): "rows" | "documents" | "v1" {
  const corpus = given.string("corpus");
  const texts = given.string("text");
  if ((corpus === undefined) === (texts === undefined)) {
    throw new UsageError("Give either --corpus DIR or --text F, what is to be scored");
  }
  const protocol = given.string("protocol") ?? (corpus === undefined ? "documents" : "rows");
  if (protocol === "rows" && corpus === undefined) {
    throw new UsageError("Texts have no rows: give --protocol documents or v1, or a --corpus");
  }
  if (protocol !== "rows" && given.string("by") !== undefined) {
    throw new UsageError("Option --by needs the rows of a corpus: leave --protocol away");
  }
  if (protocol !== "rows" && given.string("report") !== undefined) {
    throw new UsageError("Option --report needs the rows of a corpus: leave --protocol away");
  }
  return protocol === "rows" || protocol === "v1" ? protocol : "documents";
}

/** What was measured: for people, for programs, and for a page where there is one. */
interface Measured {
  text: string;
  json: Record<string, unknown>;
  shown?: Omit<PerplexityPage, "model">;
}

/** The perplexity of a corpus's packed rows. */
async function measureRows(
  request: MeasurementRequest,
): Promise<Measured> {
  const { given, model } = request;
  const folder = given.string("corpus") ?? "";
  const facets = facetsOf(given.string("by"));
  using corpus = openCorpus(folder);
  const branches = facets.includes("branch")
    ? await readMeshTree(given.string("mesh-tree") ?? findMeshTree(folder))
    : undefined;
  const split = given.string("split") as Split;
  const base = given.string("base");
  const losses = () => DocumentLosses.open(folder, split);
  if (facets.length) requireCitations(folder);
  const documents = facets.length || base !== undefined ? await losses() : undefined;
  const own = await scoreRows(request, corpus, model, documents);
  const text = [resultTable(own)];
  const by = facets.length ? await documents?.group(folder, facets, branches) : undefined;
  for (const [facet, groups] of Object.entries(by ?? {})) text.push(groupTable(facet, groups));
  const json: Record<string, unknown> = { model, protocol: "rows", ...own, ...(by ? { by } : {}) };
  let beside: PerplexityPage["base"];
  if (base !== undefined && documents) {
    const theirs = await losses();
    const other = await scoreRows(request, corpus, base, theirs);
    const comparison = comparePerplexities(
      documents.totals(),
      theirs.totals(),
      given.number("seed") ?? 0,
    );
    const said = comparisonText(comparison);
    text.push(`Its base, ${base}:`, resultTable(other), said);
    beside = { name: base, result: other, comparison: said };
    json.base = { name: base, ...other };
    json.comparison = comparison;
  }
  const shown = { corpus: folder, result: own, by, base: beside };
  return { text: text.join("\n\n"), json, shown };
}

/** Scores a model on the chosen rows; the losses of documents are summed beside. */
function scoreRows(
  { given, makeModel, reporter, signal, job }: MeasurementRequest,
  corpus: TrainingCorpus,
  model: string,
  documents?: DocumentLosses,
): Promise<PerplexityResult> {
  return evaluatePerplexity({
    model,
    corpus,
    split: given.string("split") as Split,
    rows: given.number("rows"),
    batchSize: given.number("batch-size") ?? fail("--batch-size has a default"),
    seed: given.number("seed"),
    makeModel,
    onRow: documents?.onRow,
    reporter,
    signal,
    job,
  });
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
    ...(result.word_perplexity === undefined
      ? []
      : [["perplexity of a word", result.word_perplexity.toFixed(3)]]),
    ...(result.bits_per_byte === undefined ? [] : [
      ["bits per byte", result.bits_per_byte.toFixed(4)],
      ["perplexity of a byte", (result.byte_perplexity ?? NaN).toFixed(4)],
    ]),
  ]);
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

/** @throws {UserError} for a corpus whose documents have no facets. */
function requireCitations(corpus: string): void {
  if (hasCitations(corpus)) return;
  throw new UserError(
    `Cannot tell the loss by what the documents of ${corpus} are: they are no citations; leave ` +
      "--by away",
  );
}
