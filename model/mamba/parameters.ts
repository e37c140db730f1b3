/** Every parameter of a Mamba-1 model by its Hugging Face name. @module */
import type { MambaConfig } from "./config.ts";

/** One parameter tensor. */
export interface Parameter {
  /** The Hugging Face name, such as `backbone.layers.0.mixer.A_log`. */
  name: string;
  /** Extents, the slowest first. */
  shape: readonly number[];
  /** Number of values. */
  size: number;
  /** Whether weight decay applies: matrices only, never A_log, D, biases and norm weights. */
  decayed: boolean;
  /** The layer it belongs to: -1 for the embedding, `layers` for the last norm. */
  layer: number;
}

/** The name of the embedding, which is the head too. */
export const EMBEDDING = "backbone.embeddings.weight";

/** Every parameter in the model's order; the tied head is the embedding and is not listed again. */
export function parameterList(config: MambaConfig): Parameter[] {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const make = (name: string, shape: number[], decayed: boolean, layer: number): Parameter => ({
    name,
    shape,
    size: shape.reduce((a, b) => a * b, 1),
    decayed,
    layer,
  });
  const list = [make(EMBEDDING, [config.paddedVocabSize, d], true, -1)];
  for (let i = 0; i < config.layers; i++) {
    const layer = (name: string, shape: number[], decayed: boolean) =>
      list.push(make(`backbone.layers.${i}.${name}`, shape, decayed, i));
    layer("norm.weight", [d], false);
    layer("mixer.A_log", [e, n], false);
    layer("mixer.D", [e], false);
    layer("mixer.in_proj.weight", [2 * e, d], true);
    layer("mixer.conv1d.weight", [e, 1, config.convKernel], true);
    layer("mixer.conv1d.bias", [e], false);
    layer("mixer.x_proj.weight", [r + 2 * n, e], true);
    layer("mixer.dt_proj.weight", [e, r], true);
    layer("mixer.dt_proj.bias", [e], false);
    layer("mixer.out_proj.weight", [d, e], true);
  }
  list.push(make("backbone.norm_f.weight", [d], false, config.layers));
  return list;
}

/** Number of trained values. */
export function parameterCount(config: MambaConfig): number {
  return parameterList(config).reduce((sum, p) => sum + p.size, 0);
}

/** The Hugging Face name of a tensor named in either layout. */
export function canonicalName(name: string): string {
  return name === "backbone.embedding.weight" ? EMBEDDING : name;
}
