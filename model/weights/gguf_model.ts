/**
 * A model as llama.cpp reads it: its architectures "mamba" and "mamba2", their keys and tensor names, and
 * the tokenizer inside. Source: llama.cpp's converter of these models, and ggml's docs/gguf.md.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { headsOf, type MambaConfig } from "../mamba/config.ts";
import { EMBEDDING, type Parameter, parameterList } from "../mamba/parameters.ts";
import type { ReadParameter } from "../mamba/types.ts";
import { type GgufTensor, type GgufType, type GgufValue, GgufWriter } from "./gguf_file.ts";

/** What a file is made of. */
interface GgufModel {
  name: string;
  config: MambaConfig;
  read: ReadParameter;
  /** The bytes of tokenizer.json. */
  tokenizer: Uint8Array;
  /** How matrices are stored; vectors and what steers the recurrence stay f32. */
  type: GgufType;
}

/** llama.cpp's numbers of a file by the type of most of its tensors. */
const FILE_TYPES: Record<GgufType, number> = { f32: 0, f16: 1, q8_0: 7 };

/** The names of a layer's tensors, by ours. */
const LAYER_NAMES: Record<string, string> = {
  "norm.weight": "attn_norm.weight",
  "mixer.in_proj.weight": "ssm_in.weight",
  "mixer.conv1d.weight": "ssm_conv1d.weight",
  "mixer.conv1d.bias": "ssm_conv1d.bias",
  "mixer.x_proj.weight": "ssm_x.weight",
  "mixer.dt_proj.weight": "ssm_dt.weight",
  "mixer.dt_proj.bias": "ssm_dt.bias",
  "mixer.dt_bias": "ssm_dt.bias",
  "mixer.A_log": "ssm_a",
  "mixer.D": "ssm_d",
  "mixer.norm.weight": "ssm_norm.weight",
  "mixer.out_proj.weight": "ssm_out.weight",
};

/**
 * Writes a file that llama.cpp loads.
 * @throws {UserError} where it does not compute such a model, or the tokenizer is no byte-level BPE.
 */
export function writeGguf(path: string, model: GgufModel): void {
  const { config, read } = model;
  refuseOthers(config);
  const parameters = parameterList(config);
  const tensors = parameters.map((parameter) => tensorOf(config, parameter, model.type));
  const metadata = new Map([...modelKeys(model), ...tokenizerKeys(config, model.tokenizer)]);
  const writer = new GgufWriter(path, metadata, tensors);
  try {
    for (const { name } of parameters) {
      const values = read(name);
      // llama.cpp keeps A itself.
      writer.write(name.endsWith(".A_log") ? values.map((v) => -Math.exp(v)) : values);
    }
    writer.commit();
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/** What llama.cpp computes in one way only. */
function refuseOthers(config: MambaConfig): void {
  const refuse = (what: string) => {
    throw new UserError(
      `Cannot export the model for llama.cpp: ${what}, which it does not compute`,
    );
  };
  if (config.head) refuse("it has a head of labels");
  if (config.kind !== "mamba2") return;
  const [least, most] = config.timeStepLimit;
  if (least > 0 || most < Infinity) refuse(`its time steps have the limits ${least} and ${most}`);
  if (config.normBeforeGate) refuse("its mixers' norm comes before the gate");
}

/** A parameter's name, shape and type in the file. */
function tensorOf(config: MambaConfig, parameter: Parameter, type: GgufType): GgufTensor {
  const { name, shape } = parameter;
  if (name === EMBEDDING) return matrix("token_embd.weight", shape, type);
  if (name === "backbone.norm_f.weight") return { name: "output_norm.weight", shape, type: "f32" };
  const [, layer = "", inLayer = ""] = /^backbone\.layers\.(\d+)\.(.*)$/.exec(name) ?? [];
  const theirs = LAYER_NAMES[inLayer];
  if (theirs === undefined) throw new RangeError(`${name} has no name in GGUF`);
  const full = `blk.${layer}.${theirs}`;
  if (inLayer === "mixer.conv1d.weight") {
    return { name: full, shape: [shape[0] ?? 0, config.convKernel], type: "f32" };
  }
  if (config.kind === "mamba2" && (inLayer === "mixer.A_log" || inLayer === "mixer.D")) {
    return { name: full, shape: [...shape, 1], type: "f32" };
  }
  if (config.kind === "mamba2" && inLayer === "mixer.norm.weight") {
    const { groups, intermediateSize } = config;
    return { name: full, shape: [groups, intermediateSize / groups], type: "f32" };
  }
  return parameter.decayed ? matrix(full, shape, type) : { name: full, shape, type: "f32" };
}

/** A matrix, in f16 where its rows are no whole blocks of q8_0. */
function matrix(name: string, shape: readonly number[], type: GgufType): GgufTensor {
  const whole = (shape.at(-1) ?? 0) % 32 === 0;
  return { name, shape, type: type === "q8_0" && !whole ? "f16" : type };
}

/** General keys, and those of the architecture. */
function modelKeys({ name, config, type }: GgufModel): [string, GgufValue][] {
  const architecture = config.kind;
  const u32 = (key: string, value: number): [string, GgufValue] => [
    `${architecture}.${key}`,
    { type: "u32", value },
  ];
  return [
    ["general.architecture", { type: "string", value: architecture }],
    ["general.name", { type: "string", value: name }],
    ["general.file_type", { type: "u32", value: FILE_TYPES[type] }],
    ["general.quantization_version", { type: "u32", value: 2 }],
    // Any length: the state takes none. llama.cpp wants a number.
    u32("context_length", 2 ** 20),
    u32("embedding_length", config.hiddenSize),
    u32("feed_forward_length", 0),
    u32("attention.head_count", 0),
    u32("block_count", config.layers),
    u32("ssm.conv_kernel", config.convKernel),
    u32("ssm.inner_size", config.intermediateSize),
    u32("ssm.state_size", config.stateSize),
    u32("ssm.time_step_rank", config.kind === "mamba" ? config.timeStepRank : headsOf(config)),
    ...(config.kind === "mamba2" ? [u32("ssm.group_count", config.groups)] : []),
    [
      `${architecture}.attention.layer_norm_rms_epsilon`,
      { type: "f32", value: config.normEpsilon },
    ],
    ...(config.kind === "mamba"
      ? [[`${architecture}.ssm.dt_b_c_rms`, { type: "bool", value: false }] as [string, GgufValue]]
      : []),
  ];
}

/** What is read of a tokenizer.json. */
interface TokenizerFile {
  model?: { type?: string; vocab?: Record<string, number>; merges?: (string | string[])[] };
  added_tokens?: { id: number; content: string; special?: boolean }[];
}

/** Kinds of tokens in the format. */
const KINDS = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

/** A byte-level BPE tokenizer with GPT-2's way of cutting text, as GPT-NeoX's is. */
function tokenizerKeys(config: MambaConfig, bytes: Uint8Array): [string, GgufValue][] {
  const { model, added_tokens: added = [] } = JSON.parse(
    new TextDecoder().decode(bytes),
  ) as TokenizerFile;
  if (model?.type !== "BPE" || !model.vocab || !model.merges) {
    throw new UserError(
      "Cannot export the model for llama.cpp: its tokenizer is no byte-level BPE",
    );
  }
  const rows = config.paddedVocabSize;
  const tokens = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const kinds: number[] = tokens.map(() => KINDS.unused);
  const put = (id: number, text: string, kind: number) => {
    if (id >= rows) {
      throw new UserError(
        `Cannot export the model for llama.cpp: its tokenizer has the id ${id} and its embedding ` +
          `${rows} rows`,
      );
    }
    tokens[id] = text;
    kinds[id] = kind;
  };
  for (const [text, id] of Object.entries(model.vocab)) put(id, text, KINDS.normal);
  for (const { id, content, special } of added) {
    put(id, content, special ? KINDS.control : KINDS.userDefined);
  }
  const merges = model.merges.map((merge) => typeof merge === "string" ? merge : merge.join(" "));
  const id = (key: string): [string, GgufValue] => [
    `tokenizer.ggml.${key}`,
    { type: "u32", value: config.endOfText },
  ];
  return [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "string[]", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32[]", value: kinds }],
    ["tokenizer.ggml.merges", { type: "string[]", value: merges }],
    id("bos_token_id"),
    id("eos_token_id"),
    id("unknown_token_id"),
    id("padding_token_id"),
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: false }],
  ];
}
