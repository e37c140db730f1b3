/** Measures of scores: how they go together with the golden ones, and how far off they are. @module */
import type { Measure } from "../core/task.ts";

/** Pearson's correlation of some pairs; 0 where either side does not vary, which says nothing. */
export function pearson(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  indices: ArrayLike<number>,
): number {
  const n = indices.length;
  let meanX = 0;
  let meanY = 0;
  for (let i = 0; i < n; i++) {
    meanX += (x[indices[i] ?? 0] ?? NaN) / n;
    meanY += (y[indices[i] ?? 0] ?? NaN) / n;
  }
  let both = 0;
  let ofX = 0;
  let ofY = 0;
  for (let i = 0; i < n; i++) {
    const dx = (x[indices[i] ?? 0] ?? NaN) - meanX;
    const dy = (y[indices[i] ?? 0] ?? NaN) - meanY;
    both += dx * dy;
    ofX += dx * dx;
    ofY += dy * dy;
  }
  // Rounding leaves a constant with a variance of about the square of the last digit.
  const tiny = 1e-24 * n;
  return ofX <= tiny || ofY <= tiny ? 0 : both / Math.sqrt(ofX * ofY);
}

/** The ranks of values, from 1; equal values share the mean of theirs. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from({ length: values.length }, (_, i) => i)
    .sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
  const out = new Float64Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from + 1;
    while (to < order.length && values[order[to] ?? 0] === values[order[from] ?? 0]) to++;
    for (let i = from; i < to; i++) out[order[i] ?? 0] = (from + 1 + to) / 2;
    from = to;
  }
  return out;
}

/** Spearman's correlation of some pairs: Pearson's of their ranks among each other. */
export function spearman(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  indices: ArrayLike<number>,
): number {
  const chosen = (values: ArrayLike<number>) =>
    Array.from({ length: indices.length }, (_, i) => values[indices[i] ?? 0] ?? NaN);
  const all = Uint32Array.from({ length: indices.length }, (_, i) => i);
  return pearson(ranks(chosen(x)), ranks(chosen(y)), all);
}

/** Pearson's and Spearman's correlation, and the mean squared error. */
export function scoreMeasures(
  gold: ArrayLike<number>,
  predicted: ArrayLike<number>,
): Measure[] {
  const count = gold.length;
  const squares = Array.from(gold, (value, i) => (value - (predicted[i] ?? NaN)) ** 2);
  return [
    {
      key: "pearson",
      name: "Pearson's r",
      count,
      statistic: (indices) => pearson(gold, predicted, indices),
    },
    {
      key: "spearman",
      name: "Spearman's rho",
      count,
      statistic: (indices) => spearman(gold, predicted, indices),
    },
    {
      key: "mse",
      name: "mean squared error",
      count,
      statistic(indices) {
        let sum = 0;
        for (const i of indices) sum += squares[i] ?? NaN;
        return sum / indices.length;
      },
      values: squares,
    },
  ];
}
