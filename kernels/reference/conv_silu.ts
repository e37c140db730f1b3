// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * Causal depthwise convolution over time followed by SiLU, in float64:
 *
 *   p[t, c] = bias[c] + sum over j < width of weight[c, j] x[t - (width - 1) + j, c]
 *   y = silu(p)
 *
 * Inputs before the start of the sequence, or of the packed document that t lies in, count as zero
 * (or come from `initial`, before the first document start of a sequence).
 * @module
 */
import { silu, siluDerivative } from "./activations.ts";

/** The operands. b sequences of l steps, d channels. */
export interface ConvSiluInput {
  batch: number;
  length: number;
  /** (b l, d) */
  x: Float64Array;
  /** (d, width); the last column meets the present step. */
  weight: Float64Array;
  /** (d) */
  bias: Float64Array;
  /** (b, d, width - 1) the inputs just before the sequence, oldest first. */
  initial?: Float64Array;
  /** (b l) 1 where a document starts. */
  starts?: Uint8Array;
}

/** Sizes, and where step t - back of sequence s is found: an index of x, of initial, or nowhere. */
function geometry({ batch, length, bias, weight, initial, starts }: ConvSiluInput) {
  const d = bias.length;
  const width = weight.length / d;
  const locate = (s: number, t: number, back: number) => {
    for (let q = t; q > t - back && q >= 0; q--) if (starts?.[s * length + q]) return undefined;
    const from = t - back;
    if (from >= 0) return { state: false, at: (c: number) => (s * length + from) * d + c };
    if (!initial) return undefined;
    return { state: true, at: (c: number) => (s * d + c) * (width - 1) + width - 1 + from };
  };
  return { batch, length, d, width, locate };
}

function preActivation(input: ConvSiluInput): Float64Array {
  const { batch, length, d, width, locate } = geometry(input);
  const p = new Float64Array(batch * length * d);
  for (let s = 0; s < batch; s++) {
    for (let t = 0; t < length; t++) {
      const row = (s * length + t) * d;
      for (let c = 0; c < d; c++) p[row + c] = input.bias[c]!;
      for (let back = 0; back < width; back++) {
        const source = locate(s, t, back);
        if (!source) continue;
        const values = source.state ? input.initial! : input.x;
        for (let c = 0; c < d; c++) {
          p[row + c]! += input.weight[c * width + width - 1 - back]! * values[source.at(c)]!;
        }
      }
    }
  }
  return p;
}

/** Forward: y (b l, d). */
export function convSilu(input: ConvSiluInput): Float64Array {
  return preActivation(input).map(silu);
}

/** The last width - 1 inputs of every sequence, (b, d, width - 1): `initial` of what follows. */
export function convFinalState(input: ConvSiluInput): Float64Array {
  const { batch, length, d, width, locate } = geometry(input);
  const state = new Float64Array(batch * d * (width - 1));
  for (let s = 0; s < batch; s++) {
    for (let back = 0; back < width - 1; back++) {
      const source = locate(s, length - 1, back);
      if (!source) continue;
      const values = source.state ? input.initial! : input.x;
      for (let c = 0; c < d; c++) {
        state[(s * d + c) * (width - 1) + width - 2 - back] = values[source.at(c)]!;
      }
    }
  }
  return state;
}

/** Gradients of {@linkcode convSilu}, each shaped as its operand. */
export interface ConvSiluGradients {
  dx: Float64Array;
  dweight: Float64Array;
  dbias: Float64Array;
  dinitial: Float64Array;
}

/** Backward: g = dy silu'(p), and every use of an input, weight or bias hands g back. */
export function convSiluBackward(input: ConvSiluInput, dy: Float64Array): ConvSiluGradients {
  const { batch, length, d, width, locate } = geometry(input);
  const p = preActivation(input);
  const dx = new Float64Array(input.x.length);
  const dweight = new Float64Array(d * width);
  const dbias = new Float64Array(d);
  const dinitial = new Float64Array(batch * d * (width - 1));
  for (let s = 0; s < batch; s++) {
    for (let t = 0; t < length; t++) {
      const row = (s * length + t) * d;
      for (let back = 0; back < width; back++) {
        const source = locate(s, t, back);
        for (let c = 0; c < d; c++) {
          const g = dy[row + c]! * siluDerivative(p[row + c]!);
          if (back === 0) dbias[c]! += g;
          if (!source) continue;
          const tap = c * width + width - 1 - back;
          const at = source.at(c);
          dweight[tap]! += g * (source.state ? input.initial! : input.x)[at]!;
          (source.state ? dinitial : dx)[at]! += g * input.weight[tap]!;
        }
      }
    }
  }
  return { dx, dweight, dbias, dinitial };
}
