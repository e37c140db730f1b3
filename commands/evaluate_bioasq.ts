/**
 * `evaluate bioasq`: scores a system's exact answers as the challenge's own scorer does, or asks a
 * model the yes/no questions.
 * @module
 */
import type { Command, Invocation } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import {
  BIOASQ_MEASURES,
  BIOASQ_VERDICTS,
  bioasqItems,
  bioasqMeasures,
  type BioasqQuestion,
  type QuestionScore,
  readBioasq,
  scoreBioasq,
} from "../model/evaluation/bioasq.ts";
import { bootstrapInterval, type Interval } from "../model/evaluation/statistics.ts";
import { choiceOptions, evaluateChoices } from "./choice_options.ts";

export const command: Command = {
  name: "evaluate bioasq",
  summary: "Score BioASQ answers by the ten official measures, or a model's yes and no",
  description:
    "With --system, reads two BioASQ task b files, the golden answers and a system's, and prints " +
    "the measures of phase B exact answers in the official order. A question that the system left " +
    "out is a wrong answer. The table adds 95% bootstrap intervals and what answering always yes " +
    "would score. With --model, asks a model the yes/no questions with their snippets and takes the " +
    "answer that it finds more probable.",
  options: {
    gold: { type: "string", placeholder: "F.json", help: "the golden answers", required: true },
    system: { type: "string", placeholder: "F.json", help: "a system's answers" },
    model: { type: "string", placeholder: "DIR", help: "a model to ask instead" },
    ...choiceOptions,
    intervals: { type: "boolean", help: "with --json, add the intervals and question counts" },
  },
  examples: [
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json",
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json --json",
    "deno task evaluate bioasq --gold 13B1_golden.json --model mamba-130m-hf",
  ],
  async run(invocation) {
    const { string } = invocation, gold = readBioasq(string("gold")!, "gold file");
    const system = string("system"), model = string("model");
    if ((system === undefined) === (model === undefined)) {
      throw new UsageError(
        "Give either --system, the answers to score, or --model, a model to ask",
      );
    }
    if (system !== undefined) scoreSystem(invocation, gold, readBioasq(system, "system file"));
    else await askModel(invocation, gold);
  },
};

/** Most yes/no questions of the challenge are to be answered yes: the trivial system. */
async function askModel(invocation: Invocation, gold: BioasqQuestion[]): Promise<void> {
  const items = bioasqItems(gold), task = { name: "bioasq_yesno", labels: BIOASQ_VERDICTS, items };
  await evaluateChoices(invocation, task, [0]);
}

/** Prints the ten measures. */
function scoreSystem(
  invocation: Invocation,
  gold: BioasqQuestion[],
  system: BioasqQuestion[],
): void {
  const { reporter } = invocation;
  const scores = scoreBioasq(gold, system), measures = bioasqMeasures(scores);
  const unscored = gold.filter((q) => q.type !== "summary").length - scores.length;
  if (unscored) reporter.log(`${unscored} questions without a golden exact answer are left out`);
  const missing = scores.filter((s) => !s.answered).length;
  if (missing) reporter.log(`${missing} questions without a system answer count as wrong`);

  if (invocation.json && !invocation.boolean("intervals")) {
    reporter.line(JSON.stringify(measures));
    return;
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
}

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
