/**
 * Writing model folders, in the Hugging Face layout or in mamba_ssm's: beside their place and then
 * renamed, so that one exists whole or not at all.
 * @module
 */
import { refuseForeign, removeIfExists, syncFolder, writeAtomic } from "../../core/files.ts";
import { createSafetensors, type SafetensorsWriter } from "../../core/safetensors.ts";
import { dirname, join, resolve } from "../../core/std.ts";
import type { MambaConfig } from "../mamba/config.ts";
import { huggingFaceConfig, stateSpacesConfig } from "../mamba/config_file.ts";
import {
  EMBEDDING,
  HEAD,
  type Parameter,
  parameterList,
  stateSpacesName,
} from "../mamba/parameters.ts";
import type { ReadParameter } from "../mamba/types.ts";
import { type PytorchTensor, PytorchWriter } from "./pytorch_writer.ts";
import { type Taught, taughtJson } from "./taught.ts";
import { WEIGHT_FILES } from "./tensor_source.ts";

/** What a folder holds besides weights. */
export interface FolderContents {
  /** The model's sizes. */
  config: MambaConfig;
  /** The bytes of tokenizer.json, where there is one. */
  tokenizer?: Uint8Array;
  /** The text of README.md. */
  card?: string;
  /** The task that the model was taught, with its labels. */
  taught?: Taught;
  /** Weights above this many bytes are written as several files (default 5 GB); in "hf" alone. */
  maxShardBytes?: number;
  /** Whose folder it is: that of `transformers` (by default), or of `mamba_ssm`. */
  layout?: ModelLayout;
}

/** Who loads a folder. */
export type ModelLayout = "hf" | "mamba-ssm";

/** A file of weights under construction. */
type WeightsFile = Pick<SafetensorsWriter, "commit" | "abort"> & {
  write(values: Float32Array): void;
};

/** What goes into a folder. */
export interface ModelToWrite extends FolderContents {
  /** Called for each parameter, in the model's order. */
  read: ReadParameter;
  /** Writes more files into the folder, after the others and before it gets its name. */
  more?: (folder: string) => void;
}

/**
 * Writes a model folder in the Hugging Face layout, beside its place and then renamed: it exists
 * whole or not at all.
 * @throws {UserError} where `path` exists and is not an empty folder, or the disk is full.
 */
export function writeModelFolder(path: string, model: ModelToWrite): void {
  const writer = new ModelFolderWriter(path, model);
  try {
    for (const { name } of parameterList(model.config)) writer.add(model.read(name));
    writer.finish(model.more);
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/** A folder under construction, which takes weights one by one, in the order of `parameterList`. */
export class ModelFolderWriter {
  readonly #path: string;
  readonly #partial: string;
  readonly #contents: FolderContents;
  /** By file, and the file and the parameter that come next. */
  readonly #shards: Parameter[][];
  #shard = 0;
  #parameter = 0;
  #file: WeightsFile | undefined;
  #open = true;

  /** @throws {UserError} where `path` exists and is not an empty folder. */
  constructor(path: string, contents: FolderContents) {
    this.#path = resolve(path);
    this.#partial = `${this.#path}.partial`;
    this.#contents = contents;
    this.#shards = shardsOf(contents);
    assertWritableFolder(this.#path);
    removeIfExists(this.#partial, { recursive: true });
    Deno.mkdirSync(this.#partial, { recursive: true });
  }

  /** Where further files go before `finish`. */
  get folder(): string {
    return this.#partial;
  }

  /** Writes the next parameter. */
  add(values: Float32Array): void {
    const parameters = this.#shards[this.#shard];
    if (!parameters) throw new RangeError(`${this.#path} has all its parameters`);
    this.#file ??= this.#contents.layout === "mamba-ssm"
      ? new PytorchWriter(join(this.#partial, WEIGHT_FILES.pytorch), stateSpacesTensors(parameters))
      : createSafetensors(
        join(this.#partial, fileName(this.#shards.length, this.#shard)),
        parameters.map(({ name, shape }) => ({ name, shape, dtype: "F32" })),
        { format: "pt" },
      );
    this.#file.write(values);
    if (++this.#parameter < parameters.length) return;
    this.#file.commit();
    this.#file = undefined;
    this.#shard++;
    this.#parameter = 0;
  }

  /** Writes the other files, the caller's among them, and gives the folder its name. */
  finish(more?: (folder: string) => void): void {
    if (this.#shard < this.#shards.length) throw new RangeError(`${this.#path} lacks parameters`);
    const { config, tokenizer, card, taught, layout } = this.#contents;
    const partial = this.#partial;
    const json = (name: string, value: unknown) =>
      writeAtomic(join(partial, name), JSON.stringify(value, null, 2) + "\n");
    if (this.#shards.length > 1) json(WEIGHT_FILES.index, indexOf(config, this.#shards));
    const { endOfText } = config;
    json("generation_config.json", {
      bos_token_id: endOfText,
      eos_token_id: endOfText,
      pad_token_id: endOfText,
    });
    if (tokenizer) {
      writeAtomic(join(partial, "tokenizer.json"), tokenizer);
      json("tokenizer_config.json", tokenizerConfig(tokenizer, endOfText));
    }
    if (card) writeAtomic(join(partial, "README.md"), card);
    const ofConfig = layout === "mamba-ssm" ? stateSpacesConfig : huggingFaceConfig;
    json("config.json", { ...ofConfig(config), ...(taught ? taughtJson(taught) : {}) });
    more?.(partial);
    syncFolder(partial);
    removeIfExists(this.#path); // an empty folder, as checked before
    Deno.renameSync(partial, this.#path);
    this.#open = false;
    syncFolder(dirname(this.#path));
  }

  /** Removes what was written. Harmless after `finish`. */
  abort(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#file?.abort();
    removeIfExists(this.#partial, { recursive: true });
  }
}

/** @throws {UserError} where `path` exists and is anything but an empty folder. */
export function assertWritableFolder(path: string): void {
  refuseForeign(path, "the model");
}

/** What mamba_ssm's state dictionary holds: its own name of the embedding, and the tied head. */
function stateSpacesTensors(parameters: readonly Parameter[]): PytorchTensor[] {
  const tensors = parameters.map(({ name, shape }) => ({ name: stateSpacesName(name), shape }));
  const embedding = tensors.find(({ name }) => name === stateSpacesName(EMBEDDING));
  if (!embedding) return tensors;
  return [...tensors, { name: HEAD, shape: embedding.shape, same: embedding.name }];
}

/** The parameters of each file. */
function shardsOf({ config, layout, maxShardBytes = 5e9 }: FolderContents): Parameter[][] {
  // mamba_ssm reads one file.
  const limit = layout === "mamba-ssm" ? Infinity : maxShardBytes;
  let shard: Parameter[] = [];
  const shards = [shard];
  let bytes = 0;
  for (const parameter of parameterList(config)) {
    if (bytes > 0 && bytes + 4 * parameter.size > limit) {
      shards.push(shard = []);
      bytes = 0;
    }
    shard.push(parameter);
    bytes += 4 * parameter.size;
  }
  return shards;
}

function fileName(count: number, i: number): string {
  const number = (i: number) => String(i).padStart(5, "0");
  return count === 1
    ? WEIGHT_FILES.single
    : `model-${number(i + 1)}-of-${number(count)}.safetensors`;
}

/** What says in which file each parameter is. */
function indexOf(config: MambaConfig, shards: Parameter[][]): Record<string, unknown> {
  const map = shards.flatMap((parameters, i) =>
    parameters.map((p): [string, string] => [p.name, fileName(shards.length, i)])
  );
  const total = parameterList(config).reduce((sum, p) => sum + 4 * p.size, 0);
  return { metadata: { total_size: total }, weight_map: Object.fromEntries(map.sort()) };
}

/** `transformers` finds the end-of-text token, which plays every special part, by its text. */
function tokenizerConfig(tokenizer: Uint8Array, endOfText: number): Record<string, unknown> {
  const json = JSON.parse(new TextDecoder().decode(tokenizer)) as {
    added_tokens?: { id: number; content: string }[];
  };
  const text = json.added_tokens?.find((t) => t.id === endOfText)?.content;
  return {
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    ...(text === undefined ? {} : {
      bos_token: text,
      eos_token: text,
      pad_token: text,
      unk_token: text,
    }),
    tokenizer_class: "PreTrainedTokenizerFast",
  };
}
