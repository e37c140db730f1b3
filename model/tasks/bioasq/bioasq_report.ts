/** The ten measures as a table and as JSON. @module */
import { formatTable } from "../../../core/reporter.ts";
import { bootstrapInterval, type Interval } from "../../statistics/mod.ts";
import type { Given, TaskReport } from "../core/task.ts";
import {
  BIOASQ_MEASURES,
  bioasqMeasures,
  type BioasqQuestion,
  type QuestionScore,
  scoreBioasq,
} from "./bioasq.ts";

/**
 * The ten measures of a system's answers.
 * @param given says with --json whether the intervals are wanted; they are where it is left out
 */
export function reportScores(
  gold: readonly BioasqQuestion[],
  system: readonly BioasqQuestion[],
  seed: number,
  given?: Given,
): TaskReport {
  const scores = scoreBioasq(gold, system);
  const measures = bioasqMeasures(scores);
  const unscored = gold.filter((q) => q.type !== "summary").length - scores.length;
  const missing = scores.filter((s) => !s.answered).length;
  const notes = [
    ...unscored ? [`${unscored} questions without a golden exact answer are left out`] : [],
    ...missing ? [`${missing} questions without a system answer count as wrong`] : [],
  ];
  const score = measures.yesno_acc;
  if (given?.json && !given.boolean("intervals")) {
    // A program that wants the ten numbers alone does not wait for the resampling.
    return { score, notes, text: "", json: { ...measures } };
  }
  const intervals = measureIntervals(scores, seed);
  const alwaysYes = bioasqMeasures(scores.map((s) => ({
    ...s,
    yesno: s.yesno && { gold: s.yesno.gold, correct: Number(s.yesno.gold === "yes") },
  })));
  const count = (name: string) => scores.filter((s) => name.startsWith(s.type)).length;
  const text = formatTable(
    ["measure", "value", "95% interval", "always yes", "questions"],
    BIOASQ_MEASURES.map((name) => [
      name,
      measures[name].toFixed(4),
      count(name) ? formatInterval(intervals[name]!) : "-",
      name.startsWith("yesno") ? alwaysYes[name].toFixed(4) : "",
      String(count(name)),
    ]),
  );
  const questions = { yesno: count("yesno"), factoid: count("factoid"), list: count("list") };
  const json = given ? { ...measures, intervals, questions, missing } : { ...measures };
  return { score, notes, text, json };
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
