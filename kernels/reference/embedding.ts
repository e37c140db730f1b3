// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/** Looking up rows of a table, in float64. @module */

/** Forward: x (rows, d) = row tokens[r] of weight (V, d). */
export function embedding(
  tokens: ArrayLike<number>,
  weight: Float64Array,
  d: number,
): Float64Array {
  const x = new Float64Array(tokens.length * d);
  for (let r = 0; r < tokens.length; r++) {
    x.set(weight.subarray(tokens[r]! * d, (tokens[r]! + 1) * d), r * d);
  }
  return x;
}

/** Backward: every row's gradient is added to its token's row of the table's gradient, in place. */
export function embeddingBackward(
  tokens: ArrayLike<number>,
  dx: Float64Array,
  dweight: Float64Array,
  d: number,
): void {
  for (let r = 0; r < tokens.length; r++) {
    for (let c = 0; c < d; c++) dweight[tokens[r]! * d + c]! += dx[r * d + c]!;
  }
}
