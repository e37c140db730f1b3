/** `evaluate ner`: entity-level F1 of tagged sentences. @module */
import type { Command } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";
import { precisionRecall } from "../model/evaluation/classification.ts";
import {
  compareConll,
  type EntityCounts,
  entityF1Of,
  readConll,
  sumEntityCounts,
} from "../model/evaluation/ner.ts";
import { bootstrapInterval } from "../model/evaluation/statistics.ts";

export const command: Command = {
  name: "evaluate ner",
  summary: "Score tagged named entities: entity-level precision, recall and F1",
  description:
    "Reads two CoNLL files of the same sentences (a token and its tag a line, a blank line between " +
    "sentences) and counts entities as conlleval does: bounds and type must both be right. The " +
    "intervals are 95% bootstrap intervals over sentences.",
  options: {
    gold: { type: "string", placeholder: "F.tsv", help: "the golden tags", required: true },
    system: { type: "string", placeholder: "F.tsv", help: "the system's tags", required: true },
    seed: { type: "integer", help: "seed of the bootstrap", default: 0 },
  },
  examples: ["deno task evaluate ner --gold BC5CDR-IOB/test.tsv --system predictions.tsv"],
  run(invocation) {
    const { reporter } = invocation, seed = invocation.number("seed")!;
    const files = { gold: invocation.string("gold")!, system: invocation.string("system")! };
    const sentences = compareConll(readConll(files.gold), readConll(files.system), files);
    const types = [...new Set(sentences.flatMap((s) => [...s.keys()]))].sort();
    const all = measure(sentences, undefined, seed);
    const byType = types.map((type) => ({ type, ...measure(sentences, type, seed) }));
    const row = (name: string, m: Measures) => [
      name,
      ...[m.precision, m.recall, m.f1].map((v) => v.toFixed(4)),
      `${m.interval.low.toFixed(4)} to ${m.interval.high.toFixed(4)}`,
      String(m.entities),
    ];
    reporter.line(formatTable(
      ["type", "precision", "recall", "F1", "95% interval of F1", "entities"],
      [...byType.map((m) => row(m.type, m)), row("all", all)],
    ));
    if (invocation.json) {
      const named = Object.fromEntries(byType.map(({ type, ...rest }) => [type, rest]));
      reporter.line(JSON.stringify({ ...all, sentences: sentences.length, types: named }));
    }
    return Promise.resolve();
  },
};

type Measures = ReturnType<typeof measure>;

function measure(sentences: EntityCounts[], type: string | undefined, seed: number) {
  const counts = sumEntityCounts(sentences, type);
  return {
    ...precisionRecall(counts),
    interval: bootstrapInterval(sentences.length, entityF1Of(sentences, type), {
      resamples: 2000,
      seed,
    }),
    entities: counts.truePositives + counts.falseNegatives,
  };
}
