// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * RMSNorm over the residual stream (Zhang and Sennrich, 2019), as Mamba's blocks use it:
 *
 *   s = residual + x            the new residual stream
 *   y = s / sqrt(mean(s^2) + epsilon) * weight
 *
 * Row-major (rows, columns) in float64.
 * @module
 */

/** What a forward pass leaves. */
export interface RmsNormOutput {
  /** (rows, columns) */
  y: Float64Array;
  /** (rows, columns) residual + x; x itself without a residual. */
  residual: Float64Array;
  /** (rows) 1 / sqrt(mean(s^2) + epsilon) */
  inverseRms: Float64Array;
}

/** Forward. `x` (rows, columns), `weight` (columns), `residual` (rows, columns) where there is one. */
export function rmsNorm(
  x: Float64Array,
  weight: Float64Array,
  epsilon: number,
  residual?: Float64Array,
): RmsNormOutput {
  const columns = weight.length;
  const rows = x.length / columns;
  const sum = x.map((v, i) => v + (residual?.[i] ?? 0));
  const y = new Float64Array(x.length);
  const inverseRms = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    for (let c = 0; c < columns; c++) squares += sum[r * columns + c]! ** 2;
    const scale = inverseRms[r] = 1 / Math.sqrt(squares / columns + epsilon);
    for (let c = 0; c < columns; c++) {
      const i = r * columns + c;
      y[i] = sum[i]! * scale * weight[c]!;
    }
  }
  return { y, residual: sum, inverseRms };
}

/** Gradients of {@linkcode rmsNorm}. */
export interface RmsNormGradients {
  /** (rows, columns) for x and for the incoming residual alike: the stream is their sum. */
  dx: Float64Array;
  /** (columns) */
  dweight: Float64Array;
}

/**
 * Backward. With g = dy * weight, n = columns, k = inverse RMS of the row:
 *
 *   ds = k (g - s k^2 (s . g) / n) + dresidual,   dweight = sum over rows of dy s k
 *
 * @param sum the forward's `residual` output (rows, columns).
 * @param dresidual the gradient that reaches the stream past this norm, where there is any.
 */
export function rmsNormBackward(
  dy: Float64Array,
  sum: Float64Array,
  weight: Float64Array,
  epsilon: number,
  dresidual?: Float64Array,
): RmsNormGradients {
  const columns = weight.length;
  const rows = sum.length / columns;
  const dx = new Float64Array(sum.length);
  const dweight = new Float64Array(columns);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    let dot = 0;
    for (let c = 0; c < columns; c++) {
      const i = r * columns + c;
      squares += sum[i]! ** 2;
      dot += sum[i]! * dy[i]! * weight[c]!;
    }
    const k = 1 / Math.sqrt(squares / columns + epsilon);
    for (let c = 0; c < columns; c++) {
      const i = r * columns + c;
      dx[i] = k * (dy[i]! * weight[c]! - sum[i]! * k * k * dot / columns) + (dresidual?.[i] ?? 0);
      dweight[c]! += dy[i]! * sum[i]! * k;
    }
  }
  return { dx, dweight };
}
