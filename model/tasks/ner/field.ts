/**
 * Tags of many sentences under one conditional random field: what `kernels/reference/crf.ts` specifies,
 * without its lists and logarithms, because the host does this while the device waits.
 * @module
 */
import type { CrfParameters } from "../../../kernels/reference/crf.ts";

/** What is said of a sentence's words. */
export interface DecodedTags {
  /** The likeliest well-formed sequence, as numbers of tags. */
  path: number[];
  /** (n, K) each tag's probability, over all sequences. */
  marginals: Float64Array;
}

/** No factor of a product of probabilities is smaller, so that no sum of them is 0. */
const LEAST_FACTOR = 1e-300;

/** A field prepared for decoding. */
export class FieldDecoder {
  readonly #labels: number;
  readonly #field: CrfParameters;
  /** As the field's, with -Infinity where a tag may not stand. */
  readonly #begin: Float64Array;
  readonly #transition: Float64Array;
  /** Exponentials of the field's own parameters, below their largest. */
  readonly #beginFactor: Float64Array;
  readonly #endFactor: Float64Array;
  readonly #stepFactor: Float64Array;
  #alpha = new Float64Array();
  #emission = new Float64Array();
  #from = new Int32Array();

  /** @param follows whether tag `to` may follow tag `from`, or begin a sentence where that is undefined */
  constructor(field: CrfParameters, follows: (to: number, from: number | undefined) => boolean) {
    const labels = field.begin.length;
    this.#labels = labels;
    this.#field = field;
    this.#begin = field.begin.map((x, k) => follows(k, undefined) ? x : -Infinity);
    this.#transition = field.transition.map((x, at) =>
      follows(at % labels, Math.floor(at / labels)) ? x : -Infinity
    );
    this.#beginFactor = factors(field.begin);
    this.#endFactor = factors(field.end);
    this.#stepFactor = factors(field.transition);
  }

  /** Decodes a sentence of emissions (n, K); n is at least 1. */
  decode(emissions: ArrayLike<number>): DecodedTags {
    return { path: this.#likeliest(emissions), marginals: this.#marginalsOf(emissions) };
  }

  /** Viterbi's algorithm; of equal sequences the one with the lower numbers. */
  #likeliest(emissions: ArrayLike<number>): number[] {
    const labels = this.#labels;
    const length = emissions.length / labels;
    if (this.#from.length < emissions.length) this.#from = new Int32Array(emissions.length);
    const from = this.#from;
    let best = new Float64Array(labels);
    let next = new Float64Array(labels);
    for (let k = 0; k < labels; k++) best[k] = (this.#begin[k] ?? 0) + (emissions[k] ?? 0);
    for (let t = 1; t < length; t++) {
      for (let j = 0; j < labels; j++) {
        let top = -Infinity;
        let argument = 0;
        for (let i = 0; i < labels; i++) {
          const candidate = (best[i] ?? 0) + (this.#transition[i * labels + j] ?? 0);
          if (candidate > top) {
            top = candidate;
            argument = i;
          }
        }
        next[j] = top + (emissions[t * labels + j] ?? 0);
        from[t * labels + j] = argument;
      }
      [best, next] = [next, best];
    }
    let label = 0;
    let top = -Infinity;
    for (let k = 0; k < labels; k++) {
      const value = (best[k] ?? 0) + (this.#field.end[k] ?? 0);
      if (value > top) {
        top = value;
        label = k;
      }
    }
    const path = new Array<number>(length);
    for (let t = length - 1; t >= 0; t--) {
      path[t] = label;
      label = from[t * labels + label] ?? 0;
    }
    return path;
  }

  /** The forward-backward algorithm on factors, each word's divided by their sum. */
  #marginalsOf(emissions: ArrayLike<number>): Float64Array {
    const labels = this.#labels;
    const size = emissions.length;
    const length = size / labels;
    if (this.#alpha.length < size) {
      this.#alpha = new Float64Array(size);
      this.#emission = new Float64Array(size);
    }
    const alpha = this.#alpha;
    const emission = this.#emission;
    const step = this.#stepFactor;
    for (let t = 0; t < length; t++) factorsInto(emissions, t * labels, labels, emission);
    for (let k = 0; k < labels; k++) {
      alpha[k] = (this.#beginFactor[k] ?? 0) * (emission[k] ?? 0);
    }
    divideBySum(alpha, 0, labels);
    for (let t = 1; t < length; t++) {
      const at = t * labels;
      for (let j = 0; j < labels; j++) {
        let sum = 0;
        for (let i = 0; i < labels; i++) {
          sum += (alpha[at - labels + i] ?? 0) * (step[i * labels + j] ?? 0);
        }
        alpha[at + j] = sum * (emission[at + j] ?? 0);
      }
      divideBySum(alpha, at, labels);
    }
    const marginals = new Float64Array(size);
    let beta = Float64Array.from(this.#endFactor);
    let before = new Float64Array(labels);
    for (let t = length - 1; t >= 0; t--) {
      const at = t * labels;
      for (let k = 0; k < labels; k++) marginals[at + k] = (alpha[at + k] ?? 0) * (beta[k] ?? 0);
      divideBySum(marginals, at, labels);
      for (let i = 0; i < labels; i++) {
        let sum = 0;
        for (let j = 0; j < labels; j++) {
          sum += (step[i * labels + j] ?? 0) * (emission[at + j] ?? 0) * (beta[j] ?? 0);
        }
        before[i] = sum;
      }
      divideBySum(before, 0, labels);
      [beta, before] = [before, beta];
    }
    return marginals;
  }
}

/** exp of scores, below the largest of them. */
function factors(scores: Float64Array): Float64Array {
  const values = new Float64Array(scores.length);
  factorsInto(scores, 0, scores.length, values);
  return values;
}

/** exp of `count` scores from `at` on, below the largest of them, into the same places of `out`. */
function factorsInto(
  scores: ArrayLike<number>,
  at: number,
  count: number,
  out: Float64Array,
): void {
  let largest = -Infinity;
  for (let k = at; k < at + count; k++) largest = Math.max(largest, scores[k] ?? 0);
  for (let k = at; k < at + count; k++) {
    out[k] = Math.max(Math.exp((scores[k] ?? 0) - largest), LEAST_FACTOR);
  }
}

/** Divides `count` values from `at` on by their sum. */
function divideBySum(values: Float64Array, at: number, count: number): void {
  let sum = 0;
  for (let k = at; k < at + count; k++) sum += values[k] ?? 0;
  for (let k = at; k < at + count; k++) values[k] = (values[k] ?? 0) / sum;
}
