/** Every parameter of a model by its Hugging Face name. @module */
import type { MambaConfig } from "./config.ts";
import { headParameters, isHeadParameter } from "./head.ts";
import { kindOf } from "./kinds.ts";
import {
  adapterNames,
  adapterShapes,
  chooseModules,
  isAdapterParameter,
  type LoraConfig,
  weightName,
} from "./lora.ts";

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
  /** True where the model never trains it: it has no gradient and no moments. */
  frozen?: boolean;
}

/** The name of the embedding, which is the head too. */
export const EMBEDDING = "backbone.embeddings.weight";

/** The name of a head that is stored beside the embedding. */
export const HEAD = "lm_head.weight";

/**
 * Every parameter in the model's order; the tied head is the embedding and is not listed again. A head
 * of labels comes behind, and then adapters, beside which all but that head is frozen.
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
  const { lora } = config;
  if (!lora) return list;
  const byName = new Map(list.map((parameter) => [parameter.name, parameter]));
  const adapters = lora.modules.flatMap((module) => {
    const weight = byName.get(weightName(module));
    if (!weight) throw new RangeError(`The model has no module ${module}`);
    const { a, b } = adapterNames(module);
    const shapes = adapterShapes(lora, module, weight.shape);
    return [make(a, shapes.a, true, weight.layer), make(b, shapes.b, true, weight.layer)];
  });
  const frozen = list.map((parameter) =>
    isHeadParameter(parameter.name) ? parameter : { ...parameter, frozen: true }
  );
  return [...frozen, ...adapters];
}

/** The parameters that a model of this configuration may train. */
export const trainedParameters = (config: MambaConfig): Parameter[] =>
  parameterList(config).filter(({ frozen }) => !frozen);

/** Number of values, of adapters too. */
export function parameterCount(config: MambaConfig): number {
  return parameterList(config).reduce((sum, p) => sum + p.size, 0);
}

/** Number of values that may be trained. */
export function trainedCount(config: MambaConfig): number {
  return trainedParameters(config).reduce((sum, p) => sum + p.size, 0);
}

/** What is asked of adapters; `targets` are patterns as {@linkcode chooseModules} takes them. */
export interface LoraRequest extends Omit<LoraConfig, "modules"> {
  targets: string;
}

/**
 * A model with adapters.
 * @throws {UserError} naming a pattern that means no matrix.
 */
export function withLora(config: MambaConfig, request: LoraRequest): MambaConfig {
  const { targets, ...lora } = request;
  const modules = parameterList(config)
    .filter(({ name, shape, decayed }) =>
      decayed && shape.length === 2 && name.endsWith(".weight") && !isAdapterParameter(name)
    )
    .map(({ name }) => name.slice(0, -".weight".length));
  return { ...config, lora: { ...lora, modules: chooseModules(targets, modules) } };
}

/** The Hugging Face name of a tensor named in either layout. */
export function canonicalName(name: string): string {
  return name === "backbone.embedding.weight" ? EMBEDDING : name;
}

/** The name in the state-spaces layout of a parameter. */
export function stateSpacesName(name: string): string {
  return name === EMBEDDING ? "backbone.embedding.weight" : name;
}
