/**
 * PubMedQA's labelled set (Jin et al. 2019): questions that PubMed titles ask, abstracts without
 * their conclusions, and yes, no or maybe. The official 500 test questions are those of
 * test_ground_truth.json; the other 500 are for training, in ten folds.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists, readJson } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { ChoiceItem } from "../core/choices.ts";
import { dealFolds } from "../core/folds.ts";
import { objectOf, probe } from "../formats/files.ts";
import { splitOf } from "../formats/split_names.ts";

/** The answers, in the order of label numbers. */
export const PUBMEDQA_LABELS = ["yes", "no", "maybe"] as const;
/** Folds of the training half, as in the paper: 450 questions to train on, 50 to develop on. */
const PUBMEDQA_FOLDS = 10;

/** The questions, and the official test questions among them. */
const PUBMEDQA_FILES = ["ori_pqal.json", "test_ground_truth.json"] as const;

/** One question. */
export interface PubmedqaExample {
  /** Of the article that the question is the title of. */
  pmid: string;
  /** Answerable with yes, no or maybe. */
  question: string;
  /** The abstract's sections but for the conclusion. */
  contexts: string[];
  /** The sections' headings, such as METHODS. */
  headings: string[];
  /** Index into {@linkcode PUBMEDQA_LABELS}. */
  label: number;
}

/** Both halves, each by ascending PMID. */
export interface Pubmedqa {
  /** What is learned from. */
  train: PubmedqaExample[];
  /** What is asked. */
  test: PubmedqaExample[];
}

/** The files of a set: questions with their answers, and what tells which are those of the test. */
interface PubmedqaFiles {
  questions: string[];
  /** Answers by PMID, or the test's own questions. */
  test: string;
}

const isDecisions = (value: unknown): boolean => {
  const answers = Object.values(objectOf(value) ?? {});
  return answers.length > 0 &&
    answers.every((answer) => PUBMEDQA_LABELS.some((label) => label === answer));
};

const isQuestions = (value: unknown): boolean => {
  const entries = Object.values(objectOf(value) ?? {}).map(objectOf);
  return entries.length > 0 && entries.every((one) => one !== undefined && "QUESTION" in one);
};

/**
 * The files of a folder: those of the release by their names, or others found by what is in them, be it
 * questions and the answers of those of the test, or questions split by their files' names.
 * @throws {UserError} where there are none.
 */
export function pubmedqaFiles(folder: string): PubmedqaFiles {
  const [file, truth] = PUBMEDQA_FILES.map((name) => join(folder, name)) as [string, string];
  if (exists(file) && exists(truth)) return { questions: [file], test: truth };
  const names = exists(folder)
    ? [...Deno.readDirSync(folder)].map((entry) => entry.name).sort()
    : [];
  const values = names.filter((name) => /\.json$/i.test(name)).map((name) => ({
    path: join(folder, name),
    split: splitOf(name),
    value: probe(join(folder, name)).json(),
  }));
  const questions = values.filter(({ value }) => isQuestions(value));
  const [answers] = values.filter(({ value }) => isDecisions(value));
  const pmids = Object.keys(objectOf(answers?.value) ?? {});
  const whole = questions.find(({ value }) =>
    pmids.every((pmid) => pmid in (objectOf(value) ?? {}))
  );
  if (answers && whole) return { questions: [whole.path], test: answers.path };
  const test = questions.find(({ split }) => split === "test");
  const learned = questions.filter(({ split }) => split === "train" || split === "develop");
  if (test && learned.length) {
    return { questions: [...learned, test].map(({ path }) => path), test: test.path };
  }
  const missing = exists(file) ? truth : file;
  throw new UserError(
    `Cannot read PubMedQA from ${folder}: ${missing} does not exist, and no other files in it are ` +
      `questions and the answers of a test; give the data folder of ` +
      `https://github.com/pubmedqa/pubmedqa`,
  );
}

/**
 * Reads a folder's questions, by the release ori_pqal.json and test_ground_truth.json.
 * @throws {UserError} naming the file and the PMID, for anything missing or of another shape.
 */
export function readPubmedqa(folder: string): Pubmedqa {
  const files = pubmedqaFiles(folder);
  const examples = files.questions.flatMap((file) =>
    Object.entries(readJson<Record<string, unknown>>(file, "PubMedQA file"))
      .map(([pmid, value]) => parseExample(pmid, value, file))
  ).sort((a, b) => Number(a.pmid) - Number(b.pmid));
  const truth = readJson<Record<string, unknown>>(files.test, "PubMedQA test labels");
  const isTest = (e: PubmedqaExample) => Object.hasOwn(truth, e.pmid);
  const halves = { train: examples.filter((e) => !isTest(e)), test: examples.filter(isTest) };
  if (files.questions.includes(files.test)) return halves;
  const byPmid = new Map(examples.map((e) => [e.pmid, e]));
  for (const [pmid, answer] of Object.entries(truth)) {
    const example = byPmid.get(pmid);
    if (!example || PUBMEDQA_LABELS[example.label] !== answer) {
      throw new UserError(
        `Cannot use ${files.test}: its answer ${JSON.stringify(answer)} to PMID ${pmid} is ` +
          (example ? `"${PUBMEDQA_LABELS[example.label]}"` : "missing") +
          ` in ${files.questions[0]}; give both files of the same release`,
      );
    }
  }
  return halves;
}

function parseExample(pmid: string, value: unknown, file: string): PubmedqaExample {
  const fail = (what: string): never => {
    throw new UserError(`Cannot use ${file}: the entry of PMID ${pmid} ${what}`);
  };
  if (!/^\d+$/.test(pmid)) fail("is not named by a PMID");
  if (typeof value !== "object" || value === null) fail("is not an object");
  const record = value as Record<string, unknown>;
  const strings = (key: string) => {
    const list = record[key];
    const good = Array.isArray(list) && list.every((item) => typeof item === "string");
    return good ? list as string[] : fail(`has no list of strings "${key}"`);
  };
  const question = record.QUESTION;
  const decision = record.final_decision;
  if (typeof question !== "string" || !question) fail('has no "QUESTION"');
  const said = typeof decision === "string" ? decision.trim().toLowerCase() : decision;
  const label = PUBMEDQA_LABELS.indexOf(said as typeof PUBMEDQA_LABELS[number]);
  if (label < 0) {
    fail(`has the "final_decision" ${JSON.stringify(decision)}, not yes, no or maybe`);
  }
  return {
    pmid,
    question: question as string,
    contexts: strings("CONTEXTS"),
    headings: record.LABELS === undefined ? [] : strings("LABELS"),
    label,
  };
}

/**
 * The prompt that BioMamba fine-tunes and evaluates with; the answer follows as " yes". Sections
 * carry their headings and are set apart by blank lines.
 */
export function pubmedqaPrompt(example: PubmedqaExample): string {
  const sections = example.contexts.map((text, i) =>
    example.headings[i] ? `${example.headings[i]}: ${text.trim()}` : text.trim()
  );
  return answerPrompt("yes, no, or maybe", example.question, sections);
}

/** The prompt of a question with a closed set of answers and passages to answer from. */
export function answerPrompt(answers: string, question: string, passages: string[]): string {
  return `Answer the following biomedical research question with ${answers} based on the ` +
    `provided context.\n\nQuestion: ${question.trim()}\n\nContext:\n${passages.join("\n\n")}` +
    `\n\nAnswer:`;
}

/** The fold, 0 to 9, of each training example; see {@linkcode dealFolds}. */
export function pubmedqaFolds(train: PubmedqaExample[], seed: number): number[] {
  return dealFolds(train.map((e) => e.label), PUBMEDQA_FOLDS, seed, "pubmedqa");
}

/** Questions as the items of a multiple-choice task. */
export function pubmedqaItems(examples: readonly PubmedqaExample[]): ChoiceItem[] {
  return examples.map((e) => ({ id: e.pmid, prompt: pubmedqaPrompt(e), gold: e.label }));
}
