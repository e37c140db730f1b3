/** The scalar functions of Mamba and their derivatives, in float64. @module */

/** Logistic function 1 / (1 + e^-x), without overflow for large |x|. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/** SiLU: x sigmoid(x). */
export function silu(x: number): number {
  return x * sigmoid(x);
}

/** d silu / dx = s (1 + x (1 - s)), with s = sigmoid(x). */
export function siluDerivative(x: number): number {
  const s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

/** Softplus: log(1 + e^x), exact at both ends. Its derivative is {@linkcode sigmoid}. */
export function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
