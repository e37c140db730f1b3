/** The float64 model's forward and backward, composed of the operations of `kernels/reference/`. @module */
import { fail } from "../../core/errors.ts";
import { float64At, nth } from "../../core/nth.ts";
import * as ops from "../../kernels/reference/mod.ts";
import type { MambaConfig } from "./config.ts";
import { stateSeed } from "./dropouts.ts";
import { kindOf } from "./kinds.ts";
import { EMBEDDING } from "./parameters.ts";
import { add, type MixerOutput, type Piece } from "./reference_mixer.ts";

export type { LayerState, Piece } from "./reference_mixer.ts";

/** Values by Hugging Face parameter name. */
export type Tensors = Map<string, Float64Array>;

/** What a layer's forward pass leaves for the backward pass. Rows are (b l). */
interface LayerActivations {
  /** (rows, d) the residual stream that enters, and its norm. */
  stream: Float64Array;
  normed: Float64Array;
  mixer: MixerOutput;
}

/** What a whole forward pass leaves. */
export interface Activations {
  layers: LayerActivations[];
  /** (rows, d) the residual stream after the last mixer, and its norm. */
  stream: Float64Array;
  hidden: Float64Array;
}

/** A tensor by its name. @throws {Error} where there is none */
export const tensor = (tensors: Tensors, name: string): Float64Array =>
  tensors.get(name) ?? fail(`there is no tensor ${name}`);

/** Logits (rows, padded vocabulary) of the tied head. */
export function languageLogits(
  config: MambaConfig,
  parameters: Tensors,
  { hidden }: Activations,
): Float64Array {
  const { hiddenSize: d, paddedVocabSize } = config;
  return ops.linear(hidden, tensor(parameters, EMBEDDING), d, paddedVocabSize);
}

/** Hidden rows of a piece of input, and what its backward needs; moves `piece.states` on. */
export function forward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
): Activations {
  const { hiddenSize: d, intermediateSize: e } = config;
  const { reference } = kindOf(config);
  const embedding = tensor(parameters, EMBEDDING);
  const layers: LayerActivations[] = [];
  let stream = dropped(ops.embedding(tokens, embedding, d), piece, d);
  for (let i = 0; i < config.layers; i++) {
    const weight = (name: string) => tensor(parameters, `backbone.layers.${i}.${name}`);
    const normed = ops.rmsNorm(stream, weight("norm.weight"), config.normEpsilon).y;
    const mixer = reference.forward(config, weight, normed, piece, piece.states?.[i]);
    layers.push({ stream, normed, mixer });
    stream = add(stream, ops.linear(mixer.y, weight("mixer.out_proj.weight"), e, d));
  }
  const norm = tensor(parameters, "backbone.norm_f.weight");
  const hidden = droppedStates(ops.rmsNorm(stream, norm, config.normEpsilon).y, piece);
  return { layers, stream, hidden };
}

/** Values, or their gradient, with those of the embedding that are dropped at 0. */
const dropped = (values: Float64Array, { dropout: draw }: Piece, columns: number): Float64Array =>
  draw
    ? ops.dropout(values, draw.seed, draw.dropout ?? 0, { rowRate: draw.tokenDropout, columns })
    : values;

/** The same of the hidden states. */
const droppedStates = (values: Float64Array, { dropout: draw }: Piece): Float64Array =>
  draw ? ops.dropout(values, stateSeed(draw.seed), draw.stateDropout ?? 0) : values;

/** Adds the embedding's gradient as the tied head to `gradients`; that of the hidden rows is returned. */
export function languageBackward(
  config: MambaConfig,
  parameters: Tensors,
  { hidden }: Activations,
  dlogits: Float64Array,
  gradients: Tensors,
): Float64Array {
  const { hiddenSize: d, paddedVocabSize } = config;
  const embedding = tensor(parameters, EMBEDDING);
  const head = ops.linearBackward(dlogits, hidden, embedding, d, paddedVocabSize);
  const sum = tensor(gradients, EMBEDDING);
  for (let i = 0; i < sum.length; i++) sum[i] = float64At(sum, i) + float64At(head.dweight, i);
  return head.dx;
}

/**
 * Adds the gradients of `dhidden` (rows, d) to `gradients`. Its parameters are those of the forward,
 * what the forward saw, and the gradients in and out.
 */
export function backward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
  seen: Activations,
  dhidden: Float64Array,
  gradients: Tensors,
): void {
  const { hiddenSize: d, intermediateSize: e } = config;
  const { reference } = kindOf(config);
  const epsilon = config.normEpsilon;
  const collect = (name: string, gradient: Float64Array) => {
    const sum = tensor(gradients, name);
    for (let i = 0; i < sum.length; i++) sum[i] = float64At(sum, i) + float64At(gradient, i);
  };
  const normF = "backbone.norm_f.weight";
  const last = ops.rmsNormBackward(
    droppedStates(dhidden, piece),
    seen.stream,
    tensor(parameters, normF),
    epsilon,
  );
  collect(normF, last.dweight);
  let dstream = last.dx;
  for (let i = config.layers - 1; i >= 0; i--) {
    const { stream, normed, mixer } = nth(seen.layers, i);
    const full = (name: string) => `backbone.layers.${i}.${name}`;
    const weight = (name: string) => tensor(parameters, full(name));
    const ofLayer = (name: string, gradient: Float64Array) => collect(full(name), gradient);
    const out = ops.linearBackward(dstream, mixer.y, weight("mixer.out_proj.weight"), e, d);
    ofLayer("mixer.out_proj.weight", out.dweight);
    const { kept } = mixer;
    const dnormed = reference.backward(config, weight, normed, piece, kept, out.dx, ofLayer);
    const norm = ops.rmsNormBackward(dnormed, stream, weight("norm.weight"), epsilon, dstream);
    collect(full("norm.weight"), norm.dweight);
    dstream = norm.dx;
  }
  ops.embeddingBackward(tokens, dropped(dstream, piece, d), tensor(gradients, EMBEDDING), d);
}
