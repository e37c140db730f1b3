/**
 * Multiple-choice evaluation by log-probability: the answer is the choice that the model finds most
 * probable after the prompt. Shared by PubMedQA and the yes/no questions of BioASQ.
 * @module
 */
import { Interrupted } from "../../../core/errors.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { accuracy, accuracyOf, type Labelled, macroF1, macroF1Of } from "./classification.ts";
import type { Scorer } from "./scorer.ts";
import { bootstrapInterval, type Interval, standardError } from "../../statistics/mod.ts";

/** A set of questions with one set of answers. */
export interface ChoiceTask {
  /** As in file names: `pubmedqa`. */
  name: string;
  labels: readonly string[];
  items: readonly ChoiceItem[];
}

/** One question. */
export interface ChoiceItem {
  id: string;
  prompt: string;
  /** Index of the right label. */
  gold: number;
}

/** What a model said to one question. */
export interface ChoiceAnswer {
  item: ChoiceItem;
  /** ln p of each label, in nats. */
  logProbabilities: number[];
  /** Index of the most probable label; the first of equals; -1 where a value is not a number. */
  predicted: number;
  /** Tokens that were cut from the prompt to make it fit. */
  truncated: number;
}

/** The tokens of each label as it follows a prompt: after a space. */
export function labelTokens(labels: readonly string[], tokenizer: Tokenizer): number[][] {
  return labels.map((label) => [...tokenizer.encode(` ${label}`)]);
}

/** What every prompt ends with, and what is kept of one that is too long. */
const PROMPT_END = "\n\nAnswer:";

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
export interface AnswerOptions {
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
      const logProbabilities = scores[i]!;
      const { truncated } = prompts[i]!;
      const predicted = mostProbable(logProbabilities);
      answers.push({ item, logProbabilities, predicted, truncated });
    });
    options.onProgress?.(answers.length);
  }
  return answers;
}

function mostProbable(values: number[]): number {
  if (values.some(Number.isNaN)) return -1;
  return values.indexOf(Math.max(...values));
}

/** The labels of answers, for the measures. */
export function labelled(answers: readonly ChoiceAnswer[]): Labelled {
  return { gold: answers.map((a) => a.item.gold), predicted: answers.map((a) => a.predicted) };
}

/** A measure with its 95% bootstrap interval and standard error. */
export interface Measured {
  value: number;
  interval: Interval;
  /** Of a mean: s / sqrt(n). Of another measure: the bootstrap's half interval / 1.96. */
  standardError: number;
}

/** The two measures of a choice task. */
export interface ChoiceMeasures {
  accuracy: Measured;
  macroF1: Measured;
}

/** Accuracy and macro F1 with intervals. */
export function measureChoices(items: Labelled, labels: number, seed: number): ChoiceMeasures {
  const count = items.gold.length;
  const options = { seed };
  const right = Array.from(items.gold, (gold, i) => Number(gold === items.predicted[i]));
  const f1Interval = bootstrapInterval(count, macroF1Of(items, labels), options);
  return {
    accuracy: {
      value: accuracy(items),
      interval: bootstrapInterval(count, accuracyOf(items), options),
      standardError: standardError(right),
    },
    macroF1: {
      value: macroF1(items, labels),
      interval: f1Interval,
      standardError: (f1Interval.high - f1Interval.low) / (2 * 1.96),
    },
  };
}

/** The trivial system that always gives `label`. */
export function constantAnswers(gold: ArrayLike<number>, label: number): Labelled {
  return { gold, predicted: new Array<number>(gold.length).fill(label) };
}

/** The most frequent of label numbers; the smallest of equals. */
export function majorityLabel(gold: readonly number[], labels: number): number {
  const counts = new Array<number>(labels).fill(0);
  for (const label of gold) counts[label]!++;
  return counts.indexOf(Math.max(...counts));
}
