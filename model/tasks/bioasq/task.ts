/** BioASQ's questions with exact answers as a task. @module */
import { nth } from "../../../core/nth.ts";
import { fail, UserError } from "../../../core/errors.ts";
import { hashFile, sha256 } from "../../../core/files.ts";
import { resolve } from "../../../core/std.ts";
import { type ChoiceForm, labelWords } from "../core/choice_task.ts";
import type { ChoiceAnswer } from "../core/choices.ts";
import { packExamples } from "../core/examples.ts";
import { dealFolds } from "../core/folds.ts";
import { escapeHtml, matrixHtml } from "../../../core/page/mod.ts";
import { confusionMatrix } from "../core/classification.ts";
import { type JudgedItem, namedLines } from "../core/error_page.ts";
import { type Details, reportSystems } from "../core/report.ts";
import { mean } from "../../statistics/mod.ts";
import type { Approach, Score, Task, TaskData } from "../core/task.ts";
import {
  BIOASQ_MEASURES,
  BIOASQ_VERDICTS,
  bioasqItems,
  bioasqMeasures,
  type BioasqQuestion,
  type ExactAnswer,
  readBioasq,
  refuseStrangers,
  scoreBioasq,
} from "./bioasq.ts";
import { generateAnswers, generationExamples, golden, submission } from "./bioasq_answers.ts";

/** What was said to one question. */
interface BioasqAnswer {
  /** The question with the answer in place of the golden one; undefined where there is none. */
  question?: BioasqQuestion;
  /** A yes/no question's weights. */
  choice?: ChoiceAnswer;
}

const VERDICTS: ChoiceForm<BioasqQuestion> = { choicesOf: bioasqItems };
const WEIGHED = labelWords(VERDICTS);

/** Whether there is something to learn from a question. */
const isTaught = (question: BioasqQuestion) =>
  isVerdict(question) || golden(question) !== undefined;

/** What folds hold in equal shares: the verdicts, and the kinds of question. */
function kindOf({ type, answer }: BioasqQuestion): number {
  if (type !== "yesno") return ["factoid", "list", "summary"].indexOf(type ?? "");
  return answer?.verdict === "yes" ? 3 : 4;
}

const isVerdict = (question: BioasqQuestion) => bioasqItems([question]).length > 0;

const isOpen = ({ type, answer }: BioasqQuestion) =>
  answer !== undefined && (type === "factoid" || type === "list");

/** Yes or no by which is more probable, names by generating them. */
const WORDS: Approach<BioasqQuestion, BioasqAnswer> = {
  name: "words",
  rowLength(items, reader) {
    const weighed = WEIGHED.rowLength(items.filter(isVerdict), reader);
    const learned = generationExamples(items, reader.tokenizer, reader.maxTokens);
    const longest = Math.max(weighed, ...learned.map((e) => e.tokens.length));
    return Math.min(reader.maxTokens, Math.ceil(longest / 64) * 64);
  },
  examples(items, reader) {
    return [
      ...WEIGHED.examples(items.filter(isVerdict), reader),
      ...generationExamples(items, reader.tokenizer, reader.maxTokens),
    ];
  },
  async answer(items, made, reader) {
    const verdicts = items.filter(isVerdict);
    const open = items.filter(isOpen);
    const answers = new Map<string, BioasqAnswer>();
    const said = await WEIGHED.answer(verdicts, made, reader);
    verdictsOf(verdicts, said).forEach((answer, i) => {
      const { id } = verdicts[i] ?? {};
      if (id !== undefined) answers.set(id, answer);
    });
    if (open.length) {
      if (!made.recurrent) throw new TypeError("This model has no recurrent form to generate with");
      const model = await made.recurrent();
      const { tokenizer, maxTokens, signal } = reader;
      const onProgress = (done: number) => reader.onProgress?.(verdicts.length + done);
      try {
        const options = { signal, onProgress };
        for (const q of await generateAnswers(open, model, tokenizer, maxTokens, options)) {
          answers.set(q.id, { question: q });
        }
      } finally {
        model.destroy();
      }
    }
    return items.map((question) => answers.get(question.id) ?? {});
  },
  /** Names are not generated after every epoch: their part is the loss, which decides between equals. */
  async develop(items, made, reader) {
    const verdicts = await WEIGHED.answer(items.filter(isVerdict), made, reader);
    const { model } = made;
    const { batchSize, sequenceLength, config } = model;
    const examples = WORDS.examples(items, reader);
    let nll = 0;
    let targets = 0;
    for (const batch of packExamples(examples, batchSize, sequenceLength, config.endOfText)) {
      const report = await model.evaluate(batch);
      nll += report.nll;
      targets += report.targets;
    }
    const right = verdicts.map((a) => Number(a.predicted === a.item.gold));
    return { score: right.length ? mean(right) : 0, loss: nll / targets };
  },
};

/** The verdicts that were weighed, by question; the questions of other kinds have no answer. */
function verdictsOf(
  questions: readonly BioasqQuestion[],
  said: readonly ChoiceAnswer[],
): BioasqAnswer[] {
  const byId = new Map(said.map((choice) => [choice.item.id, choice]));
  return questions.map((question) => {
    const choice = byId.get(question.id);
    if (!choice) return {};
    const verdict = BIOASQ_VERDICTS[choice.predicted] ?? "none";
    const answer: ExactAnswer = { verdict, lists: [] };
    return { question: { ...question, answer }, choice };
  });
}

/** Yes/no, factoid and list questions with their snippets. */
export const bioasq: Task<BioasqQuestion, BioasqAnswer> = {
  name: "bioasq",
  units: "questions",
  approaches: [WORDS],
  closed: {
    items: (questions) => bioasqItems(questions),
    words: () => [...BIOASQ_VERDICTS],
    answers: verdictsOf,
  },
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
    summary: "Teach a model to answer BioASQ's questions, and test it beside its base",
    description:
      "Trains on nine tenths of the questions of a training file, all four kinds (yes/no, factoid, " +
      "list, summary), each with its snippets, with the loss on the answer alone. On the last tenth " +
      "it takes the epoch with the best yes/no accuracy, of equals that with the lowest loss; then " +
      "asks the questions of the golden test file once, and reports the ten official measures. Test " +
      "questions are left out of the training file.",
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
      const gold = given.string("gold") ?? fail("--gold was not asked for");
      const all = readBioasq(gold, "gold file");
      // Without a golden answer there is nothing to compare a model's with.
      const test = given.string("system") === undefined ? all.filter((q) => q.answer) : all;
      return { labels, train: [], develop: [], test, path: resolve(gold), sha256: hashFile(gold) };
    }
    const data = given.string("data") ?? fail("--data was not asked for");
    const golden = given.string("test") ?? fail("--test was not asked for");
    const fold = given.number("fold") ?? fail("--fold has a default");
    const all = readBioasq(data, "training file").filter(isTaught);
    const asked = readBioasq(golden, "test file");
    const test = asked.filter((question) => question.answer);
    const held = new Set(asked.map((question) => question.id));
    const train = all.filter((question) => !held.has(question.id));
    if (train.length < 10 || test.length === 0) {
      throw new UserError(
        `Cannot fine-tune on ${data}: it has ${train.length} questions with golden answers beside ` +
          `the ${test.length} of ${golden}; at least 10 and 1 are needed`,
      );
    }
    const left = all.length - train.length;
    const folds = dealFolds(train.map(kindOf), 10, 0, "bioasq");
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
  score: (_data, items, answers) => scoreQuestions(items, answers),
  report(request) {
    const { data: { test }, systems, given } = request;
    const own = systems[0] ?? fail("a report is of one system at least");
    const said = saidOf(own.answers);
    const scores = scoreBioasq(test, said);
    const measures = bioasqMeasures(scores);
    const unscored = test.filter((q) => q.type !== "summary").length - scores.length;
    const missing = scores.filter((s) => !s.answered).length;
    const notes = [
      ...unscored ? [`${unscored} questions without a golden exact answer are left out`] : [],
      ...missing ? [`${missing} questions without a system answer count as wrong`] : [],
    ];
    const scored = own.role === "system";
    if (scored && given.json && !given.boolean("intervals")) {
      // A program that wants the ten numbers alone does not wait for the resampling.
      return { score: measures.yesno_acc, notes, text: "", json: { ...measures } };
    }
    const cut = own.answers.filter((a) => a.choice?.truncated).length;
    const report = reportSystems({
      request,
      name: "bioasq",
      units: "questions",
      score: (answers) => scoreQuestions(test, answers),
      trivial: {
        key: "always_yes",
        name: "always yes",
        score: scoreQuestions(test, test.map(alwaysYes)),
      },
      notes: [...cut ? [`${cut} prompts were cut to --max-tokens`] : [], ...notes],
      config: {
        output_type: "multiple_choice and generate_until",
        description: "prompts in the form of BioMamba's for PubMedQA; BioMamba's own for BioASQ " +
          "are not known",
        metric_list: BIOASQ_MEASURES.map((metric) => ({ metric, higher_is_better: true })),
      },
      details: (answers) => verdictConfusion(test, answers),
      judged: (answers) => judgedQuestions(test, answers),
      samples: (answers) => answers.map((answer, i) => sampleOf(nth(test, i), answer, i)),
      files: scored ? [] : [{
        key: "answers",
        name: "bioasq_answers",
        extension: ".json",
        contents: JSON.stringify(submission(said), null, 2) + "\n",
      }],
    });
    const extra = {
      intervals: Object.fromEntries(BIOASQ_MEASURES.map((key) => {
        const [low, high] = report.json[`${key}_interval`] as [number, number];
        return [key, { low, high }];
      })),
      questions: Object.fromEntries(
        ["yesno", "factoid", "list"].map((type) => [
          type,
          scores.filter((s) => s.type === type).length,
        ]),
      ),
      missing,
    };
    return { ...report, json: { ...report.json, ...measures, ...extra } };
  },
};

/** The questions that a system answered, with its answers. */
function saidOf(answers: readonly BioasqAnswer[]): BioasqQuestion[] {
  return answers.flatMap(({ question }) => question ? [question] : []);
}

/** The trivial system, which knows that most yes/no questions are to be answered yes. */
function alwaysYes(question: BioasqQuestion): BioasqAnswer {
  if (question.type !== "yesno") return {};
  return { question: { ...question, answer: { verdict: "yes", lists: [] } } };
}

/** The ten measures, each over the questions of its own kind. */
function scoreQuestions(
  items: readonly BioasqQuestion[],
  answers: readonly BioasqAnswer[],
): Score {
  const scores = scoreBioasq(items, saidOf(answers));
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
    right: scores.map(({ yesno, factoid, list }) =>
      (yesno?.correct ?? factoid?.strict ?? list?.f1) === 1
    ),
  };
}

/** How often golden yes and no were answered by each; nothing without such questions. */
function verdictConfusion(
  questions: readonly BioasqQuestion[],
  answers: readonly BioasqAnswer[],
): Details {
  const asked = questions.flatMap((question, i) => {
    const gold = BIOASQ_VERDICTS.findIndex((verdict) => verdict === question.answer?.verdict);
    if (question.type !== "yesno" || gold < 0) return [];
    const said = answers[i]?.question?.answer?.verdict;
    return [{ gold, predicted: BIOASQ_VERDICTS.findIndex((verdict) => verdict === said) }];
  });
  if (!asked.length) return { text: "", json: {} };
  const matrix = confusionMatrix({
    gold: asked.map((one) => one.gold),
    predicted: asked.map((one) => one.predicted),
  }, BIOASQ_VERDICTS.length);
  const predicted = [...BIOASQ_VERDICTS, "none"];
  const confusion = { gold: [...BIOASQ_VERDICTS], predicted, matrix };
  return {
    text: "",
    json: { confusion },
    html: [matrixHtml("Confusion matrix of the yes/no questions", confusion)],
  };
}

/** The questions that are scored, with what was said; a list is right where all of it is. */
function judgedQuestions(
  questions: readonly BioasqQuestion[],
  answers: readonly BioasqAnswer[],
): JudgedItem[] {
  return questions.flatMap((question, i): JudgedItem[] => {
    const { question: said, choice } = answers[i] ?? {};
    const [score] = scoreBioasq([question], said ? [said] : []);
    if (!score) return [];
    const { yesno, factoid, list } = score;
    const gold = choice?.item.gold ?? -1;
    const loss = choice?.logProbabilities[gold];
    return [{
      id: question.id,
      right: (yesno?.correct ?? factoid?.strict ?? list?.f1) === 1,
      ...(loss === undefined ? {} : { loss: -loss }),
      html: namedLines([
        ["right", exactHtml(question)],
        ["said", said ? exactHtml(said) : "nothing"],
        ["asked", escapeHtml(`${question.type}: ${question.body}`)],
      ]),
    }];
  });
}

/** An exact answer as HTML: synonyms side by side, the items of a list one below the other. */
function exactHtml({ answer }: BioasqQuestion): string {
  if (!answer) return "nothing";
  if (answer.verdict) return escapeHtml(answer.verdict);
  return answer.lists.map((synonyms) => escapeHtml(synonyms.join(" | "))).join("<br>");
}

/** A line of the samples file. */
function sampleOf(
  { id, type, body, answer: gold }: BioasqQuestion,
  { question, choice }: BioasqAnswer,
  index: number,
): Record<string, unknown> {
  const said = question?.answer;
  return {
    doc_id: index,
    doc: { id, type, body },
    target: gold?.verdict ?? gold?.lists ?? null,
    prediction: said?.verdict ?? said?.lists ?? null,
    ...choice ? { resps: choice.logProbabilities.map((value) => [[value]]) } : {},
  };
}
