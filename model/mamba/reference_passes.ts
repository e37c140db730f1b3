/** The float64 model's forward and backward, composed of the operations of `kernels/reference/`. @module */
import * as ops from "../../kernels/reference/mod.ts";
import type { MambaConfig } from "./config.ts";
import { EMBEDDING } from "./parameters.ts";

/** Values by Hugging Face parameter name. */
export type Tensors = Map<string, Float64Array>;

/** What a mixer's forward pass leaves for the backward pass. Rows are (b l). */
interface LayerActivations {
  /** (rows, d) the residual stream that enters, and its norm. */
  stream: Float64Array;
  normed: Float64Array;
  /** (rows, e) the two halves of in_proj's output: the convolution's input, and the gate. */
  x: Float64Array;
  /** (rows, e) the convolution's output after SiLU. */
  u: Float64Array;
  /** (rows, r) the low-rank form of delta. */
  timeStep: Float64Array;
  scan: ops.SelectiveScanInput;
  /** (rows, e) the gated output of the scan. */
  y: Float64Array;
}

/** What a whole forward pass leaves. */
export interface Activations {
  layers: LayerActivations[];
  /** (rows, d) the residual stream after the last mixer, and its norm. */
  stream: Float64Array;
  hidden: Float64Array;
  /** (rows, padded vocabulary) */
  logits: Float64Array;
}

/** The columns [from, to) of a matrix with `width` columns. */
function columns(matrix: Float64Array, width: number, from: number, to: number): Float64Array {
  const rows = matrix.length / width;
  const out = new Float64Array(rows * (to - from));
  for (let r = 0; r < rows; r++) {
    out.set(matrix.subarray(r * width + from, r * width + to), r * (to - from));
  }
  return out;
}

/** Matrices of equally many rows, side by side. */
function beside(rows: number, ...parts: Float64Array[]): Float64Array {
  const widths = parts.map((p) => p.length / rows);
  const width = widths.reduce((a, b) => a + b, 0);
  const out = new Float64Array(rows * width);
  let at = 0;
  parts.forEach((part, i) => {
    const w = widths[i]!;
    for (let r = 0; r < rows; r++) out.set(part.subarray(r * w, (r + 1) * w), r * width + at);
    at += w;
  });
  return out;
}

/** State that a mixer carries from one piece of a sequence to the next. */
export interface LayerState {
  /** (b, e, convKernel - 1) */
  conv: Float64Array;
  /** (b, e, n) */
  scan: Float64Array;
}

/** The shape of a piece of input: b rows of l tokens, document starts, and states to go on from. */
export interface Piece {
  batch: number;
  length: number;
  starts?: Uint8Array;
  states?: LayerState[];
}

/** One layer up to the scan; its out_proj is left to the caller. */
function mixerForward(
  config: MambaConfig,
  weight: (name: string) => Float64Array,
  stream: Float64Array,
  piece: Piece,
  state?: LayerState,
): LayerActivations {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const { batch, length, starts } = piece;
  const normed = ops.rmsNorm(stream, weight("norm.weight"), config.normEpsilon).y;
  const xz = ops.linear(normed, weight("mixer.in_proj.weight"), d, 2 * e);
  const x = columns(xz, 2 * e, 0, e);
  const u = ops.convSilu({
    batch,
    length,
    x,
    weight: weight("mixer.conv1d.weight"),
    bias: weight("mixer.conv1d.bias"),
    initial: state?.conv,
    starts,
  });
  const projected = ops.linear(u, weight("mixer.x_proj.weight"), e, r + 2 * n);
  const timeStep = columns(projected, r + 2 * n, 0, r);
  const scan: ops.SelectiveScanInput = {
    batch,
    length,
    u,
    delta: ops.linear(timeStep, weight("mixer.dt_proj.weight"), r, e),
    A: weight("mixer.A_log").map((v) => -Math.exp(v)),
    B: columns(projected, r + 2 * n, r, r + n),
    C: columns(projected, r + 2 * n, r + n, r + 2 * n),
    D: weight("mixer.D"),
    z: columns(xz, 2 * e, e, 2 * e),
    deltaBias: weight("mixer.dt_proj.bias"),
    softplus: true,
    initialState: state?.scan,
    starts,
  };
  const { y, lastState } = ops.selectiveScan(scan);
  if (state) {
    const conv = { batch, length, x, weight: weight("mixer.conv1d.weight"), initial: state.conv };
    state.conv = ops.convFinalState({ ...conv, bias: weight("mixer.conv1d.bias") });
    state.scan = lastState;
  }
  return { stream, normed, x, u, timeStep, scan, y };
}

const add = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);

/** Logits of a piece of input, and what its backward needs; moves `piece.states` on. */
export function forward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
): Activations {
  const { hiddenSize: d, intermediateSize: e } = config;
  const embedding = parameters.get(EMBEDDING)!;
  const layers: LayerActivations[] = [];
  let stream = ops.embedding(tokens, embedding, d);
  for (let i = 0; i < config.layers; i++) {
    const weight = (name: string) => parameters.get(`backbone.layers.${i}.${name}`)!;
    const layer = mixerForward(config, weight, stream, piece, piece.states?.[i]);
    layers.push(layer);
    stream = add(stream, ops.linear(layer.y, weight("mixer.out_proj.weight"), e, d));
  }
  const norm = parameters.get("backbone.norm_f.weight")!;
  const hidden = ops.rmsNorm(stream, norm, config.normEpsilon).y;
  const logits = ops.linear(hidden, embedding, d, config.paddedVocabSize);
  return { layers, stream, hidden, logits };
}

/** Adds the gradients of `dlogits` to `gradients`. */
export function backward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
  seen: Activations,
  dlogits: Float64Array,
  gradients: Tensors,
): void {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const rows = tokens.length;
  const epsilon = config.normEpsilon;
  const collect = (name: string, gradient: Float64Array) => {
    const sum = gradients.get(name)!;
    for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]!;
  };
  const embedding = parameters.get(EMBEDDING)!;
  const normF = "backbone.norm_f.weight";
  const head = ops.linearBackward(dlogits, seen.hidden, embedding, d, config.paddedVocabSize);
  collect(EMBEDDING, head.dweight);
  const last = ops.rmsNormBackward(head.dx, seen.stream, parameters.get(normF)!, epsilon);
  collect(normF, last.dweight);
  let dstream = last.dx;
  for (let i = config.layers - 1; i >= 0; i--) {
    const { stream, normed, x, u, timeStep, scan, y } = seen.layers[i]!;
    const full = (name: string) => `backbone.layers.${i}.${name}`;
    const weight = (name: string) => parameters.get(full(name))!;
    const linear = (name: string, dy: Float64Array, input: Float64Array, k: number, o: number) => {
      const { dx, dweight } = ops.linearBackward(dy, input, weight(name), k, o);
      collect(full(name), dweight);
      return dx;
    };
    const dy = linear("mixer.out_proj.weight", dstream, y, e, d);
    const s = ops.selectiveScanBackward(scan, dy);
    collect(full("mixer.D"), s.dD);
    collect(full("mixer.A_log"), s.dA.map((v, j) => v * scan.A[j]!));
    collect(full("mixer.dt_proj.bias"), s.ddeltaBias);
    const dtimeStep = linear("mixer.dt_proj.weight", s.ddelta, timeStep, r, e);
    const dprojected = beside(rows, dtimeStep, s.dB, s.dC);
    const du = add(s.du, linear("mixer.x_proj.weight", dprojected, u, e, r + 2 * n));
    const conv = ops.convSiluBackward({
      ...piece,
      x,
      weight: weight("mixer.conv1d.weight"),
      bias: weight("mixer.conv1d.bias"),
    }, du);
    collect(full("mixer.conv1d.weight"), conv.dweight);
    collect(full("mixer.conv1d.bias"), conv.dbias);
    const dxz = beside(rows, conv.dx, s.dz);
    const dnormed = linear("mixer.in_proj.weight", dxz, normed, d, 2 * e);
    const norm = ops.rmsNormBackward(dnormed, stream, weight("norm.weight"), epsilon, dstream);
    collect(full("norm.weight"), norm.dweight);
    dstream = norm.dx;
  }
  ops.embeddingBackward(tokens, dstream, gradients.get(EMBEDDING)!, d);
}
