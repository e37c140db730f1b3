/**
 * config.json in the two layouts in use, of both kinds of model: state-spaces' (`d_model`, `n_layer`,
 * `ssm_cfg`) and Hugging Face's (`MambaForCausalLM` and `Mamba2ForCausalLM`).
 * @module
 */
import { shown, UserError } from "../../core/errors.ts";
import { HEAD_KEY, headJson, parseHead } from "./head.ts";
import {
  configOfSizes,
  headsOf,
  type Mamba1Config,
  type Mamba2Config,
  mamba2OfSizes,
  type MambaConfig,
  roundUp,
} from "./config.ts";

/**
 * Reads a config.json already parsed, of either layout. `file` is named in errors.
 * @throws {UserError} for another architecture, an option that this project does not compute, or a value
 * that is missing or makes no sense: naming the key.
 */
export function parseConfig(json: unknown, file: string): MambaConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`Cannot read the model configuration ${file}: it is not a JSON object`);
  }
  const record = new ConfigReader(json as Record<string, unknown>, file);
  const sizes = parseSizes(record);
  const head = parseHead(record.value(HEAD_KEY), file);
  return head ? { ...sizes, head } : sizes;
}

function parseSizes(record: ConfigReader): MambaConfig {
  const kind = kindOf(record);
  if (kind === "mamba2") {
    return record.has("d_model") ? stateSpacesMamba2(record) : huggingFaceMamba2(record);
  }
  return record.has("d_model") ? stateSpacesMamba1(record) : huggingFaceMamba1(record);
}

/** What config.json calls each kind: model_type, architecture and ssm_cfg.layer. */
const NAMES: Record<MambaConfig["kind"], string[]> = {
  mamba: ["mamba", "MambaForCausalLM", "Mamba1"],
  mamba2: ["mamba2", "Mamba2ForCausalLM", "Mamba2"],
};

/** Which kind of model it is. @throws {UserError} for any other, naming the key that says so. */
function kindOf(record: ConfigReader): MambaConfig["kind"] {
  const refuse = (key: string, value: unknown, what: string): never => {
    throw new UserError(
      `Cannot use the model of ${record.file}: its ${key} is ${shown(value)}${what}; this ` +
        `program computes Mamba-1 and Mamba-2, such as state-spaces/mamba-130m-hf and ` +
        `state-spaces/mamba2-130m`,
    );
  };
  const attention = record.value("attn_layer_idx");
  if (Array.isArray(attention) && attention.length) {
    refuse("attn_layer_idx", attention, ", so it has attention layers");
  }
  const said: [string, unknown][] = [
    ["model_type", record.value("model_type")],
    ["ssm_cfg.layer", record.section("ssm_cfg").value("layer")],
    ["architectures[0]", (record.value("architectures") as unknown[] | undefined)?.[0]],
  ];
  const kinds = said.filter(([, value]) => value !== undefined).map(([key, value]) => {
    const name = typeof value === "string" ? value : "";
    if (NAMES.mamba.includes(name)) return { key, value, kind: "mamba" as const };
    if (NAMES.mamba2.includes(name)) return { key, value, kind: "mamba2" as const };
    return refuse(key, value, "");
  });
  const [first] = kinds;
  const other = kinds.find(({ kind }) => kind !== first?.kind);
  if (first && other) {
    refuse(first.key, first.value, `, but ${other.key} is ${shown(other.value)}`);
  }
  if (!record.has("d_model") && !record.has("hidden_size")) {
    throw new UserError(
      `Cannot use the model of ${record.file}: it has neither d_model nor hidden_size`,
    );
  }
  return first?.kind ?? "mamba";
}

/** What the state-spaces layout says of models of both kinds. */
function stateSpacesSizes(record: ConfigReader, ssm: ConfigReader) {
  record.requireValue("rms_norm", true);
  record.requireValue("tie_embeddings", true);
  record.requireValue("d_intermediate", 0);
  ssm.requireValue("bias", false);
  ssm.requireValue("conv_bias", true);
  const hiddenSize = record.count("d_model");
  const vocabSize = record.count("vocab_size");
  const multiple = record.count("pad_vocab_size_multiple", 8);
  return {
    hiddenSize,
    layers: record.count("n_layer"),
    vocabSize,
    paddedVocabSize: roundUp(vocabSize, multiple),
    intermediateSize: ssm.count("expand", 2) * hiddenSize,
    convKernel: ssm.count("d_conv", 4),
    timeStepMin: ssm.positive("dt_min", 1e-3),
    timeStepMax: ssm.positive("dt_max", 0.1),
    timeStepFloor: ssm.positive("dt_init_floor", 1e-4),
    normEpsilon: record.positive("norm_epsilon", 1e-5),
  };
}

function stateSpacesMamba1(record: ConfigReader): Mamba1Config {
  const ssm = record.section("ssm_cfg");
  const sizes = stateSpacesSizes(record, ssm);
  const timeStepRank = rank(ssm, "dt_rank", sizes.hiddenSize);
  return configOfSizes({ ...sizes, stateSize: ssm.count("d_state", 16), timeStepRank });
}

function stateSpacesMamba2(record: ConfigReader): Mamba2Config {
  const ssm = record.section("ssm_cfg");
  const sizes = stateSpacesSizes(record, ssm);
  ssm.requireValue("rmsnorm", true);
  ssm.requireValue("D_has_hdim", false);
  ssm.requireValue("activation", "swish", "silu");
  if (ssm.has("d_ssm")) ssm.requireValue("d_ssm", sizes.intermediateSize);
  return checkHeads({
    ...sizes,
    stateSize: ssm.count("d_state", 128),
    headSize: ssm.count("headdim", 64),
    groups: ssm.count("ngroups", 1),
    chunkSize: ssm.count("chunk_size", 256),
    timeStepLimit: limits(ssm, "dt_limit"),
    normBeforeGate: ssm.flag("norm_before_gate", false),
  }, (key, wanted) => ssm.fail(key === "head" ? "headdim" : "ngroups", wanted));
}

/** What the Hugging Face layout says of models of both kinds. */
function huggingFaceSizes(record: ConfigReader) {
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
  return {
    hiddenSize,
    layers: record.count("num_hidden_layers"),
    vocabSize,
    paddedVocabSize: rows,
    intermediateSize: record.count("intermediate_size", record.count("expand", 2) * hiddenSize),
    convKernel: record.count("conv_kernel", 4),
    timeStepMin: record.positive("time_step_min", 1e-3),
    timeStepMax: record.positive("time_step_max", 0.1),
    timeStepFloor: record.positive("time_step_floor", 1e-4),
    normEpsilon: record.positive("layer_norm_epsilon", 1e-5),
    initializerRange: record.positive("initializer_range", 0.1),
    endOfText,
  };
}

function huggingFaceMamba1(record: ConfigReader): Mamba1Config {
  const sizes = huggingFaceSizes(record);
  const timeStepRank = rank(record, "time_step_rank", sizes.hiddenSize);
  return configOfSizes({ ...sizes, stateSize: record.count("state_size", 16), timeStepRank });
}

/** Absent keys are as `transformers` has them. */
function huggingFaceMamba2(record: ConfigReader): Mamba2Config {
  const sizes = huggingFaceSizes(record);
  record.requireValue("rms_norm", true);
  const heads = record.count("num_heads", 128);
  const headSize = record.count("head_dim", 64);
  if (heads * headSize !== sizes.intermediateSize) {
    record.fail(
      "num_heads",
      `expand x hidden_size / head_dim, ${sizes.intermediateSize / headSize}`,
    );
  }
  return checkHeads({
    ...sizes,
    stateSize: record.count("state_size", 128),
    headSize,
    groups: record.count("n_groups", 8),
    chunkSize: record.count("chunk_size", 256),
    timeStepLimit: limits(record, "time_step_limit"),
    // transformers keeps a key norm_before_gate and always gates first: ours has a name of its own.
    normBeforeGate: record.flag("norm_before_silu_gate", false),
  }, (key, wanted) => record.fail(key === "head" ? "head_dim" : "n_groups", wanted));
}

/** Fails where heads do not divide the mixer, or groups the heads. */
function checkHeads(
  sizes: Parameters<typeof mamba2OfSizes>[0] & {
    intermediateSize: number;
    headSize: number;
    groups: number;
  },
  fail: (key: "head" | "group", wanted: string) => never,
): Mamba2Config {
  const { intermediateSize, headSize, groups } = sizes;
  if (intermediateSize % headSize) {
    fail("head", `a divisor of the mixer's width, ${intermediateSize}`);
  }
  const heads = intermediateSize / headSize;
  if (heads % groups) fail("group", `a divisor of the ${heads} heads`);
  return mamba2OfSizes(sizes);
}

/** Limits of delta: two numbers, of which the second may be infinite in the ways that files have it. */
function limits(record: ConfigReader, key: string): [number, number] {
  const value = record.value(key);
  if (value === undefined) return [0, Infinity];
  const number = (x: unknown): number => {
    if (x === null || x === "inf" || x === "Infinity") return Infinity;
    if (typeof x === "object" && x !== null && "__float__" in x) return number(x.__float__);
    if (typeof x !== "number") return NaN;
    return x >= LARGEST ? Infinity : x;
  };
  const [least, most] = Array.isArray(value) ? value.map(number) : [];
  if (least === undefined || most === undefined || !(least >= 0) || !(most > least)) {
    record.fail(key, "two numbers, the least and the largest time step");
  }
  return [least, most];
}

/** Stands for infinity, which JSON does not have: the largest float32. */
const LARGEST = 3.4028234663852886e38;

const rank = (record: ConfigReader, key: string, hiddenSize: number) =>
  record.value(key) === "auto"
    ? Math.ceil(hiddenSize / 16)
    : record.count(key, Math.ceil(hiddenSize / 16));

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
    const found = value === undefined ? "missing" : shown(value);
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
  flag(key: string, fallback: boolean): boolean {
    const value = this.value(key) ?? fallback;
    if (typeof value !== "boolean") this.fail(key, "true or false");
    return value as boolean;
  }
  /** An option that is computed in one way only, whatever its names; absent means that way. */
  requireValue(key: string, ...values: (boolean | number | string)[]): void {
    if (!this.has(key)) return;
    const found = this.value(key);
    if (!values.some((value) => value === found)) {
      this.fail(key, values.map((value) => shown(value)).join(" or "));
    }
  }
}

/** What the Hugging Face layout writes for models of both kinds. */
function huggingFaceKeys(config: MambaConfig): Record<string, unknown> {
  return {
    bos_token_id: config.endOfText,
    conv_kernel: config.convKernel,
    eos_token_id: config.endOfText,
    expand: config.intermediateSize / config.hiddenSize,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    layer_norm_epsilon: config.normEpsilon,
    num_hidden_layers: config.layers,
    pad_token_id: config.endOfText,
    rescale_prenorm_residual: false,
    residual_in_fp32: true,
    state_size: config.stateSize,
    tie_word_embeddings: true,
    time_step_floor: config.timeStepFloor,
    time_step_max: config.timeStepMax,
    time_step_min: config.timeStepMin,
    torch_dtype: "float32",
    // Not transformers' own key: greedy choice is among these ids only, and padding rows exist.
    ...(config.vocabSize < config.paddedVocabSize ? { unpadded_vocab_size: config.vocabSize } : {}),
    ...(config.head ? { [HEAD_KEY]: headJson(config.head) } : {}),
    use_bias: false,
    use_cache: true,
    use_conv_bias: true,
    vocab_size: config.paddedVocabSize,
  };
}

/** Keys in the order of the alphabet, as `transformers` writes them. */
const ordered = (record: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => a < b ? -1 : 1));

/** The config.json of `transformers`' MambaForCausalLM or Mamba2ForCausalLM, complete. */
export function huggingFaceConfig(config: MambaConfig): Record<string, unknown> {
  if (config.kind === "mamba") {
    return ordered({
      ...huggingFaceKeys(config),
      architectures: ["MambaForCausalLM"],
      intermediate_size: config.intermediateSize,
      model_type: "mamba",
      time_step_init_scheme: "random",
      time_step_rank: config.timeStepRank,
      time_step_scale: 1.0,
    });
  }
  return ordered({
    ...huggingFaceKeys(config),
    architectures: ["Mamba2ForCausalLM"],
    chunk_size: config.chunkSize,
    head_dim: config.headSize,
    model_type: "mamba2",
    n_groups: config.groups,
    num_heads: headsOf(config),
    rms_norm: true,
    ...(config.normBeforeGate ? { norm_before_silu_gate: true } : {}),
    ...writtenLimits("time_step_limit", config),
  });
}

/** Limits are written where there are any: infinity as the largest float32. */
function writtenLimits(key: string, { timeStepLimit: [least, most] }: Mamba2Config) {
  if (least === 0 && most === Infinity) return {};
  return { [key]: [least, Math.min(most, LARGEST)] };
}

/**
 * The config.json of `mamba_ssm`, complete: its MambaConfig, with ssm_cfg of what is not usual.
 * @throws {UserError} for a model with a head of labels, which `mamba_ssm` does not load.
 */
export function stateSpacesConfig(config: MambaConfig): Record<string, unknown> {
  if (config.head) {
    throw new UserError(
      "Cannot write the model for mamba_ssm: it has a head of labels, which mamba_ssm does not load; " +
        "write it in the layout of transformers",
    );
  }
  const { vocabSize, paddedVocabSize } = config;
  const multiple = [8, 16, 32, 64, 1].find((m) => roundUp(vocabSize, m) === paddedVocabSize);
  return {
    d_model: config.hiddenSize,
    d_intermediate: 0,
    n_layer: config.layers,
    // Rows that no multiple explains count as ids.
    vocab_size: multiple === undefined ? paddedVocabSize : vocabSize,
    ssm_cfg: stateSpacesMixer(config),
    attn_layer_idx: [],
    attn_cfg: {},
    rms_norm: true,
    residual_in_fp32: true,
    fused_add_norm: true,
    pad_vocab_size_multiple: multiple ?? 1,
    tie_embeddings: true,
    // A key of its own, which mamba_ssm refuses rather than computes otherwise.
    ...(config.normEpsilon === 1e-5 ? {} : { norm_epsilon: config.normEpsilon }),
  };
}

function stateSpacesMixer(config: MambaConfig): Record<string, unknown> {
  const common = {
    d_conv: config.convKernel,
    d_state: config.stateSize,
    dt_init_floor: config.timeStepFloor,
    dt_max: config.timeStepMax,
    dt_min: config.timeStepMin,
    expand: config.intermediateSize / config.hiddenSize,
  };
  if (config.kind === "mamba") return { layer: "Mamba1", ...common, dt_rank: config.timeStepRank };
  return {
    layer: "Mamba2",
    ...common,
    chunk_size: config.chunkSize,
    headdim: config.headSize,
    ngroups: config.groups,
    ...(config.normBeforeGate ? { norm_before_gate: true } : {}),
    ...writtenLimits("dt_limit", config),
  };
}
