/**
 * `evaluate bioasq`: scores a system's exact answers as the challenge's own scorer does, or asks a
 * model the questions first.
 * @module
 */
import type { Command, Invocation } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatTable } from "../core/reporter.ts";
import { join } from "../core/std.ts";
import {
  BIOASQ_MEASURES,
  BIOASQ_VERDICTS,
  bioasqItems,
  bioasqMeasures,
  type BioasqQuestion,
  type BioasqScores,
  type QuestionScore,
  readBioasq,
  scoreBioasq,
} from "../model/tasks/bioasq/bioasq.ts";
import { generateAnswers, submission } from "../model/tasks/bioasq/bioasq_answers.ts";
import { openReader } from "../model/tasks/core/choice_run.ts";
import { fileDate } from "../model/tasks/core/results_files.ts";
import { bootstrapInterval, type Interval } from "../model/statistics/mod.ts";
import { localModel } from "../model/weights/hub.ts";
import { choiceOptions, evaluateChoices } from "./choice_options.ts";
import { deviceChoice } from "./device_options.ts";
import { modelOption, tokenizerOption } from "./model_options.ts";

export const command: Command = {
  name: "evaluate bioasq",
  summary: "Score BioASQ answers, or a model, by the ten official measures",
  description:
    "With --system, reads two BioASQ task b files, the golden answers and a system's, and prints " +
    "the measures of phase B exact answers in the official order. A question that the system left " +
    "out is a wrong answer. The table adds 95% bootstrap intervals and what answering always yes " +
    "would score. With --model, asks a model every question with its snippets: yes or no by which it " +
    "finds more probable, names by generating them; writes the answers as a submission.",
  options: {
    gold: { type: "string", placeholder: "F.json", help: "the golden answers", required: true },
    system: { type: "string", placeholder: "F.json", help: "a system's answers" },
    model: modelOption("the model to ask instead"),
    ...choiceOptions,
    intervals: { type: "boolean", help: "with --json, add the intervals and question counts" },
  },
  examples: [
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json",
    "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json --json",
    "deno task evaluate bioasq --gold 13B1_golden.json --model mamba-130m-hf",
  ],
  async run(invocation) {
    const { string } = invocation;
    const gold = readBioasq(string("gold")!, "gold file");
    const system = string("system");
    const model = string("model");
    if ((system === undefined) === (model === undefined)) {
      throw new UsageError(
        "Give either --system, the answers to score, or --model, a model to ask",
      );
    }
    if (system !== undefined) scoreSystem(invocation, gold, readBioasq(system, "system file"));
    else await askModel(invocation, gold);
  },
};

/** Asks a model everything, writes its answers as a submission, and scores them. */
async function askModel(invocation: Invocation, gold: BioasqQuestion[]): Promise<void> {
  const { reporter } = invocation;
  const asked: BioasqQuestion[] = gold.filter((q) => q.answer);
  const items = bioasqItems(asked);
  const json: Record<string, unknown> = {};
  const system: BioasqQuestion[] = [];
  if (items.length) {
    const task = { name: "bioasq_yesno", labels: BIOASQ_VERDICTS, items };
    // Most yes/no questions of the challenge are to be answered yes: the trivial system.
    const { answers, json: yesno } = await evaluateChoices(invocation, task, [0]);
    json.yesno = yesno;
    const byId = new Map(asked.map((q) => [q.id, q]));
    for (const { item, predicted } of answers) {
      const verdict = BIOASQ_VERDICTS[predicted] ?? "none";
      system.push({ ...byId.get(item.id)!, answer: { verdict, lists: [] } });
    }
  }
  const open = asked.filter((q) => q.type === "factoid" || q.type === "list");
  system.push(...await generate(invocation, open.slice(0, invocation.number("limit"))));
  const ids = new Set(system.map((q) => q.id));
  const limited = asked.filter((q) => ids.has(q.id));
  const path = join(invocation.string("out")!, `bioasq_answers_${fileDate(new Date())}.json`);
  writeAtomic(path, JSON.stringify(submission(system), null, 2) + "\n");
  reporter.log(`Wrote ${path}`);
  if (items.length) reporter.line();
  const measures = scoreSystem({ ...invocation, json: false }, limited, system);
  if (invocation.json) reporter.line(JSON.stringify({ ...measures, ...json, answers: path }));
}

/** Answers to factoid and list questions, generated on the recurrent state. */
async function generate(
  invocation: Invocation,
  questions: BioasqQuestion[],
): Promise<BioasqQuestion[]> {
  if (!questions.length) return [];
  const { reporter, signal } = invocation;
  const { openDevice } = await import("../kernels/open_device.ts");
  const { createRecurrentMamba } = await import("../model/mamba/recurrent.ts");
  const path = await localModel(invocation.string("model")!, reporter);
  const { folder, tokenizer } = openReader(path, await tokenizerOption(invocation));
  const device = await openDevice(deviceChoice(invocation));
  const progress = reporter.progress("Generating", questions.length, "answers");
  try {
    const model = await createRecurrentMamba(device, folder.config, folder.read);
    const answered = await generateAnswers(
      questions,
      model,
      tokenizer,
      invocation.number("max-tokens")!,
      { onProgress: (done) => progress.update(done), signal },
    );
    model.destroy();
    return answered;
  } finally {
    progress.finish();
    device.destroy();
    folder.close();
  }
}

/** Prints the ten measures. */
function scoreSystem(
  invocation: Invocation,
  gold: BioasqQuestion[],
  system: BioasqQuestion[],
): BioasqScores {
  const { reporter } = invocation;
  const scores = scoreBioasq(gold, system);
  const measures = bioasqMeasures(scores);
  const unscored = gold.filter((q) => q.type !== "summary").length - scores.length;
  if (unscored) reporter.log(`${unscored} questions without a golden exact answer are left out`);
  const missing = scores.filter((s) => !s.answered).length;
  if (missing) reporter.log(`${missing} questions without a system answer count as wrong`);

  if (invocation.json && !invocation.boolean("intervals")) {
    reporter.line(JSON.stringify(measures));
    return measures;
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
  return measures;
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
