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
import { answerPrompt } from "../pubmedqa/pubmedqa.ts";

/** The challenge's limits for lists: entries, and characters of one. */
const MOST_ENTRIES = 100;
const LONGEST_ENTRY = 100;
/** Tokens to generate: a name, or a list of names. */
const NEW_TOKENS = { factoid: 32, list: 96 } as const;

/** The prompt of a factoid or a list question. */
export function generationPrompt({ type, body, snippets }: BioasqQuestion): string {
  const answers = type === "list" ? "a list of names, separated by commas," : "one name";
  const passages = [...new Set(snippets.map((text) => text.trim()))];
  return answerPrompt(answers, body, passages);
}

/** Generated text as an exact answer: one name of a factoid, the names of a list. */
export function parseGenerated(text: string, type: "factoid" | "list"): ExactAnswer {
  // Without the mark of a list's item, and the full stop.
  const clean = (name: string) =>
    name.trim().replace(/^([-*]|\d+[.)])\s+/, "").replace(/[.\s]+$/, "")
      .slice(0, LONGEST_ENTRY).toLowerCase();
  const line = text.trim().split("\n")[0]!;
  const names = type === "factoid" ? [line] : line.split(/[,;]|\band\b/);
  const entries = [...new Set(names.map(clean).filter((name) => name !== ""))];
  return { lists: entries.slice(0, MOST_ENTRIES).map((name) => [name]) };
}

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
      if (/\S.*\n/.test(text)) break; // the end of the first line that says something
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
