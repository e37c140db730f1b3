/**
 * A linear-chain conditional random field over the labels of a sequence (Lafferty, McCallum and Pereira
 * 2001), in float64. A sequence y of length n with emissions e scores
 *
 *   begin[y0] + sum over t of e[t, yt] + sum over t of transition[y(t-1), yt] + end[y(n-1)]
 *
 * and its negative log-likelihood is log Z less that score.
 * @module
 */

/** The field's own parameters. */
export interface CrfParameters {
  /** (K) */
  begin: Float64Array;
  /** (K) */
  end: Float64Array;
  /** (K, K): from, to. */
  transition: Float64Array;
}

/** What {@linkcode crf} finds of one sequence. */
export interface CrfResult {
  /** Negative log-likelihood of the targets. */
  loss: number;
  /** (n, K) its gradient by the emissions. */
  demissions: Float64Array;
  /** Its gradient by the parameters. */
  gradient: CrfParameters;
}

const logSumExp = (values: readonly number[]): number => {
  const largest = Math.max(...values);
  return largest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0));
};

const labelsOf = (count: number): number[] => Array.from({ length: count }, (_, k) => k);

/** Loss and gradients of one sequence, by the forward-backward algorithm. `emissions` (n, K). */
export function crf(
  emissions: Float64Array,
  targets: ArrayLike<number>,
  { begin, end, transition }: CrfParameters,
): CrfResult {
  const labels = begin.length;
  const length = emissions.length / labels;
  const all = labelsOf(labels);
  const e = (t: number, k: number) => emissions[t * labels + k] ?? 0;
  const step = (i: number, j: number) => transition[i * labels + j] ?? 0;
  const alpha: number[][] = [all.map((k) => (begin[k] ?? 0) + e(0, k))];
  for (let t = 1; t < length; t++) {
    const before = alpha[t - 1] ?? [];
    alpha.push(all.map((j) => logSumExp(before.map((a, i) => a + step(i, j))) + e(t, j)));
  }
  const beta: number[][] = [];
  beta[length - 1] = all.map((k) => end[k] ?? 0);
  for (let t = length - 2; t >= 0; t--) {
    const after = beta[t + 1] ?? [];
    beta[t] = all.map((i) => logSumExp(after.map((b, j) => step(i, j) + e(t + 1, j) + b)));
  }
  const logZ = logSumExp((alpha[length - 1] ?? []).map((a, k) => a + (end[k] ?? 0)));
  const gradient: CrfParameters = {
    begin: new Float64Array(labels),
    end: new Float64Array(labels),
    transition: new Float64Array(labels * labels),
  };
  const demissions = new Float64Array(emissions.length);
  let score = 0;
  const add = (array: Float64Array, at: number, value: number) => {
    array[at] = (array[at] ?? 0) + value;
  };
  for (let t = 0; t < length; t++) {
    const target = targets[t] ?? 0;
    score += e(t, target);
    for (const k of all) {
      const marginal = Math.exp((alpha[t]?.[k] ?? 0) + (beta[t]?.[k] ?? 0) - logZ);
      const off = marginal - Number(k === target);
      add(demissions, t * labels + k, off);
      if (t === 0) add(gradient.begin, k, off);
      if (t === length - 1) add(gradient.end, k, off);
    }
    if (t === 0) continue;
    const before = targets[t - 1] ?? 0;
    score += step(before, target);
    add(gradient.transition, before * labels + target, -1);
    for (const i of all) {
      for (const j of all) {
        const both = (alpha[t - 1]?.[i] ?? 0) + step(i, j) + e(t, j) + (beta[t]?.[j] ?? 0);
        add(gradient.transition, i * labels + j, Math.exp(both - logZ));
      }
    }
  }
  score += (begin[targets[0] ?? 0] ?? 0) + (end[targets[length - 1] ?? 0] ?? 0);
  return { loss: logZ - score, demissions, gradient };
}

/** The likeliest labels of a sequence (Viterbi 1967); of equal ones the lower numbers. */
export function viterbi(
  emissions: ArrayLike<number>,
  { begin, end, transition }: { [K in keyof CrfParameters]: ArrayLike<number> },
): number[] {
  const labels = begin.length;
  const length = emissions.length / labels;
  if (length === 0) return [];
  const all = labelsOf(labels);
  let best = all.map((k) => (begin[k] ?? 0) + (emissions[k] ?? 0));
  const from: number[][] = [];
  for (let t = 1; t < length; t++) {
    const pointers: number[] = [];
    const previous = best;
    best = all.map((j) => {
      let top = -Infinity;
      let argument = 0;
      previous.forEach((value, i) => {
        const candidate = value + (transition[i * labels + j] ?? 0);
        if (candidate > top) {
          top = candidate;
          argument = i;
        }
      });
      pointers.push(argument);
      return top + (emissions[t * labels + j] ?? 0);
    });
    from.push(pointers);
  }
  best = best.map((value, k) => value + (end[k] ?? 0));
  let label = best.indexOf(Math.max(...best));
  const path = [label];
  for (let t = from.length - 1; t >= 0; t--) {
    label = from[t]?.[label] ?? 0;
    path.unshift(label);
  }
  return path;
}
