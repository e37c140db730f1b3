/** Choosing the next token from logits. @module */
import { float32At, float64At, uint32At } from "../../core/nth.ts";
import type { Random } from "./random.ts";

/** How the next token is chosen. */
export interface SamplingOptions {
  /** 0 takes the likeliest token; 1 samples from the model's own distribution. */
  temperature: number;
  /** Keep only the likeliest k tokens; 0 keeps all. */
  topK: number;
  /** Keep only the likeliest tokens whose probabilities reach this sum; 1 keeps all. */
  topP: number;
  /** Divides the logits (multiplies negative ones) of tokens already seen; 1 for none. */
  repetitionPenalty: number;
}

/** A chosen token, and its log-probability under the model itself (temperature 1, no filters). */
interface Choice {
  token: number;
  logProbability: number;
}

/** The likeliest of the first `count` tokens; the lowest id where several are. */
export function argmax(logits: Float32Array, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (float32At(logits, i) > float32At(logits, best)) best = i;
  return best;
}

/** log of the sum of exponentials of all logits (softmax runs over the padded vocabulary). */
export function logSumExp(logits: Float32Array): number {
  let largest = -Infinity;
  let total = 0;
  for (const x of logits) largest = Math.max(largest, x);
  for (const x of logits) total += Math.exp(x - largest);
  return largest + Math.log(total);
}

/**
 * Chooses a token among the first `count`. The order of filters is Hugging Face's: repetition
 * penalty, temperature, top-k, top-p. Ties in the order of ids, so that a seed gives one text.
 */
export function chooseToken(
  logits: Float32Array,
  count: number,
  options: SamplingOptions,
  random: Random,
  seen: Iterable<number> = [],
): Choice {
  const normalizer = logSumExp(logits);
  const choice = (token: number) => ({
    token,
    logProbability: float32At(logits, token) - normalizer,
  });
  const { temperature, topK, topP, repetitionPenalty } = options;
  const scores = Float64Array.from(logits.subarray(0, count));
  if (repetitionPenalty !== 1) {
    for (const token of new Set(seen)) {
      const s = scores[token];
      if (s !== undefined) scores[token] = s > 0 ? s / repetitionPenalty : s * repetitionPenalty;
    }
  }
  if (temperature === 0) {
    let best = 0;
    scores.forEach((s, i) => best = s > float64At(scores, best) ? i : best);
    return choice(best);
  }
  const order = Uint32Array.from(scores, (_, i) => i);
  const filtered = topK > 0 || topP < 1;
  if (filtered) order.sort((a, b) => float64At(scores, b) - float64At(scores, a) || a - b);
  let kept = filtered && topK > 0 ? Math.min(topK, count) : count;
  let largest = -Infinity;
  for (const s of scores) largest = Math.max(largest, s);
  const weight = (i: number) =>
    Math.exp((float64At(scores, uint32At(order, i)) - largest) / temperature);
  let total = 0;
  for (let i = 0; i < kept; i++) total += weight(i);
  if (topP < 1) {
    let sum = 0;
    let i = 0;
    while (i < kept && sum < topP * total) sum += weight(i++);
    kept = Math.max(1, i);
    total = sum;
  }
  let left = random.uniform() * total;
  for (let i = 0; i < kept; i++) {
    left -= weight(i);
    if (left < 0) return choice(uint32At(order, i));
  }
  return choice(uint32At(order, kept - 1));
}
