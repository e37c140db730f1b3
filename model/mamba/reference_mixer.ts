/** What a kind of mixer computes, in float64: from a normed stream to what out_proj reads. @module */
import type { Dropouts } from "./dropouts.ts";

/** A parameter of the layer, by its name after `backbone.layers.N.`. */
type LayerWeights = (name: string) => Float64Array;

/** State that a mixer carries from one piece of a sequence to the next. */
export interface LayerState {
  /** (b, channels, convKernel - 1) */
  conv: Float64Array;
  /** (b, ...) the recurrent state. */
  scan: Float64Array;
}

/** The shape of a piece of input: b rows of l tokens, document starts, and states to go on from. */
export interface Piece {
  batch: number;
  length: number;
  starts?: Uint8Array;
  states?: LayerState[];
  /** What of the embeddings and of the hidden states is dropped. */
  dropout?: Dropouts & { seed: number };
}

/** What a mixer's forward leaves: its output (rows, e), and what its backward reads. */
export interface MixerOutput {
  y: Float64Array;
  /** Known to the kind alone. */
  kept: unknown;
}

/** Takes gradients of a layer's parameters, which are added to. */
type Collect = (name: string, gradient: Float64Array) => void;

/** A kind of mixer, whose configuration is C. */
export interface ReferenceMixer<C> {
  /** From the normed stream (rows, d); moves `state` on. */
  forward(
    config: C,
    weight: LayerWeights,
    normed: Float64Array,
    piece: Piece,
    state?: LayerState,
  ): MixerOutput;
  /**
   * From dy (rows, e) to the gradient of the normed stream. It takes what the forward took, what that
   * kept, dy, and where gradients go: seven in all.
   */
  backward(
    config: C,
    weight: LayerWeights,
    normed: Float64Array,
    piece: Piece,
    kept: unknown,
    dy: Float64Array,
    collect: Collect,
  ): Float64Array;
}

/** The columns [from, to) of a matrix with `width` columns. */
export function columns(
  matrix: Float64Array,
  width: number,
  from: number,
  to: number,
): Float64Array {
  const rows = matrix.length / width;
  const out = new Float64Array(rows * (to - from));
  for (let r = 0; r < rows; r++) {
    out.set(matrix.subarray(r * width + from, r * width + to), r * (to - from));
  }
  return out;
}

/** Matrices of equally many rows, side by side. */
export function beside(rows: number, ...parts: Float64Array[]): Float64Array {
  const widths = parts.map((p) => p.length / rows);
  const width = widths.reduce((a, b) => a + b, 0);
  const out = new Float64Array(rows * width);
  let at = 0;
  parts.forEach((part, i) => {
    const w = widths[i] ?? 0;
    for (let r = 0; r < rows; r++) out.set(part.subarray(r * w, (r + 1) * w), r * width + at);
    at += w;
  });
  return out;
}

/** The sum of two tensors. */
export const add = (a: Float64Array, b: Float64Array): Float64Array =>
  a.map((v, i) => v + (b[i] ?? 0));
