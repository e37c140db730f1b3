/**
 * A Mamba-1 model's sizes, and its config.json in the two layouts in use: state-spaces'
 * (`d_model`, `n_layer`, `ssm_cfg`) and Hugging Face's `MambaForCausalLM`, which is the one written.
 * @module
 */
import { UserError } from "../../core/errors.ts";

/** The sizes of a Mamba-1 language model whose head is tied to its embeddings. */
export interface MambaConfig {
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
  /** r: rank of the projection to delta. */
  timeStepRank: number;
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
}

/** Sizes that a preset leaves to the tokenizer. */
interface VocabularySizes {
  vocabSize: number;
  endOfText: number;
}

const PRESET_SIZES: Record<string, { hiddenSize: number; layers: number }> = {
  "tiny": { hiddenSize: 64, layers: 2 },
  "small": { hiddenSize: 256, layers: 8 },
  "mamba-130m": { hiddenSize: 768, layers: 24 },
  "mamba-370m": { hiddenSize: 1024, layers: 48 },
  "mamba-790m": { hiddenSize: 1536, layers: 48 },
  "mamba-1.4b": { hiddenSize: 2048, layers: 48 },
  "mamba-2.8b": { hiddenSize: 2560, layers: 64 },
};

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
  return configOfSizes({ ...sizes, ...vocabulary });
}

/** The sizes that have no usual value. */
type GivenSizes = Pick<MambaConfig, "hiddenSize" | "layers" | "vocabSize">;

/** A full configuration from the sizes that differ between models; the rest as published. */
export function configOfSizes(sizes: GivenSizes & Partial<MambaConfig>): MambaConfig {
  return {
    intermediateSize: 2 * sizes.hiddenSize,
    stateSize: 16,
    convKernel: 4,
    timeStepRank: Math.ceil(sizes.hiddenSize / 16),
    paddedVocabSize: roundUp(sizes.vocabSize, 8),
    normEpsilon: 1e-5,
    endOfText: 0,
    timeStepMin: 1e-3,
    timeStepMax: 0.1,
    timeStepFloor: 1e-4,
    initializerRange: 0.02,
    ...sizes,
  };
}

const roundUp = (value: number, multiple: number) => Math.ceil(value / multiple) * multiple;

/**
 * Reads a config.json already parsed, of either layout. `file` is named in errors.
 * @throws {UserError} for another architecture (Mamba-2 by name), an option that this project does
 * not compute, or a value that is missing or makes no sense.
 */
export function parseConfig(json: unknown, file: string): MambaConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`Cannot read the model configuration ${file}: it is not a JSON object`);
  }
  const record = new ConfigReader(json as Record<string, unknown>, file);
  refuseOthers(record);
  return record.has("d_model") ? parseStateSpaces(record) : parseHuggingFace(record);
}

function parseStateSpaces(record: ConfigReader): MambaConfig {
  record.requireValue("rms_norm", true);
  record.requireValue("tie_embeddings", true);
  record.requireValue("d_intermediate", 0);
  const ssm = record.section("ssm_cfg");
  ssm.requireValue("bias", false);
  ssm.requireValue("conv_bias", true);
  const hiddenSize = record.count("d_model");
  const vocabSize = record.count("vocab_size");
  const multiple = record.count("pad_vocab_size_multiple", 8);
  return configOfSizes({
    hiddenSize,
    layers: record.count("n_layer"),
    vocabSize,
    paddedVocabSize: roundUp(vocabSize, multiple),
    intermediateSize: ssm.count("expand", 2) * hiddenSize,
    stateSize: ssm.count("d_state", 16),
    convKernel: ssm.count("d_conv", 4),
    timeStepRank: rank(ssm, "dt_rank", hiddenSize),
    timeStepMin: ssm.positive("dt_min", 1e-3),
    timeStepMax: ssm.positive("dt_max", 0.1),
    timeStepFloor: ssm.positive("dt_init_floor", 1e-4),
    normEpsilon: record.positive("norm_epsilon", 1e-5),
  });
}

function parseHuggingFace(record: ConfigReader): MambaConfig {
  record.requireValue("use_bias", false);
  record.requireValue("use_conv_bias", true);
  record.requireValue("hidden_act", "silu");
  record.requireValue("tie_word_embeddings", true);
  const hiddenSize = record.count("hidden_size");
  const rows = record.count("vocab_size");
  const vocabSize = record.count("unpadded_vocab_size", rows);
  const endOfText = record.id("eos_token_id", 0);
  if (vocabSize > rows) record.fail("unpadded_vocab_size", `at most vocab_size, ${rows}`);
  if (endOfText >= rows) record.fail("eos_token_id", `an id below vocab_size, ${rows}`);
  return configOfSizes({
    hiddenSize,
    layers: record.count("num_hidden_layers"),
    vocabSize,
    paddedVocabSize: rows,
    intermediateSize: record.count("intermediate_size", record.count("expand", 2) * hiddenSize),
    stateSize: record.count("state_size", 16),
    convKernel: record.count("conv_kernel", 4),
    timeStepRank: rank(record, "time_step_rank", hiddenSize),
    timeStepMin: record.positive("time_step_min", 1e-3),
    timeStepMax: record.positive("time_step_max", 0.1),
    timeStepFloor: record.positive("time_step_floor", 1e-4),
    normEpsilon: record.positive("layer_norm_epsilon", 1e-5),
    initializerRange: record.positive("initializer_range", 0.1),
    endOfText,
  });
}

const rank = (record: ConfigReader, key: string, hiddenSize: number) =>
  record.value(key) === "auto"
    ? Math.ceil(hiddenSize / 16)
    : record.count(key, Math.ceil(hiddenSize / 16));

function refuseOthers(record: ConfigReader): void {
  const type = record.value("model_type");
  const layer = record.section("ssm_cfg").value("layer");
  const architecture = (record.value("architectures") as unknown[] | undefined)?.[0];
  const refuse = (what: string) => {
    throw new UserError(
      `Cannot use the model of ${record.file}: ${what}; this program computes Mamba-1 ` +
        `(model_type "mamba"), such as state-spaces/mamba-130m-hf`,
    );
  };
  if (type === "mamba2" || layer === "Mamba2" || architecture === "Mamba2ForCausalLM") {
    refuse("it is a Mamba-2 model");
  }
  const attention = record.value("attn_layer_idx");
  if (Array.isArray(attention) && attention.length) refuse("it has attention layers");
  if (type !== undefined && type !== "mamba") refuse(`its model_type is ${JSON.stringify(type)}`);
  if (!record.has("d_model") && !record.has("hidden_size")) {
    refuse("it has neither d_model nor hidden_size");
  }
}

/** Typed look-ups in a configuration; every complaint names the file and the key. */
class ConfigReader {
  constructor(
    readonly record: Record<string, unknown>,
    readonly file: string,
    readonly prefix = "",
  ) {}

  /** JSON null counts as absent, as in Python. */
  value(key: string): unknown {
    return Object.hasOwn(this.record, key) ? this.record[key] ?? undefined : undefined;
  }
  has(key: string): boolean {
    return this.value(key) !== undefined;
  }
  section(key: string): ConfigReader {
    const value = this.value(key) ?? {};
    if (typeof value !== "object" || Array.isArray(value)) this.fail(key, "an object");
    return new ConfigReader(value as Record<string, unknown>, this.file, `${this.prefix}${key}.`);
  }
  fail(key: string, wanted: string): never {
    const value = this.value(key);
    const found = value === undefined ? "missing" : JSON.stringify(value);
    throw new UserError(
      `Cannot read the model configuration ${this.file}: ${this.prefix}${key} is ${found}, ` +
        `it must be ${wanted}`,
    );
  }
  count(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) >= 2 ** 31) {
      this.fail(key, "a whole number of at least 1");
    }
    return value as number;
  }
  id(key: string, fallback: number): number {
    const value = this.value(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 0) this.fail(key, "a token id");
    return value as number;
  }
  positive(key: string, fallback: number): number {
    const value = this.value(key) ?? fallback;
    if (!Number.isFinite(value) || (value as number) <= 0) this.fail(key, "a number above 0");
    return value as number;
  }
  /** An option that is computed in one way only; absent means that way. */
  requireValue(key: string, value: boolean | number | string): void {
    if (this.has(key) && this.value(key) !== value) this.fail(key, JSON.stringify(value));
  }
}

/** The config.json of `transformers`' MambaForCausalLM, complete, as an object. */
export function huggingFaceConfig(config: MambaConfig): Record<string, unknown> {
  return {
    architectures: ["MambaForCausalLM"],
    bos_token_id: config.endOfText,
    conv_kernel: config.convKernel,
    eos_token_id: config.endOfText,
    expand: config.intermediateSize / config.hiddenSize,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    layer_norm_epsilon: config.normEpsilon,
    model_type: "mamba",
    num_hidden_layers: config.layers,
    pad_token_id: config.endOfText,
    rescale_prenorm_residual: false,
    residual_in_fp32: true,
    state_size: config.stateSize,
    tie_word_embeddings: true,
    time_step_floor: config.timeStepFloor,
    time_step_init_scheme: "random",
    time_step_max: config.timeStepMax,
    time_step_min: config.timeStepMin,
    time_step_rank: config.timeStepRank,
    time_step_scale: 1.0,
    torch_dtype: "float32",
    // Not transformers' own key: greedy choice is among these ids only, and padding rows exist.
    ...(config.vocabSize < config.paddedVocabSize ? { unpadded_vocab_size: config.vocabSize } : {}),
    use_bias: false,
    use_cache: true,
    use_conv_bias: true,
    vocab_size: config.paddedVocabSize,
  };
}
