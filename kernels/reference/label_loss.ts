/**
 * Losses over a few labels, in float64, each row with a weight of its own (a class's weight, or 0 for a
 * row that is not scored):
 *
 * - softmax: w (lse(logits) - logits[target]), labels that exclude each other;
 * - sigmoid: w sum over k of (softplus(logits[k]) - target[k] logits[k]), labels that do not;
 * - squared: w (logits[0] - target)^2, a number.
 *
 * @module
 */

/** Which loss. */
export type LabelLoss = "softmax" | "sigmoid" | "squared";

/** Targets per row: for softmax the label's number, for sigmoid K values, for squared one value. */
export function labelLoss(
  kind: LabelLoss,
  logits: Float64Array,
  labels: number,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
): { loss: Float64Array; dlogits: Float64Array } {
  const rows = logits.length / labels;
  const loss = new Float64Array(rows);
  const dlogits = new Float64Array(logits.length);
  for (let r = 0; r < rows; r++) {
    const row = logits.subarray(r * labels, (r + 1) * labels);
    const weight = weights[r] ?? 0;
    if (weight === 0) continue;
    const set = (k: number, value: number) => dlogits[r * labels + k] = weight * value;
    if (kind === "softmax") {
      const target = targets[r] ?? 0;
      const largest = Math.max(...row);
      const total = row.reduce((sum, x) => sum + Math.exp(x - largest), 0);
      loss[r] = weight * (largest + Math.log(total) - (row[target] ?? 0));
      row.forEach((x, k) => set(k, Math.exp(x - largest) / total - Number(k === target)));
    } else if (kind === "sigmoid") {
      let sum = 0;
      row.forEach((x, k) => {
        const target = targets[r * labels + k] ?? 0;
        sum += Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))) - target * x;
        set(k, 1 / (1 + Math.exp(-x)) - target);
      });
      loss[r] = weight * sum;
    } else {
      const off = (row[0] ?? 0) - (targets[r] ?? 0);
      loss[r] = weight * off * off;
      set(0, 2 * off);
    }
  }
  return { loss, dlogits };
}
