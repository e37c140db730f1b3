/**
 * Multiple-choice evaluation by log-probability: the answer is the choice that the model finds most
 * probable after the prompt. Shared by PubMedQA and the yes/no questions of BioASQ.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import { Interrupted } from "../../../core/errors.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import type { ChoiceAnswer, ChoiceItem } from "./choice_answer.ts";
import type { Labelled } from "./classification.ts";
import type { Scorer } from "./scorer.ts";

export type { ChoiceAnswer, ChoiceItem } from "./choice_answer.ts";

/** A set of questions with one set of answers. */
export interface ChoiceTask {
  /** As in file names: `pubmedqa`. */
  name: string;
  labels: readonly string[];
  items: readonly ChoiceItem[];
}

/**
 * The tokens of each label as it follows a prompt: after a space. Where one label's tokens begin
 * another's (" agonist", " agonist activator"), the shorter would always be the more probable one; so
 * all labels of such a set end with the boundary token, in training as in scoring.
 */
export function labelTokens(labels: readonly string[], tokenizer: Tokenizer): number[][] {
  const plain = labels.map((label) => [...tokenizer.encode(` ${label}`)]);
  const begins = (short: number[], long: number[]) =>
    short.length < long.length && short.every((token, i) => token === long[i]);
  const ambiguous = plain.some((short) => plain.some((long) => begins(short, long)));
  return ambiguous ? plain.map((tokens) => [...tokens, tokenizer.endOfText]) : plain;
}

/** What every prompt ends with, and what is kept of one that is too long. */
export const PROMPT_END = "\n\nAnswer:";

/**
 * A prompt's tokens after the boundary token, as documents begin in training. One that is longer
 * than `limit` loses the end of its context, before the closing "Answer:".
 */
export function promptTokens(
  prompt: string,
  tokenizer: Tokenizer,
  limit: number,
): { tokens: number[]; truncated: number } {
  const tokens = [tokenizer.endOfText, ...tokenizer.encode(prompt)];
  const truncated = Math.max(0, tokens.length - limit);
  if (truncated === 0) return { tokens, truncated };
  const end = prompt.endsWith(PROMPT_END) ? tokenizer.encode(PROMPT_END) : [];
  return { tokens: [...tokens.slice(0, Math.max(1, limit - end.length)), ...end], truncated };
}

/** How {@linkcode answerChoices} reports, stops and limits. */
interface AnswerOptions {
  /** The most tokens of a prompt with its answer; the scorer's own limit applies too. */
  maxTokens?: number;
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/**
 * Answers every question of a task.
 * @throws {Interrupted} when the signal fires: half an evaluation is no result.
 */
export async function answerChoices(
  task: Pick<ChoiceTask, "labels" | "items">,
  scorer: Scorer,
  tokenizer: Tokenizer,
  options: AnswerOptions = {},
): Promise<ChoiceAnswer[]> {
  const continuations = labelTokens(task.labels, tokenizer);
  const answers: ChoiceAnswer[] = [];
  const longest = Math.max(...continuations.map((c) => c.length));
  const limit = Math.min(scorer.maxTokens, options.maxTokens ?? Infinity) - longest;
  for (let at = 0; at < task.items.length; at += scorer.itemsAtOnce) {
    if (options.signal?.aborted) throw new Interrupted("Interrupted: no results were written");
    const items = task.items.slice(at, at + scorer.itemsAtOnce);
    const prompts = items.map((item) => promptTokens(item.prompt, tokenizer, limit));
    const scores = await scorer.score(
      prompts.map(({ tokens }) => ({ prompt: tokens, continuations })),
    );
    items.forEach((item, i) => {
      const logProbabilities = nth(scores, i);
      const { truncated } = nth(prompts, i);
      const predicted = mostProbable(logProbabilities);
      answers.push({ item, logProbabilities, predicted, truncated });
    });
    options.onProgress?.(answers.length);
  }
  return answers;
}

/** The index of the largest value, the first of equals; -1 where one is not a number. */
export function mostProbable(values: number[]): number {
  if (values.some(Number.isNaN)) return -1;
  return values.indexOf(Math.max(...values));
}

/** The labels of answers, for the measures. */
export function labelled(answers: readonly ChoiceAnswer[]): Labelled {
  return { gold: answers.map((a) => a.item.gold), predicted: answers.map((a) => a.predicted) };
}

/** The most frequent of label numbers; the smallest of equals. */
export function majorityLabel(gold: readonly number[], labels: number): number {
  const counts = new Array<number>(labels).fill(0);
  for (const label of gold) counts[label] = (counts[label] ?? 0) + 1;
  return counts.indexOf(Math.max(...counts));
}
