/**
 * A model's sizes, and its config.json in the two layouts in use: state-spaces' (`d_model`, `n_layer`,
 * `ssm_cfg`) and Hugging Face's (`MambaForCausalLM` and `Mamba2ForCausalLM`).
 * @module
 */
import { UserError } from "../../core/errors.ts";
import type { HeadConfig } from "./head.ts";
import type { LoraConfig } from "./lora.ts";

/** Sizes that models of both kinds have; the language model's head is tied to the embeddings. */
export interface CommonConfig {
  /** d: width of the residual stream. */
  hiddenSize: number;
  /** Mixers, one after the other. */
  layers: number;
  /** e: width inside a mixer, `expand` x d. */
  intermediateSize: number;
  /** n: states of a channel. */
  stateSize: number;
  /** Width of the causal depthwise convolution. */
  convKernel: number;
  /** Ids that mean something: generation chooses among these. */
  vocabSize: number;
  /** Rows of the embedding; softmax runs over all of them. */
  paddedVocabSize: number;
  /** Added to the mean square by the norms. */
  normEpsilon: number;
  /** The id between documents. */
  endOfText: number;
  /** The smallest of delta's initial values. */
  timeStepMin: number;
  /** The largest of delta's initial values. */
  timeStepMax: number;
  /** No initial value of delta is smaller. */
  timeStepFloor: number;
  /** Standard deviation of initial embeddings. */
  initializerRange: number;
  /** A head of labels, of a model that was taught a task by one. */
  head?: HeadConfig;
  /** Adapters, of a model whose other weights are frozen. */
  lora?: LoraConfig;
}

/** The sizes of a Mamba-1 language model. */
export interface Mamba1Config extends CommonConfig {
  /** The kind of its layers. */
  kind: "mamba";
  /** r: rank of the projection to delta. */
  timeStepRank: number;
}

/** The sizes of a Mamba-2 language model. */
export interface Mamba2Config extends CommonConfig {
  /** The kind of its layers. */
  kind: "mamba2";
  /** p: channels of a head; e / p heads. */
  headSize: number;
  /** g: groups of heads that share B and C. */
  groups: number;
  /** Steps of a chunk in the programs of others: kept, and without effect on what is computed. */
  chunkSize: number;
  /** The least and the largest delta: none are by default, 0 and infinity. */
  timeStepLimit: readonly [number, number];
  /** The mixer's norm comes before its gate. */
  normBeforeGate: boolean;
}

/** The sizes of a language model. */
export type MambaConfig = Mamba1Config | Mamba2Config;

/** A model as a language model: without a head of labels, if it has one. */
export function withoutHead(config: MambaConfig): MambaConfig {
  const { head: _, ...sizes } = config;
  return sizes;
}

/** A model without adapters, if it has any: what it is once they are merged. */
export function withoutLora(config: MambaConfig): MambaConfig {
  const { lora: _, ...sizes } = config;
  return sizes;
}

/** Heads of a Mamba-2 mixer. */
export const headsOf = (config: Mamba2Config): number => config.intermediateSize / config.headSize;

/** Sizes that a preset leaves to the tokenizer. */
interface VocabularySizes {
  vocabSize: number;
  endOfText: number;
}

const PRESET_SIZES: Record<string, PresetSizes> = {
  "tiny": { kind: "mamba", hiddenSize: 64, layers: 2 },
  "small": { kind: "mamba", hiddenSize: 256, layers: 8 },
  "mamba-130m": { kind: "mamba", hiddenSize: 768, layers: 24 },
  "mamba-370m": { kind: "mamba", hiddenSize: 1024, layers: 48 },
  "mamba-790m": { kind: "mamba", hiddenSize: 1536, layers: 48 },
  "mamba-1.4b": { kind: "mamba", hiddenSize: 2048, layers: 48 },
  "mamba-2.8b": { kind: "mamba", hiddenSize: 2560, layers: 64 },
  "tiny2": { kind: "mamba2", hiddenSize: 64, layers: 2, headSize: 32, stateSize: 32 },
  "small2": { kind: "mamba2", hiddenSize: 256, layers: 8 },
  "mamba2-130m": { kind: "mamba2", hiddenSize: 768, layers: 24 },
  "mamba2-370m": { kind: "mamba2", hiddenSize: 1024, layers: 48 },
  "mamba2-780m": { kind: "mamba2", hiddenSize: 1536, layers: 48 },
  "mamba2-1.3b": { kind: "mamba2", hiddenSize: 2048, layers: 48 },
  "mamba2-2.7b": { kind: "mamba2", hiddenSize: 2560, layers: 64 },
};

/** What a preset says of a model. */
type PresetSizes =
  & { hiddenSize: number; layers: number }
  & ({ kind: "mamba" } | { kind: "mamba2"; headSize?: number; stateSize?: number });

/** Names that {@linkcode presetConfig} knows. */
export const PRESETS: readonly string[] = Object.keys(PRESET_SIZES);

/** The vocabulary of the published models (GPT-NeoX-20B's tokenizer). */
const NEOX_VOCABULARY: VocabularySizes = { vocabSize: 50277, endOfText: 0 };

/**
 * The configuration of a preset: the two small ones of this project, or a published size.
 * @throws {UserError} for an unknown name.
 */
export function presetConfig(name: string, vocabulary = NEOX_VOCABULARY): MambaConfig {
  const sizes = Object.hasOwn(PRESET_SIZES, name) ? PRESET_SIZES[name] : undefined;
  if (!sizes) {
    throw new UserError(`Unknown preset "${name}": choose one of ${PRESETS.join(", ")}`);
  }
  const { kind, ...rest } = sizes;
  return kind === "mamba2"
    ? mamba2OfSizes({ ...rest, ...vocabulary })
    : configOfSizes({ ...rest, ...vocabulary });
}

/** The sizes that have no usual value. */
type GivenSizes = Pick<CommonConfig, "hiddenSize" | "layers" | "vocabSize">;

/** What models of both kinds have as published. */
const usualSizes = (sizes: GivenSizes) => ({
  intermediateSize: 2 * sizes.hiddenSize,
  convKernel: 4,
  normEpsilon: 1e-5,
  endOfText: 0,
  timeStepMin: 1e-3,
  timeStepMax: 0.1,
  timeStepFloor: 1e-4,
  initializerRange: 0.02,
});

/** A full Mamba-1 configuration from the sizes that differ between models; the rest as published. */
export function configOfSizes(sizes: GivenSizes & Partial<Mamba1Config>): Mamba1Config {
  return {
    kind: "mamba",
    ...usualSizes(sizes),
    stateSize: 16,
    timeStepRank: Math.ceil(sizes.hiddenSize / 16),
    paddedVocabSize: roundUp(sizes.vocabSize, 8),
    ...sizes,
  };
}

/** A full Mamba-2 configuration from the sizes that differ between models; the rest as published. */
export function mamba2OfSizes(sizes: GivenSizes & Partial<Mamba2Config>): Mamba2Config {
  return {
    kind: "mamba2",
    ...usualSizes(sizes),
    stateSize: 128,
    headSize: 64,
    groups: 1,
    chunkSize: 256,
    timeStepLimit: [0, Infinity],
    normBeforeGate: false,
    paddedVocabSize: roundUp(sizes.vocabSize, 16),
    ...sizes,
  };
}

/** The least multiple of a number that is no smaller than a value. */
export const roundUp = (value: number, multiple: number): number =>
  Math.ceil(value / multiple) * multiple;
