// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * Softmax cross-entropy in nats over rows of logits, in float64. A target below zero is not scored.
 *
 *   nll[r] = lse[r] - logits[r, target[r]],   lse[r] = log sum over v of exp(logits[r, v])
 *
 * @module
 */
import { linear, linearBackward } from "./linear.ts";

/** What a forward pass leaves. */
export interface CrossEntropyOutput {
  /** (rows) negative log-likelihood; 0 where the target is ignored. */
  nll: Float64Array;
  /** (rows) log of the sum of exponentials. */
  logSumExp: Float64Array;
  /** Number of scored rows. */
  scored: number;
  /** Mean of nll over the scored rows; 0 where there are none. */
  loss: number;
}

/**
 * Terms besides the likelihood. With label smoothing e (Szegedy et al., 2016) and z-loss z (PaLM, 2022):
 *
 *   nll[r] = lse[r] - (1 - e) logits[r, target] - e mean over v of logits[r, v] + z lse[r]^2
 */
export interface Objective {
  labelSmoothing?: number;
  zLoss?: number;
}

/** Forward. `logits` (rows, V), `targets` (rows). */
export function crossEntropy(
  logits: Float64Array,
  targets: Int32Array,
  { labelSmoothing: e = 0, zLoss: z = 0 }: Objective = {},
): CrossEntropyOutput {
  const rows = targets.length;
  const vocabulary = logits.length / rows;
  const nll = new Float64Array(rows);
  const logSumExp = new Float64Array(rows);
  let scored = 0;
  let total = 0;
  for (let r = 0; r < rows; r++) {
    const row = logits.subarray(r * vocabulary, (r + 1) * vocabulary);
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (const v of row) sum += Math.exp(v - largest);
    logSumExp[r] = largest + Math.log(sum);
    if (targets[r]! < 0) continue;
    const mean = row.reduce((a, b) => a + b, 0) / vocabulary;
    const lse = logSumExp[r]!;
    nll[r] = lse - (1 - e) * row[targets[r]!]! - e * mean + z * lse * lse;
    total += nll[r]!;
    scored++;
  }
  return { nll, logSumExp, scored, loss: scored ? total / scored : 0 };
}

/** Backward of `scale` times the summed nll: scale (softmax - one-hot), 0 in ignored rows. */
export function crossEntropyBackward(
  logits: Float64Array,
  targets: Int32Array,
  scale: number,
  { labelSmoothing: e = 0, zLoss: z = 0 }: Objective = {},
): Float64Array {
  const rows = targets.length;
  const vocabulary = logits.length / rows;
  const { logSumExp } = crossEntropy(logits, targets);
  const dlogits = new Float64Array(logits.length);
  for (let r = 0; r < rows; r++) {
    if (targets[r]! < 0) continue;
    for (let v = 0; v < vocabulary; v++) {
      const i = r * vocabulary + v;
      const softmax = Math.exp(logits[i]! - logSumExp[r]!);
      const hot = Number(v === targets[r]);
      dlogits[i] = scale *
        (softmax * (1 + 2 * z * logSumExp[r]!) - (1 - e) * hot - e / vocabulary);
    }
  }
  return dlogits;
}

/** The fused form: logits = hidden (rows, d) times the transpose of weight (V, d). */
export function linearCrossEntropy(
  hidden: Float64Array,
  weight: Float64Array,
  targets: Int32Array,
): CrossEntropyOutput {
  const d = hidden.length / targets.length;
  return crossEntropy(linear(hidden, weight, d, weight.length / d), targets);
}

/** Backward of `scale` times the summed nll of {@linkcode linearCrossEntropy}. */
export function linearCrossEntropyBackward(
  hidden: Float64Array,
  weight: Float64Array,
  targets: Int32Array,
  scale: number,
): { dhidden: Float64Array; dweight: Float64Array } {
  const d = hidden.length / targets.length;
  const vocabulary = weight.length / d;
  const logits = linear(hidden, weight, d, vocabulary);
  const dlogits = crossEntropyBackward(logits, targets, scale);
  const { dx, dweight } = linearBackward(dlogits, hidden, weight, d, vocabulary);
  return { dhidden: dx, dweight };
}
