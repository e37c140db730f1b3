// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/** A linear map without bias, y = x W^T, row-major in float64. @module */

/**
 * Forward: y (rows, outputs) = x (rows, inputs) times the transpose of weight (outputs, inputs).
 */
export function linear(
  x: Float64Array,
  weight: Float64Array,
  inputs: number,
  outputs: number,
): Float64Array {
  const rows = x.length / inputs;
  const y = new Float64Array(rows * outputs);
  for (let r = 0; r < rows; r++) {
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += x[r * inputs + i]! * weight[o * inputs + i]!;
      y[r * outputs + o] = sum;
    }
  }
  return y;
}

/** Backward: dx = dy W, dweight = dy^T x. */
export function linearBackward(
  dy: Float64Array,
  x: Float64Array,
  weight: Float64Array,
  inputs: number,
  outputs: number,
): { dx: Float64Array; dweight: Float64Array } {
  const rows = x.length / inputs;
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(weight.length);
  for (let r = 0; r < rows; r++) {
    for (let o = 0; o < outputs; o++) {
      const g = dy[r * outputs + o]!;
      for (let i = 0; i < inputs; i++) {
        dx[r * inputs + i]! += g * weight[o * inputs + i]!;
        dweight[o * inputs + i]! += g * x[r * inputs + i]!;
      }
    }
  }
  return { dx, dweight };
}
