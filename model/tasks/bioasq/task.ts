/** BioASQ's questions with exact answers as a task. @module */
import { UserError } from "../../../core/errors.ts";
import { hashFile, sha256 } from "../../../core/files.ts";
import { resolve } from "../../../core/std.ts";
import { type ChoiceForm, labelWords, reportChoiceTask } from "../core/choice_task.ts";
import type { ChoiceAnswer } from "../core/choices.ts";
import { dealFolds } from "../core/folds.ts";
import { mean } from "../../statistics/mod.ts";
import type { Approach, ReportRequest, Task, TaskData, TaskReport } from "../core/task.ts";
import {
  BIOASQ_MEASURES,
  BIOASQ_VERDICTS,
  bioasqItems,
  bioasqMeasures,
  type BioasqQuestion,
  readBioasq,
  refuseStrangers,
  scoreBioasq,
} from "./bioasq.ts";
import { generateAnswers, submission } from "./bioasq_answers.ts";
import { reportScores } from "./bioasq_report.ts";

/** What was said to one question. */
export interface BioasqAnswer {
  /** The question with the answer in place of the golden one; undefined where there is none. */
  question?: BioasqQuestion;
  /** A yes/no question's weights. */
  choice?: ChoiceAnswer;
}

const VERDICTS: ChoiceForm<BioasqQuestion> = { choicesOf: bioasqItems };
const WEIGHED = labelWords(VERDICTS);

const isVerdict = (question: BioasqQuestion) => bioasqItems([question]).length > 0;

/** Yes or no by which is more probable, names by generating them. */
const WORDS: Approach<BioasqQuestion, BioasqAnswer> = {
  name: "words",
  rowLength: (items, reader) => WEIGHED.rowLength(items.filter(isVerdict), reader),
  examples: (items, reader) => WEIGHED.examples(items.filter(isVerdict), reader),
  async answer(items, made, reader) {
    const verdicts = items.filter(isVerdict);
    const open = items.filter((q) => q.answer && (q.type === "factoid" || q.type === "list"));
    const answers = new Map<string, BioasqAnswer>();
    for (const choice of await WEIGHED.answer(verdicts, made, reader)) {
      const question = verdicts.find((q) => q.id === choice.item.id)!;
      const verdict = BIOASQ_VERDICTS[choice.predicted] ?? "none";
      answers.set(question.id, {
        question: { ...question, answer: { verdict, lists: [] } },
        choice,
      });
    }
    if (open.length) {
      const model = await made.recurrent!();
      try {
        const onProgress = (done: number) => reader.onProgress?.(verdicts.length + done);
        const options = { signal: reader.signal, onProgress };
        for (
          const question of await generateAnswers(
            open,
            model,
            reader.tokenizer,
            reader.maxTokens,
            options,
          )
        ) answers.set(question.id, { question });
      } finally {
        model.destroy();
      }
    }
    return items.map((question) => answers.get(question.id) ?? {});
  },
};

/** Yes/no, factoid and list questions with their snippets. */
export const bioasq: Task<BioasqQuestion, BioasqAnswer> = {
  name: "bioasq",
  units: "questions",
  approaches: [WORDS],
  evaluation: {
    summary: "Score BioASQ answers, or a model, by the ten official measures",
    description:
      "With --system, reads two BioASQ task b files, the golden answers and a system's, and prints " +
      "the measures of phase B exact answers in the official order. A question that the system left " +
      "out is a wrong answer. The table adds 95% bootstrap intervals and what answering always yes " +
      "would score. With --model, asks a model every question with its snippets: yes or no by which " +
      "it finds more probable, names by generating them; writes the answers as a submission.",
    options: {
      gold: { type: "string", placeholder: "F.json", help: "the golden answers", required: true },
      intervals: { type: "boolean", help: "with --json, add the intervals and question counts" },
    },
    examples: [
      "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json",
      "deno task evaluate bioasq --gold 13B1_golden.json --system answers.json --json",
      "deno task evaluate bioasq --gold 13B1_golden.json --model mamba-130m-hf",
    ],
  },
  finetuning: {
    summary: "Teach a model to answer BioASQ's yes/no questions, and test it beside its base",
    description:
      "Trains on nine tenths of the yes/no questions of a training file, each with its snippets, " +
      "with the loss on the answer alone; takes the epoch that does best on the last tenth, then " +
      "asks the questions of the golden test file once. Test questions are left out of the training " +
      "file.",
    options: {
      data: {
        type: "string",
        placeholder: "F.json",
        help: "a BioASQ training file, such as training13b.json",
        required: true,
      },
      test: {
        type: "string",
        placeholder: "F.json",
        help: "a file with golden answers, such as 13B1_golden.json",
        required: true,
      },
      fold: { type: "integer", help: "the fold to develop on", min: 0, max: 9, default: 0 },
    },
    examples: [
      "deno task finetune bioasq --model mamba-130m-hf --data training13b.json " +
      "--test 13B1_golden.json --out runs/bioasq",
    ],
  },
  read(given, purpose): TaskData<BioasqQuestion> {
    const labels = BIOASQ_VERDICTS;
    if (purpose === "evaluate") {
      const gold = given.string("gold")!;
      const all = readBioasq(gold, "gold file");
      // Without a golden answer there is nothing to compare a model's with.
      const test = given.string("system") === undefined ? all.filter((q) => q.answer) : all;
      return { labels, train: [], develop: [], test, path: resolve(gold), sha256: hashFile(gold) };
    }
    const data = given.string("data")!;
    const golden = given.string("test")!;
    const fold = given.number("fold")!;
    const test = readBioasq(golden, "test file").filter(isVerdict);
    const held = new Set(test.map((question) => question.id));
    const all = readBioasq(data, "training file").filter(isVerdict);
    const train = all.filter((question) => !held.has(question.id));
    if (train.length < 10 || test.length === 0) {
      throw new UserError(
        `Cannot fine-tune on ${data}: it has ${train.length} yes/no questions beside the ` +
          `${test.length} of ${golden}; at least 10 and 1 are needed`,
      );
    }
    const left = all.length - train.length;
    const folds = dealFolds(bioasqItems(train).map((item) => item.gold), 10, 0, "bioasq");
    return {
      labels,
      train: train.filter((_, i) => folds[i] !== fold),
      develop: train.filter((_, i) => folds[i] === fold),
      test,
      path: resolve(data),
      sha256: sha256([hashFile(data), hashFile(golden), `fold ${fold}`].join("\n")),
      notes: left ? [`${left} test questions are left out of the training file`] : [],
    };
  },
  readAnswers(path, { test }) {
    const system = readBioasq(path, "system file");
    refuseStrangers(test, system);
    const byId = new Map(system.map((q) => [q.id, q]));
    return test.map(({ id }) => ({ question: byId.get(id) }));
  },
  score(items, answers) {
    const scores = scoreBioasq(items, saidOf(answers));
    const verdicts = answers.flatMap(({ choice }) => choice ? [choice] : []);
    return {
      measures: BIOASQ_MEASURES.map((key) => {
        const own = scores.filter((s) => key.startsWith(s.type));
        return {
          key,
          name: key,
          count: own.length,
          statistic: (indices) => bioasqMeasures(own, indices)[key],
        };
      }),
      loss: mean(verdicts.map((a) => -a.logProbabilities[a.item.gold]!)),
    };
  },
  report(request) {
    if (request.purpose === "finetune") return reportVerdicts(request);
    const { data, systems, seed, given } = request;
    const [own] = systems;
    const said = saidOf(own!.answers);
    if (own!.role === "system") return reportScores(data.test, said, seed, given);
    const verdicts = data.test.some(isVerdict) ? reportVerdicts(request) : undefined;
    const report = reportScores(data.test, said, seed);
    return {
      ...report,
      notes: [...verdicts?.notes ?? [], ...report.notes],
      text: [...verdicts ? [verdicts.text] : [], report.text].join("\n\n"),
      json: { ...report.json, ...(verdicts ? { yesno: verdicts.json } : {}) },
      results: verdicts?.results,
      files: [{
        key: "answers",
        name: "bioasq_answers",
        extension: ".json",
        contents: JSON.stringify(submission(said), null, 2) + "\n",
      }],
    };
  },
};

/** The questions that a system answered, with its answers. */
function saidOf(answers: readonly BioasqAnswer[]): BioasqQuestion[] {
  return answers.flatMap(({ question }) => question ? [question] : []);
}

/** The yes/no questions as a task of multiple choice. */
function reportVerdicts(request: ReportRequest<BioasqQuestion, BioasqAnswer>): TaskReport {
  const { data, purpose } = request;
  const systems = request.systems.map((system) => ({
    ...system,
    answers: system.answers.flatMap(({ choice }) => choice ? [choice] : []),
  }));
  const test = data.test.filter(isVerdict);
  const own = { ...request, systems, data: { ...data, test } };
  // Most yes/no questions of the challenge are to be answered yes: the trivial system.
  return reportChoiceTask("bioasq_yesno", VERDICTS, own, purpose === "evaluate" ? [0] : undefined);
}
