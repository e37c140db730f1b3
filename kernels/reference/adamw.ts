// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * AdamW with decoupled weight decay (Loshchilov and Hutter, 2019) and clipping by the global norm,
 * in float64, as torch.optim.AdamW and torch.nn.utils.clip_grad_norm_ do it.
 * @module
 */

/** The L2 norm of several arrays taken as one vector. */
export function globalNorm(gradients: Iterable<Float64Array>): number {
  let squares = 0;
  for (const gradient of gradients) for (const g of gradient) squares += g * g;
  return Math.sqrt(squares);
}

/** What gradients are multiplied with: min(1, limit / (norm + 1e-6)). */
export function clipCoefficient(norm: number, limit: number): number {
  return Math.min(1, limit / (norm + 1e-6));
}

/** The hyper-parameters of one update of one parameter. */
export interface AdamWOptions {
  /** The update's number, from 1. */
  step: number;
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** 0 for norm weights, biases, A_log and D. */
  weightDecay: number;
  /** See {@linkcode clipCoefficient}. */
  clip: number;
}

/** A parameter with its moments, updated in place. */
export interface AdamWState {
  parameter: Float64Array;
  m: Float64Array;
  v: Float64Array;
}

/**
 * One update:
 *
 *   g = clip gradient,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
 *   p = p (1 - lr decay) - lr (m / (1 - b1^step)) / (sqrt(v / (1 - b2^step)) + epsilon)
 */
export function adamW(
  { parameter, m, v }: AdamWState,
  gradient: Float64Array,
  options: AdamWOptions,
): void {
  const { step, learningRate, beta1, beta2, epsilon, weightDecay, clip } = options;
  const correction1 = 1 - beta1 ** step;
  const correction2 = 1 - beta2 ** step;
  for (let i = 0; i < parameter.length; i++) {
    const g = clip * gradient[i]!;
    m[i] = beta1 * m[i]! + (1 - beta1) * g;
    v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
    const direction = m[i]! / correction1 / (Math.sqrt(v[i]! / correction2) + epsilon);
    parameter[i] = parameter[i]! * (1 - learningRate * weightDecay) - learningRate * direction;
  }
}
