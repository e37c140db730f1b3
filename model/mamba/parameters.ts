/** Every parameter of a model by its Hugging Face name. @module */
import type { MambaConfig } from "./config.ts";
import { headParameters } from "./head.ts";
import { kindOf } from "./kinds.ts";

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
  /** The layer it belongs to: -1 for the embedding, `layers` for the last norm and a head of labels. */
  layer: number;
}

/** The name of the embedding, which is the head too. */
export const EMBEDDING = "backbone.embeddings.weight";

/** The name of a head that is stored beside the embedding. */
export const HEAD = "lm_head.weight";

/**
 * Every parameter in the model's order; the tied head is the embedding and is not listed again. A head
 * of labels comes last.
 */
export function parameterList(config: MambaConfig): Parameter[] {
  const { hiddenSize: d } = config;
  const mixer = kindOf(config).parameters.list(config);
  const make = (
    name: string,
    shape: readonly number[],
    decayed: boolean,
    layer: number,
  ): Parameter => ({
    name,
    shape,
    size: shape.reduce((a, b) => a * b, 1),
    decayed,
    layer,
  });
  const list = [make(EMBEDDING, [config.paddedVocabSize, d], true, -1)];
  for (let i = 0; i < config.layers; i++) {
    list.push(make(`backbone.layers.${i}.norm.weight`, [d], false, i));
    for (const { name, shape, decayed } of mixer) {
      list.push(make(`backbone.layers.${i}.mixer.${name}`, shape, decayed, i));
    }
  }
  list.push(make("backbone.norm_f.weight", [d], false, config.layers));
  if (config.head) {
    for (const { name, shape } of headParameters(config.head, d)) {
      list.push(make(name, shape, false, config.layers));
    }
  }
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

/** The name in the state-spaces layout of a parameter. */
export function stateSpacesName(name: string): string {
  return name === EMBEDDING ? "backbone.embedding.weight" : name;
}
