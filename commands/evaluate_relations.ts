/**
 * `evaluate relations`: F1 of relations, by sentence label or by document, of a system's file or of a
 * model.
 * @module
 */
import type { Command, Invocation } from "../core/cli.ts";
import { UsageError, UserError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import {
  labelCounts,
  type Labelled,
  macroF1,
  macroF1Of,
  precisionRecall,
} from "../model/tasks/core/classification.ts";
import {
  compareRelations,
  readPubtator,
  readRelationLines,
  readRelations,
  relationItems,
  relationWords,
  sumCounts,
} from "../model/tasks/relations/relations.ts";
import { bootstrapInterval, type Interval } from "../model/statistics/mod.ts";
import { choiceOptions, evaluateChoices } from "./choice_options.ts";
import { modelOption } from "./model_options.ts";

export const command: Command = {
  name: "evaluate relations",
  summary: "Score relations between entities: precision, recall and F1",
  description:
    'Two kinds of file. JSON lines (.jsonl) with "text" and "label", as ChemProt: micro and macro ' +
    "F1 over labels, where a null label is a missing answer and counts as wrong. PubTator: the " +
    "relations of each document, all of their parts right, micro-averaged. With --model, a model " +
    "labels the sentences of a JSON lines file by the most probable label; its accuracy is the " +
    "micro F1. The intervals are 95% bootstrap intervals over sentences or documents.",
  options: {
    gold: { type: "string", placeholder: "F", help: "the golden relations", required: true },
    system: { type: "string", placeholder: "F", help: "a system's relations" },
    model: modelOption("the model to ask instead"),
    ...choiceOptions,
  },
  examples: [
    "deno task evaluate relations --gold chemprot/test.jsonl --system predictions.jsonl",
    "deno task evaluate relations --gold CDR_TestSet.PubTator.txt --system predictions.txt",
    "deno task evaluate relations --gold chemprot/test.jsonl --model runs/re/checkpoints/step-00000650",
  ],
  async run(invocation) {
    const gold = invocation.string("gold")!;
    const system = invocation.string("system");
    const lines = /\.jsonl?$/i.test(gold);
    const model = invocation.string("model");
    if ((system === undefined) === (model === undefined)) {
      throw new UsageError(
        "Give either --system, the answers to score, or --model, a model to ask",
      );
    }
    if (system === undefined) await askModel(invocation, gold);
    else if (lines) sentences(invocation, gold, system);
    else documents(invocation, gold, system);
  },
};

async function askModel(invocation: Invocation, goldFile: string): Promise<void> {
  const examples = readRelations(goldFile);
  const labels = [...new Set(examples.map((e) => e.label))].sort();
  const items = relationItems(examples, labels);
  const name = "relations";
  const task = { name, labels: labels.map(relationWords), items };
  const { json } = await evaluateChoices(invocation, task, items.map((item) => item.gold));
  if (invocation.json) invocation.reporter.line(JSON.stringify(json));
}

const formatInterval = (i: Interval) => `${i.low.toFixed(4)} to ${i.high.toFixed(4)}`;

/** Labels of sentences. With one label a sentence, micro F1 is the share of right labels. */
function sentences({ reporter, json, number }: Invocation, goldFile: string, systemFile: string) {
  const gold = readRelations(goldFile);
  const system = readRelationLines(systemFile);
  if (gold.length !== system.length) {
    throw new UserError(
      `Cannot compare ${systemFile} with ${goldFile}: they have ${system.length} and ` +
        `${gold.length} lines; give a line for every one of the gold file, in its order`,
    );
  }
  const differs = gold.findIndex((g, i) => (system[i]!.text ?? g.text) !== g.text);
  if (differs >= 0) {
    throw new UserError(
      `Cannot compare ${systemFile} with ${goldFile}: the texts of line ${differs + 1} differ`,
    );
  }
  const known = [...new Set(gold.map((g) => g.label))].sort();
  const seed = number("seed")!;
  const extra = [...new Set(system.map((s) => s.label))].filter((l) => l && !known.includes(l));
  const labels = [...known, ...extra as string[]];
  const items: Labelled = {
    gold: gold.map((g) => labels.indexOf(g.label)),
    predicted: system.map((s) => s.label === null ? -1 : labels.indexOf(s.label)),
  };
  const counts = labelCounts(items, labels.length);
  const micro = precisionRecall(sumCounts(counts));
  const microInterval = bootstrapInterval(
    gold.length,
    (indices) => precisionRecall(sumCounts(labelCounts(items, labels.length, indices))).f1,
    { resamples: 2000, seed },
  );
  // Macro over the gold file's labels: a label that only the system uses has no recall.
  const macro = macroF1(items, labels.length) * labels.length / known.length;
  const macroInterval = bootstrapInterval(
    gold.length,
    (indices) => macroF1Of(items, labels.length)(indices) * labels.length / known.length,
    { resamples: 2000, seed },
  );
  const rows = counts.map((c, i) => {
    const { precision, recall, f1 } = precisionRecall(c);
    const support = c.truePositives + c.falseNegatives;
    return [labels[i]!, ...[precision, recall, f1].map((v) => v.toFixed(4)), "", String(support)];
  });
  const all = String(gold.length);
  const { precision, recall, f1 } = micro;
  rows.push(
    ["macro", "", "", macro.toFixed(4), formatInterval(macroInterval), all],
    [
      "micro",
      ...[precision, recall, f1].map((v) => v.toFixed(4)),
      formatInterval(microInterval),
      all,
    ],
  );
  reporter.line(
    formatTable(["label", "precision", "recall", "F1", "95% interval of F1", "sentences"], rows),
  );
  if (json) {
    reporter.line(JSON.stringify({
      micro_f1: f1,
      macro_f1: macro,
      intervals: { micro_f1: microInterval, macro_f1: macroInterval },
      sentences: gold.length,
      labels: Object.fromEntries(labels.map((l, i) => [l, precisionRecall(counts[i]!)])),
    }));
  }
}

/** Relations of whole documents. */
function documents({ reporter, json, number }: Invocation, goldFile: string, systemFile: string) {
  const counts = compareRelations(readPubtator(goldFile), readPubtator(systemFile));
  const total = sumCounts(counts);
  const measures = precisionRecall(total);
  const interval = bootstrapInterval(
    counts.length,
    (indices) => precisionRecall(sumCounts(counts, indices)).f1,
    { seed: number("seed")! },
  );
  const relations = total.truePositives + total.falseNegatives;
  reporter.line(formatTable(
    ["precision", "recall", "F1", "95% interval of F1", "relations", "documents"],
    [[
      ...[measures.precision, measures.recall, measures.f1].map((v) => v.toFixed(4)),
      formatInterval(interval),
      String(relations),
      String(counts.length),
    ]],
  ));
  if (json) {
    reporter.line(JSON.stringify({ ...measures, interval, relations, documents: counts.length }));
  }
}
