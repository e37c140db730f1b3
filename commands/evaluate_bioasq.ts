/** `evaluate bioasq`: scores a system's exact answers as the challenge's own scorer does. @module */
import type { Command } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";
import {
  BIOASQ_MEASURES,
  bioasqMeasures,
  type QuestionScore,
  readBioasq,
  scoreBioasq,
} from "../model/evaluation/bioasq.ts";
import { bootstrapInterval, type Interval } from "../model/evaluation/statistics.ts";

export const command: Command = {
  name: "evaluate bioasq",
  summary: "Score a system's BioASQ answers: the ten official measures",
  description:
    "Reads two BioASQ task b files, the golden answers and a system's, and prints the measures of " +
    "phase B exact answers in the official order. A question that the system left out is a wrong " +
    "answer. The table adds 95% bootstrap intervals and what answering always yes would score.",
  options: {
    gold: { type: "string", placeholder: "F.json", help: "the golden answers", required: true },
    system: { type: "string", placeholder: "F.json", help: "the system's answers", required: true },
    seed: { type: "integer", help: "seed of the bootstrap", default: 0 },
    intervals: { type: "boolean", help: "with --json, add the intervals and question counts" },
  },
  examples: [
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json",
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json --json",
  ],
  run(invocation) {
    const { reporter } = invocation;
    const gold = readBioasq(invocation.string("gold")!, "gold file");
    const system = readBioasq(invocation.string("system")!, "system file");
    const scores = scoreBioasq(gold, system), measures = bioasqMeasures(scores);
    const unscored = gold.filter((q) => q.type !== "summary").length - scores.length;
    if (unscored) reporter.log(`${unscored} questions without a golden exact answer are left out`);
    const missing = scores.filter((s) => !s.answered).length;
    if (missing) reporter.log(`${missing} questions without a system answer count as wrong`);

    if (invocation.json && !invocation.boolean("intervals")) {
      reporter.line(JSON.stringify(measures));
      return Promise.resolve();
    }
    const intervals = measureIntervals(scores, invocation.number("seed")!);
    const alwaysYes = bioasqMeasures(scores.map((s) => ({
      ...s,
      yesno: s.yesno && { gold: s.yesno.gold, correct: Number(s.yesno.gold === "yes") },
    })));
    const count = (name: string) => scores.filter((s) => name.startsWith(s.type)).length;
    reporter.line(formatTable(
      ["measure", "value", "95% interval", "always yes", "questions"],
      BIOASQ_MEASURES.map((name) => [
        name,
        measures[name].toFixed(4),
        count(name) ? formatInterval(intervals[name]!) : "-",
        name.startsWith("yesno") ? alwaysYes[name].toFixed(4) : "",
        String(count(name)),
      ]),
    ));
    if (invocation.json) {
      const questions = { yesno: count("yesno"), factoid: count("factoid"), list: count("list") };
      reporter.line(JSON.stringify({ ...measures, intervals, questions, missing }));
    }
    return Promise.resolve();
  },
};

/** Intervals of every measure, resampling the questions of its own type. */
function measureIntervals(scores: QuestionScore[], seed: number): Record<string, Interval> {
  return Object.fromEntries(BIOASQ_MEASURES.map((name) => {
    const own = scores.filter((s) => name.startsWith(s.type));
    const statistic = (indices: Uint32Array) => bioasqMeasures(own, indices)[name];
    return [name, bootstrapInterval(own.length, statistic, { seed })];
  }));
}

const formatInterval = (interval: Interval) =>
  `${interval.low.toFixed(4)} to ${interval.high.toFixed(4)}`;
