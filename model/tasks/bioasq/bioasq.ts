/**
 * BioASQ task b, phase B, exact answers: the ten measures as the organisers' scorer
 * (`EvaluatorTask1b -phaseB -e 5`, 8 or 9) computes them, quirks included, in its order.
 *
 * Two things differ on purpose. The official scorer fails where a system left a question out; here
 * a missing answer is a wrong answer. And it ignores answers to questions that nobody asked; here
 * they are an error, because they mean that the wrong file is being scored.
 * @module
 */
import { fail, UserError } from "../../../core/errors.ts";
import { readJson } from "../../../core/files.ts";
import type { ChoiceItem } from "../core/choices.ts";
import { answerPrompt } from "../pubmedqa/pubmedqa.ts";

/** The ten measures, named and ordered as the official scorer's columns. */
export const BIOASQ_MEASURES = [
  "yesno_acc",
  "factoid_strict",
  "factoid_lenient",
  "factoid_mrr",
  "list_precision",
  "list_recall",
  "list_f1",
  "yesno_macro_f1",
  "yesno_f1_yes",
  "yesno_f1_no",
] as const;
/** One of {@linkcode BIOASQ_MEASURES}. */
type BioasqMeasure = typeof BIOASQ_MEASURES[number];
/** What each measure came to, 0 to 1; 0 where no question of its type exists. */
export type BioasqScores = Record<BioasqMeasure, number>;

/** The kinds of question. Summaries have no exact answer and are not scored. */
export type BioasqType = "yesno" | "factoid" | "list" | "summary";
const TYPES: readonly BioasqType[] = ["yesno", "factoid", "list", "summary"];

/** An exact answer, lower-cased: a yes/no verdict, or ranked answers each with its synonyms. */
export interface ExactAnswer {
  /** Of a yes/no question. */
  verdict?: "yes" | "no" | "none";
  /** Of other questions: the answers, best first, each with its synonyms. */
  lists: string[][];
}

/** One question of a gold file or of a system's file. */
export interface BioasqQuestion {
  /** As in the file. */
  id: string;
  /** Missing in some system files; the gold file's type decides. */
  type: BioasqType | undefined;
  /** The question itself. */
  body: string;
  /** Passages that the organizers found to bear on it. */
  snippets: string[];
  /** Missing where the file has none. */
  answer: ExactAnswer | undefined;
  /** The golden answers in whole sentences; what a summary question has alone. */
  ideal?: string[];
}

/** How one question was answered. Only the fields of its type are set. */
export interface QuestionScore {
  /** Of the question. */
  id: string;
  /** By the gold file. */
  type: BioasqType;
  /** False where the system has no exact answer for it. */
  answered: boolean;
  /** Of a yes/no question: 1 where the verdict is right. */
  yesno?: { gold: "yes" | "no" | "none"; correct: number };
  /** Of a factoid question: found at the first place, found at all, 1 over its place. */
  factoid?: { strict: number; lenient: number; reciprocalRank: number };
  /** Of a list question: of its answers. */
  list?: { precision: number; recall: number; f1: number };
}

/**
 * Reads a gold or a system file: `{"questions": [{"id", "type", "exact_answer", ...}]}`.
 * @throws {UserError} naming the file and the question, for anything of another shape.
 */
export function readBioasq(path: string, what: string): BioasqQuestion[] {
  const data = readJson<{ questions?: unknown }>(path, what);
  const questions = isRecord(data) ? data.questions : undefined;
  if (!Array.isArray(questions)) {
    throw new UserError(
      `Cannot use the ${what} ${path}: it has no "questions" array; give a BioASQ task b JSON file`,
    );
  }
  const seen = new Set<string>();
  return questions.map((value, index) => {
    const question = parseQuestion(value, index, (problem) => {
      throw new UserError(`Cannot use the ${what} ${path}: ${problem}`);
    });
    if (seen.has(question.id)) {
      throw new UserError(
        `Cannot use the ${what} ${path}: question id "${question.id}" appears twice; remove one`,
      );
    }
    seen.add(question.id);
    return question;
  });
}

type Fail = (problem: string) => never;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parseQuestion(value: unknown, index: number, fail: Fail): BioasqQuestion {
  if (!isRecord(value)) fail(`entry ${index + 1} of "questions" is not an object`);
  const record = value as Record<string, unknown>;
  const { id, type } = record;
  if (typeof id !== "string" || !id) fail(`entry ${index + 1} of "questions" has no "id"`);
  if (type !== undefined && !TYPES.includes(type as BioasqType)) {
    fail(`question "${id}" has the type ${JSON.stringify(type)}, not one of ${TYPES.join(", ")}`);
  }
  const snippets = Array.isArray(record.snippets) ? record.snippets : [];
  return {
    id: id as string,
    type: type as BioasqType | undefined,
    body: typeof record.body === "string" ? record.body : "",
    ideal: [record.ideal_answer].flat().filter((text) => typeof text === "string"),
    snippets: snippets.filter(isRecord).map((s) => s.text).filter((t) => typeof t === "string"),
    answer: parseExactAnswer(record.exact_answer, () =>
      fail(
        `question "${id}" has an "exact_answer" that is neither a string nor a list of lists of ` +
          `strings: ${JSON.stringify(record.exact_answer).slice(0, 80)}`,
      )),
  };
}

/** A string is a verdict; a list holds answers, each a list of synonyms or one bare string. */
function parseExactAnswer(value: unknown, fail: () => never): ExactAnswer | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return { verdict: verdictOf(value), lists: [] };
  if (!Array.isArray(value)) return fail();
  const word = (v: unknown) =>
    typeof v === "string" || typeof v === "number" ? String(v).toLowerCase() : fail();
  const lists = value.map((item) => Array.isArray(item) ? item.map(word) : [word(item)]);
  // The official reader skips empty answers: they hold no rank and are no false positives.
  return { lists: lists.filter((list) => list.length > 0) };
}

/** Yes by substring, else no by substring (so that "unknown" is a no), else none. */
export function verdictOf(text: string): "yes" | "no" | "none" {
  const lower = text.toLowerCase();
  return lower.includes("yes") ? "yes" : lower.includes("no") ? "no" : "none";
}

/**
 * Scores every gold question that has an exact answer; the others cannot be scored and are left
 * out, as the official scorer does since BioASQ 9.
 * @throws {UserError} where the system answers a question that the gold file lacks, where a gold
 * question has no type or an answer that does not fit it, or where nothing can be scored.
 */
export function scoreBioasq(
  gold: readonly BioasqQuestion[],
  system: readonly BioasqQuestion[],
): QuestionScore[] {
  refuseStrangers(gold, system);
  const answers = new Map(system.map((q) => [q.id, q]));
  const scored = gold.flatMap((question) => {
    const { type, answer } = question;
    return type !== "summary" && answer ? [{ question, answer }] : [];
  });
  if (!scored.length) {
    throw new UserError(
      `Cannot score the system file: no question of the gold file has an "exact_answer"; ` +
        `give the file with the golden answers`,
    );
  }
  return scored.map(({ question, answer }) =>
    scoreQuestion(question, answer, answers.get(question.id)?.answer)
  );
}

/**
 * Refuses answers to questions that nobody asked.
 * @throws {UserError} naming some of them.
 */
export function refuseStrangers(
  gold: readonly BioasqQuestion[],
  system: readonly BioasqQuestion[],
): void {
  const asked = new Set(gold.map((q) => q.id));
  const unknown = system.filter((q) => !asked.has(q.id)).map((q) => `"${q.id}"`);
  if (unknown.length) {
    const more = unknown.length > 3 ? ` and ${unknown.length - 3} more` : "";
    throw new UserError(
      `Cannot score the system file: it answers questions that are not in the gold file, ` +
        `${unknown.slice(0, 3).join(", ")}${more}; give the gold file of the same test batch`,
    );
  }
}

function scoreQuestion(
  gold: BioasqQuestion,
  golden: ExactAnswer,
  response: ExactAnswer | undefined,
): QuestionScore {
  const { id, type } = gold;
  const answered = response !== undefined;
  if (type === undefined) {
    throw new UserError(`Cannot score question "${id}": the gold file gives it no "type"`);
  }
  if ((type === "yesno") !== (golden.verdict !== undefined)) {
    throw new UserError(
      `Cannot score question "${id}": its golden answer does not fit its type ${type}; ` +
        `correct the gold file`,
    );
  }
  // Since BioASQ 5 systems submit no synonyms: only the first string of each answer counts.
  const lists = (response?.lists ?? []).map((list) => list.slice(0, 1));
  const { verdict } = golden;
  if (type === "yesno" && verdict !== undefined) {
    const correct = Number(response?.verdict === verdict);
    return { id, type, answered, yesno: { gold: verdict, correct } };
  }
  if (type === "factoid") return { id, type, answered, factoid: scoreFactoid(golden.lists, lists) };
  return { id, type, answered, list: scoreList(golden.lists, lists) };
}

const share = (a: string[], b: string[]) => a.some((word) => b.includes(word));

function scoreFactoid(gold: string[][], ranked: string[][]): NonNullable<QuestionScore["factoid"]> {
  const rank = ranked.findIndex((answer) => gold.some((synonyms) => share(synonyms, answer)));
  return {
    strict: Number(rank === 0),
    lenient: Number(rank >= 0),
    reciprocalRank: rank < 0 ? 0 : 1 / (rank + 1),
  };
}

/**
 * Precision, recall and F1 of one list question. Each answer consumes the first golden synonym list
 * that it matches, so that a repeated answer is a false positive; then each golden list that is left
 * consumes an answer it matches, or is a false negative.
 */
function scoreList(gold: string[][], answers: string[][]): NonNullable<QuestionScore["list"]> {
  if (!answers.length) return { precision: 0, recall: 0, f1: 0 };
  const consume = (from: string[][], wanted: string[]) => {
    const at = from.findIndex((list) => share(list, wanted));
    if (at >= 0) from.splice(at, 1);
    return at >= 0;
  };
  const goldLeft = [...gold];
  const answersLeft = [...answers];
  const hits = answers.filter((answer) => consume(goldLeft, answer)).length;
  const missed = goldLeft.filter((synonyms) => !consume(answersLeft, synonyms)).length;
  const precision = hits / answers.length;
  const recall = ratio(hits, hits + missed);
  return { precision, recall, f1: ratio(2 * precision * recall, precision + recall) };
}

/** a / b, and 0 where that is not a number. */
const ratio = (a: number, b: number) => b === 0 ? 0 : a / b;

/**
 * The ten measures over question scores, or over a bootstrap resample of them. The F1 of a label
 * counts each error once, whatever was said instead: 2 TP / (2 TP + errors on both labels).
 */
export function bioasqMeasures(
  scores: QuestionScore[],
  indices?: ArrayLike<number>,
): BioasqScores {
  let yesno = 0;
  let right = 0;
  let rightYes = 0;
  let rightNo = 0;
  let factoids = 0;
  let lists = 0;
  const factoid = { strict: 0, lenient: 0, reciprocalRank: 0 };
  const list = { precision: 0, recall: 0, f1: 0 };
  for (let i = 0; i < (indices ?? scores).length; i++) {
    const score = scores[indices?.[i] ?? i] ?? fail("there is no such question");
    if (score.yesno) {
      yesno++;
      right += score.yesno.correct;
      if (score.yesno.gold === "yes") rightYes += score.yesno.correct;
      else rightNo += score.yesno.correct;
    } else if (score.factoid) {
      factoids++;
      factoid.strict += score.factoid.strict;
      factoid.lenient += score.factoid.lenient;
      factoid.reciprocalRank += score.factoid.reciprocalRank;
    } else if (score.list) {
      lists++;
      list.precision += score.list.precision;
      list.recall += score.list.recall;
      list.f1 += score.list.f1;
    }
  }
  const wrong = yesno - right;
  const f1Yes = ratio(2 * rightYes, 2 * rightYes + wrong);
  const f1No = ratio(2 * rightNo, 2 * rightNo + wrong);
  return {
    yesno_acc: ratio(right, yesno),
    factoid_strict: ratio(factoid.strict, factoids),
    factoid_lenient: ratio(factoid.lenient, factoids),
    factoid_mrr: ratio(factoid.reciprocalRank, factoids),
    list_precision: ratio(list.precision, lists),
    list_recall: ratio(list.recall, lists),
    list_f1: ratio(list.f1, lists),
    yesno_macro_f1: (f1Yes + f1No) / 2,
    yesno_f1_yes: f1Yes,
    yesno_f1_no: f1No,
  };
}

/** The answers to a yes/no question, in the order of label numbers. */
export const BIOASQ_VERDICTS = ["yes", "no"] as const;

/** The yes/no questions that have a golden answer, as the items of a multiple-choice task. */
export function bioasqItems(questions: readonly BioasqQuestion[]): ChoiceItem[] {
  return questions.flatMap(({ id, type, body, snippets, answer }) => {
    const gold = BIOASQ_VERDICTS.indexOf(answer?.verdict as "yes" | "no");
    if (type !== "yesno" || gold < 0) return [];
    const passages = [...new Set(snippets.map((text) => text.trim()))];
    return [{ id, prompt: answerPrompt("yes or no", body, passages), gold }];
  });
}
