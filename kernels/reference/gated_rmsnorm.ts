// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * The gated RMSNorm at the end of a Mamba-2 mixer, in float64, over groups of neighbouring columns:
 *
 *   norm after the gate:   y = rms(x silu(z)) * weight
 *   norm before the gate:  y = rms(x) * weight * silu(z)
 *
 * where rms(v) = v / sqrt(mean over v's group of v^2 + epsilon). Source: state-spaces/mamba,
 * `layernorm_gated.py`. Row-major (rows, columns).
 * @module
 */
import { silu, siluDerivative } from "./activations.ts";

/** The operands. */
export interface GatedRmsNormInput {
  /** (rows, columns) */
  x: Float64Array;
  /** (rows, columns) */
  z: Float64Array;
  /** (columns) */
  weight: Float64Array;
  epsilon: number;
  /** Groups of columns that are normed apart; 1 by default. */
  groups?: number;
  normBeforeGate: boolean;
}

/** The value that is normed, at index i. */
const normed = ({ x, z, normBeforeGate }: GatedRmsNormInput, i: number) =>
  normBeforeGate ? x[i]! : x[i]! * silu(z[i]!);

/** 1 / rms of the group of columns that starts at index `from` of x. */
function scaleOf(input: GatedRmsNormInput, from: number, width: number): number {
  let squares = 0;
  for (let i = from; i < from + width; i++) squares += normed(input, i) ** 2;
  return 1 / Math.sqrt(squares / width + input.epsilon);
}

/** Forward: y (rows, columns). */
export function gatedRmsNorm(input: GatedRmsNormInput): Float64Array {
  const { x, z, weight, groups = 1, normBeforeGate } = input;
  const columns = weight.length;
  const width = columns / groups;
  const y = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += width) {
    const scale = scaleOf(input, from, width);
    for (let i = from; i < from + width; i++) {
      const gate = normBeforeGate ? silu(z[i]!) : 1;
      y[i] = normed(input, i) * scale * weight[i % columns]! * gate;
    }
  }
  return y;
}

/** Gradients of {@linkcode gatedRmsNorm}, each shaped as its operand. */
export interface GatedRmsNormGradients {
  dx: Float64Array;
  dz: Float64Array;
  dweight: Float64Array;
}

/**
 * Backward. With v the normed value, k its group's 1 / rms, h = dy weight (times silu(z) where the gate
 * comes after) and n columns a group: dv = k (h - v k^2 (v . h) / n).
 */
export function gatedRmsNormBackward(
  input: GatedRmsNormInput,
  dy: Float64Array,
): GatedRmsNormGradients {
  const { x, z, weight, groups = 1, normBeforeGate } = input;
  const columns = weight.length;
  const width = columns / groups;
  const dx = new Float64Array(x.length);
  const dz = new Float64Array(x.length);
  const dweight = new Float64Array(columns);
  for (let from = 0; from < x.length; from += width) {
    const k = scaleOf(input, from, width);
    const slopeOf = (i: number) =>
      dy[i]! * weight[i % columns]! * (normBeforeGate ? silu(z[i]!) : 1);
    let along = 0;
    for (let i = from; i < from + width; i++) along += normed(input, i) * slopeOf(i);
    for (let i = from; i < from + width; i++) {
      const v = normed(input, i);
      const dv = k * (slopeOf(i) - v * k * k * along / width);
      const gate = silu(z[i]!);
      const slope = siluDerivative(z[i]!);
      dweight[i % columns]! += dy[i]! * v * k * (normBeforeGate ? gate : 1);
      dx[i] = normBeforeGate ? dv : dv * gate;
      dz[i] = normBeforeGate ? dy[i]! * v * k * weight[i % columns]! * slope : dv * x[i]! * slope;
    }
  }
  return { dx, dz, dweight };
}
