/**
 * Model folders: config.json, weights, tokenizer and model card. Both layouts in use are read; the
 * Hugging Face one is written, whole or not at all.
 * @module
 */
import { UserError } from "../core/errors.ts";
import { exists, readJson, removeIfExists, syncFolder, writeAtomic } from "../core/files.ts";
import { writeSafetensors } from "../core/safetensors.ts";
import { dirname, join, resolve } from "../core/std.ts";
import { huggingFaceConfig, type MambaConfig, parseConfig } from "./config.ts";
import { canonicalName, EMBEDDING, type Parameter, parameterList } from "./parameters.ts";
import { openTensorSource, type TensorSource, WEIGHT_FILES } from "./tensor_source.ts";

/** Returns a parameter's values, row-major, by Hugging Face name. */
export type ReadParameter = (name: string) => Float32Array;

/** An open model folder. */
export interface ModelFolder {
  readonly path: string;
  readonly config: MambaConfig;
  /** The folder's tokenizer.json, where it has one. */
  readonly tokenizerFile: string | undefined;
  /**
   * One parameter as float32, read from the disk.
   * @throws {UserError} naming file and tensor, where a value is not finite.
   */
  read: ReadParameter;
  close(): void;
}

const HEAD = "lm_head.weight";

/**
 * Opens a model folder of either layout and checks every tensor's name and shape.
 * @throws {UserError} naming the file, the tensor, what was expected and what was found.
 */
export function openModelFolder(path: string): ModelFolder {
  const configFile = join(path, "config.json");
  if (!exists(path)) throw new UserError(`Cannot load the model ${path}: there is no such folder`);
  if (!exists(configFile)) {
    throw new UserError(`Cannot load the model ${path}: it has no config.json`);
  }
  const json = readJson<Record<string, unknown>>(configFile, "model configuration");
  const config = parseConfig(json, configFile);
  const tokenizer = join(path, "tokenizer.json");
  const tokenizerFile = exists(tokenizer) ? tokenizer : undefined;
  if (tokenizerFile && json.unpadded_vocab_size === undefined) {
    config.vocabSize = Math.min(config.paddedVocabSize, tokenizerSize(tokenizerFile));
  }
  const source = openTensorSource(path);
  try {
    const stored = checkTensors(source, config);
    const parameters = new Map(parameterList(config).map((p) => [p.name, p]));
    return {
      path,
      config,
      tokenizerFile,
      read(name) {
        const own = stored.get(name);
        if (!own || !parameters.has(name)) throw new RangeError(`No parameter is named ${name}`);
        const values = finiteValues(source, own);
        if (name === EMBEDDING) checkTiedHead(source, values);
        return values;
      },
      close: () => source.close(),
    };
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Checks names and shapes; returns each parameter's name in the file by its canonical name. */
function checkTensors(source: TensorSource, config: MambaConfig): Map<string, string> {
  const stored = new Map(source.names.map((name) => [canonicalName(name), name]));
  const parameters = parameterList(config), known = new Set(parameters.map((p) => p.name));
  const strangers = source.names.filter((n) => !known.has(canonicalName(n)) && n !== HEAD);
  const shapeText = (shape: readonly number[]) => `[${shape.join(", ")}]`;
  const check = (parameter: Parameter, name: string) => {
    const found = source.find(name)!;
    if (String(found.shape) !== String(parameter.shape)) {
      throw new UserError(
        `Cannot load ${found.file}: tensor "${name}" has the shape ${shapeText(found.shape)}, ` +
          `but config.json makes it ${shapeText(parameter.shape)}`,
      );
    }
    if (!["F32", "F16", "BF16", "F64"].includes(found.dtype)) {
      throw new UserError(
        `Cannot load ${found.file}: tensor "${name}" has the type ${found.dtype}, ` +
          `expected F32, F16 or BF16`,
      );
    }
  };
  for (const parameter of parameters) {
    const name = stored.get(parameter.name);
    if (name === undefined) {
      const found = strangers.length
        ? `it has "${strangers[0]}", which is no tensor of a Mamba model of ${config.layers} layers`
        : `it has ${source.names.length} tensors`;
      throw new UserError(
        `Cannot load ${source.path}: tensor "${parameter.name}" ${shapeText(parameter.shape)} ` +
          `is missing; ${found}`,
      );
    }
    check(parameter, name);
  }
  if (strangers.length) {
    throw new UserError(
      `Cannot load ${source.find(strangers[0]!)!.file}: tensor "${strangers[0]}" is not one of ` +
        `the ${parameters.length} tensors that config.json asks for`,
    );
  }
  if (stored.has(HEAD)) check(parameters[0]!, HEAD);
  return stored;
}

function finiteValues(source: TensorSource, name: string): Float32Array {
  const values = source.floats(name);
  const at = values.findIndex((v) => !Number.isFinite(v));
  if (at >= 0) {
    throw new UserError(
      `Cannot load ${source.find(name)!.file}: value ${at} of tensor "${name}" is ${values[at]}, ` +
        `expected finite numbers`,
    );
  }
  return values;
}

/** A stored head must be the embedding: an untied one would silently be lost. */
function checkTiedHead(source: TensorSource, embedding: Float32Array): void {
  if (!source.find(HEAD)) return;
  const head = source.floats(HEAD);
  const at = head.findIndex((v, i) => v !== embedding[i]);
  if (at >= 0) {
    throw new UserError(
      `Cannot load ${source.find(HEAD)!.file}: value ${at} of tensor "${HEAD}" is ${head[at]}, ` +
        `expected the embedding's ${embedding[at]} (models with an untied head are not supported)`,
    );
  }
}

/** Ids of a tokenizer.json: the largest one, plus 1. */
function tokenizerSize(path: string): number {
  const json = readJson<
    { model?: { vocab?: Record<string, number> }; added_tokens?: { id: number }[] }
  >(path, "tokenizer");
  let last = -1;
  for (const id of Object.values(json.model?.vocab ?? {})) last = Math.max(last, id);
  for (const { id } of json.added_tokens ?? []) last = Math.max(last, id);
  if (last < 0) throw new UserError(`Cannot read the tokenizer ${path}: it has no vocabulary`);
  return last + 1;
}

/** What goes into a folder. */
export interface ModelToWrite {
  config: MambaConfig;
  read: ReadParameter;
  /** The bytes of tokenizer.json, where there is one. */
  tokenizer?: Uint8Array;
  /** The text of README.md. */
  card?: string;
  /** Writes more files into the folder, after the others and before it gets its name. */
  more?: (folder: string) => void;
  /** Weights above this many bytes are written as several files (default 5 GB). */
  maxShardBytes?: number;
}

/**
 * Writes a model folder in the Hugging Face layout, beside its place and then renamed: it exists
 * whole or not at all.
 * @throws {UserError} where `path` exists and is not an empty folder, or the disk is full.
 */
export function writeModelFolder(path: string, model: ModelToWrite): void {
  path = resolve(path);
  assertWritableFolder(path);
  const partial = `${path}.partial`;
  removeIfExists(partial, { recursive: true });
  Deno.mkdirSync(partial, { recursive: true });
  try {
    const json = (name: string, value: unknown) =>
      writeAtomic(join(partial, name), JSON.stringify(value, null, 2) + "\n");
    writeWeights(partial, model);
    const { endOfText } = model.config;
    json("generation_config.json", {
      bos_token_id: endOfText,
      eos_token_id: endOfText,
      pad_token_id: endOfText,
    });
    if (model.tokenizer) {
      writeAtomic(join(partial, "tokenizer.json"), model.tokenizer);
      json("tokenizer_config.json", tokenizerConfig(model.tokenizer, endOfText));
    }
    if (model.card) writeAtomic(join(partial, "README.md"), model.card);
    json("config.json", huggingFaceConfig(model.config));
    model.more?.(partial);
    syncFolder(partial);
    removeIfExists(path); // an empty folder, as checked above
    Deno.renameSync(partial, path);
    syncFolder(dirname(path));
  } catch (error) {
    removeIfExists(partial, { recursive: true });
    throw error;
  }
}

/** @throws {UserError} where `path` exists and is anything but an empty folder. */
export function assertWritableFolder(path: string): void {
  if (!exists(path)) return;
  if (!Deno.statSync(path).isDirectory || [...Deno.readDirSync(path)].length) {
    throw new UserError(
      `Cannot write the model to ${path}: it exists already; remove it or name another folder`,
    );
  }
}

function writeWeights(folder: string, model: ModelToWrite): void {
  const limit = model.maxShardBytes ?? 5e9, shards: Parameter[][] = [[]];
  let bytes = 0;
  for (const parameter of parameterList(model.config)) {
    if (bytes > 0 && bytes + 4 * parameter.size > limit) shards.push([]), bytes = 0;
    shards.at(-1)!.push(parameter);
    bytes += 4 * parameter.size;
  }
  const number = (i: number) => String(i).padStart(5, "0");
  const fileName = (i: number) =>
    shards.length === 1
      ? WEIGHT_FILES.single
      : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  const map: [string, string][] = [];
  shards.forEach((parameters, i) => {
    const tensors = parameters.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32" as const,
      data: () => model.read(name),
    }));
    writeSafetensors(join(folder, fileName(i)), tensors, { metadata: { format: "pt" } });
    map.push(...parameters.map((p): [string, string] => [p.name, fileName(i)]));
  });
  if (shards.length === 1) return;
  const total = parameterList(model.config).reduce((sum, p) => sum + 4 * p.size, 0);
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(map.sort()) };
  writeAtomic(join(folder, WEIGHT_FILES.index), JSON.stringify(index, null, 2) + "\n");
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
