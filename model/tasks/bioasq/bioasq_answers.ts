/**
 * A model's answers to BioASQ's factoid and list questions: generated greedily after the question
 * and its snippets, then read as names.
 * @module
 */
import { Interrupted } from "../../../core/errors.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { generateTokens } from "../../mamba/generate.ts";
import type { RecurrentModel } from "../../mamba/types.ts";
import type { BioasqQuestion, ExactAnswer } from "./bioasq.ts";
import { promptTokens } from "../core/choices.ts";
import { answerExample, type SupervisedExample } from "../core/examples.ts";
import { answerPrompt } from "../pubmedqa/pubmedqa.ts";

/** The challenge's limits for lists: entries, and characters of one. */
const MOST_ENTRIES = 100;
const LONGEST_ENTRY = 100;
/** Tokens to generate: a name, or a list of names. */
const NEW_TOKENS = { factoid: 32, list: 96 } as const;
/** The most tokens of a summary that are learned. */
const SUMMARY_TOKENS = 256;

/** What is asked for, by the kind of question. Names may hold commas and "and": one per line. */
const ASKED = {
  factoid: "one name",
  list: "a list of names, one per line,",
  summary: "a short summary",
} as const;

/**
 * The prompt of a factoid, a list or a summary question: in the form of BioMamba's for PubMedQA, not
 * one that BioMamba is known to have used for BioASQ.
 */
export function generationPrompt({ type, body, snippets }: BioasqQuestion): string {
  const asked = ASKED[type as keyof typeof ASKED];
  return answerPrompt(asked, body, [...new Set(snippets.map((text) => text.trim()))]);
}

/** What a model is taught to say after the prompt: the first of each answer's synonyms, one per line. */
export function golden({ type, answer, ideal }: BioasqQuestion): string | undefined {
  if (type === "summary") return ideal?.[0]?.trim();
  if (type !== "factoid" && type !== "list") return undefined;
  const names = (answer?.lists ?? []).map(([name = ""]) => name.trim().replaceAll(/\s+/g, " "));
  return (type === "factoid" ? names.slice(0, 1) : names).join("\n") || undefined;
}

/**
 * Factoid, list and summary questions with golden answers as examples to learn from. The answer ends
 * with the boundary token, which is where generating stops.
 */
export function generationExamples(
  questions: readonly BioasqQuestion[],
  tokenizer: Tokenizer,
  maxTokens: number,
): SupervisedExample[] {
  return questions.flatMap((question) => {
    const text = golden(question);
    if (text === undefined) return [];
    const most = question.type === "summary" ? SUMMARY_TOKENS : NEW_TOKENS.list;
    // At least half of the row is left to the question.
    const room = Math.min(most, Math.floor(maxTokens / 2));
    const encoded = [...tokenizer.encode(` ${text}`)];
    const answer = encoded.length < room
      ? [...encoded, tokenizer.endOfText]
      : encoded.slice(0, room);
    const limit = maxTokens - answer.length;
    const { tokens, truncated } = promptTokens(generationPrompt(question), tokenizer, limit);
    return [{ ...answerExample(tokens, answer), cut: truncated }];
  });
}

/** Generated text as an exact answer: one name of a factoid, the names of a list, one per line. */
export function parseGenerated(text: string, type: "factoid" | "list"): ExactAnswer {
  // Without the mark of a list's item, and the full stop.
  const clean = (name: string) =>
    name.trim().replace(/^([-*]|\d+[.)])\s+/, "").replace(/[.\s]+$/, "")
      .slice(0, LONGEST_ENTRY).toLowerCase();
  const lines = text.trim().split("\n");
  const names = type === "factoid" ? lines.slice(0, 1) : lines;
  const entries = [...new Set(names.map(clean).filter((name) => name !== ""))];
  return { lists: entries.slice(0, MOST_ENTRIES).map((name) => [name]) };
}

/** A name ends with its line; a list with an empty line. */
const END = { factoid: /\S.*\n/, list: /\S[^]*\n\s*\n/ } as const;

/**
 * Answers the factoid and list questions among some.
 * @param maxTokens of a prompt; a longer one loses the end of its context
 * @returns the questions, in order, with the model's answers in place of the golden ones
 * @throws {Interrupted} when the signal fires.
 */
export async function generateAnswers(
  questions: readonly BioasqQuestion[],
  model: RecurrentModel,
  tokenizer: Tokenizer,
  maxTokens: number,
  options: { onProgress?: (done: number) => void; signal?: AbortSignal } = {},
): Promise<BioasqQuestion[]> {
  const answered: BioasqQuestion[] = [];
  for (const question of questions) {
    const { type } = question;
    if (type !== "factoid" && type !== "list") continue;
    const limit = maxTokens - NEW_TOKENS[type];
    const { tokens } = promptTokens(generationPrompt(question), tokenizer, limit);
    const decoder = tokenizer.streamDecoder();
    let text = "";
    const generated = generateTokens(model, tokens, { maxNewTokens: NEW_TOKENS[type] });
    for await (const { token } of generated) {
      text += decoder.push(token);
      if (options.signal?.aborted) throw new Interrupted("Interrupted: no results were written");
      if (END[type].test(text)) break;
    }
    text += decoder.flush();
    answered.push({ ...question, answer: parseGenerated(text, type) });
    options.onProgress?.(answered.length);
  }
  return answered;
}

/** Answers in the challenge's submission format. */
export function submission(questions: readonly BioasqQuestion[]): Record<string, unknown> {
  return {
    questions: questions.map(({ id, type, body, answer }) => ({
      id,
      type,
      body,
      exact_answer: answer?.verdict ?? answer?.lists ?? [],
    })),
  };
}
