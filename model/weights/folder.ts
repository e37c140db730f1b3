/**
 * Model folders: config.json, weights, tokenizer and model card. Both layouts in use are read; the
 * Hugging Face one is written, by folder_writer.ts.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";
import { exists, parseJson, readText } from "../../core/files.ts";
import { float32At, nth } from "../../core/nth.ts";
import { join } from "../../core/std.ts";
import type { MambaConfig } from "../mamba/config.ts";
import { parseConfig } from "../mamba/config_file.ts";
import { kindOf } from "../mamba/kinds.ts";
import {
  canonicalName,
  EMBEDDING,
  HEAD,
  type Parameter,
  parameterList,
} from "../mamba/parameters.ts";
import { readTokenizerJson } from "../../pipeline/tokenizer/mod.ts";
import { isAdapterFolder, openAdapterFolder } from "./adapter.ts";
import type { ModelFolder } from "./model_folder.ts";
import { parseTaught } from "./taught.ts";
import { openTensorSource } from "./tensor_source.ts";
import type { TensorSource } from "./tensors.ts";

export type { ModelFolder } from "./model_folder.ts";
export {
  assertWritableFolder,
  type ModelLayout,
  type ModelToWrite,
  writeModelFolder,
} from "./folder_writer.ts";

/** A config.json is a few kilobytes. */
const MAX_JSON_BYTES = 1 << 22;

/**
 * Opens a model folder of either layout and checks every tensor's name and shape. A folder of adapters
 * is opened with its base, and reads as a model into which they are merged.
 * @throws {UserError} naming the file, the tensor, what was expected and what was found.
 */
export function openModelFolder(path: string): ModelFolder {
  const configFile = join(path, "config.json");
  if (!exists(path)) throw new UserError(`Cannot load the model ${path}: there is no such folder`);
  if (!exists(configFile) && isAdapterFolder(path)) return openAdapterFolder(path, openModelFolder);
  if (!exists(configFile)) {
    throw new UserError(`Cannot load the model ${path}: it has no config.json`);
  }
  const json = readConfig(configFile);
  const config = parseConfig(json, configFile);
  const taught = parseTaught(json, configFile);
  const tokenizer = join(path, "tokenizer.json");
  const tokenizerFile = exists(tokenizer) ? tokenizer : undefined;
  if (tokenizerFile && json.unpadded_vocab_size === undefined) {
    config.vocabSize = Math.min(config.paddedVocabSize, tokenizerSize(tokenizerFile));
  }
  const source = openTensorSource(path);
  try {
    checkLayers(source, config, configFile);
    checkKind(source, config);
    const stored = checkTensors(source, config);
    const parameters = new Map(parameterList(config).map((p) => [p.name, p]));
    return {
      path,
      config,
      tokenizerFile,
      taught,
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

/**
 * A config.json as it stands. `transformers` writes Infinity, of time_step_limit, in a way that JSON does
 * not have.
 */
function readConfig(path: string): Record<string, unknown> {
  const text = readText(path, "model configuration", MAX_JSON_BYTES);
  const infinite = /("time_step_limit"\s*:\s*\[[^\]]*?)\bInfinity\b/;
  return parseJson<Record<string, unknown>>(
    text.replace(infinite, '$1"Infinity"'),
    path,
    "model configuration",
  );
}

/**
 * A folder whose tensors are of the other kind than its configuration.
 * @throws {UserError} that names the key.
 */
function checkKind(source: TensorSource, config: MambaConfig): void {
  const { other } = KIND_TENSORS[config.kind];
  const stranger = source.names.find((name) => name.endsWith(`.mixer.${other}`));
  if (stranger === undefined) return;
  const { name } = kindOf(config);
  throw new UserError(
    `Cannot load ${
      source.find(stranger)?.file ?? source.path
    }: config.json makes it a ${name} model ` +
      `(model_type, or ssm_cfg.layer), but it has the tensor "${stranger}" of the other kind; put ` +
      `the config.json of these weights beside them`,
  );
}

/** A tensor that only models of the other kind have. */
const KIND_TENSORS = { mamba: { other: "dt_bias" }, mamba2: { other: "x_proj.weight" } } as const;

/**
 * Compares the number of layers with the tensors that there are, before a list of all that should be
 * there is made: it would be as long as config.json says.
 */
function checkLayers(source: TensorSource, { layers }: MambaConfig, configFile: string): void {
  if (layers <= source.names.length) return;
  throw new UserError(
    `Cannot load ${source.path}: ${configFile} says that the model has ${layers} layers, but there ` +
      `are ${source.names.length} tensors in all; take both from the same model`,
  );
}

/** A tensor that the source named. */
const find = (source: TensorSource, name: string) =>
  source.find(name) ?? fail(`${source.path} has no tensor ${name}`);

/** Checks names and shapes; returns each parameter's name in the file by its canonical name. */
function checkTensors(source: TensorSource, config: MambaConfig): Map<string, string> {
  const stored = new Map(source.names.map((name) => [canonicalName(name), name]));
  const parameters = parameterList(config);
  const known = new Set(parameters.map((p) => p.name));
  const strangers = source.names.filter((n) => !known.has(canonicalName(n)) && n !== HEAD);
  const shapeText = (shape: readonly number[]) => `[${shape.join(", ")}]`;
  const check = (parameter: Parameter, name: string) => {
    const found = find(source, name);
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
      `Cannot load ${find(source, nth(strangers, 0)).file}: tensor "${
        strangers[0]
      }" is not one of ` +
        `the ${parameters.length} tensors that config.json asks for`,
    );
  }
  if (stored.has(HEAD)) check(nth(parameters, 0), HEAD);
  return stored;
}

function finiteValues(source: TensorSource, name: string): Float32Array {
  const values = source.floats(name);
  // 0 times a number is 0, times anything else NaN: twenty times as fast as asking each value.
  let zero = 0;
  for (let i = 0; i < values.length; i++) zero += 0 * float32At(values, i);
  if (zero !== 0) {
    const at = values.findIndex((v) => !Number.isFinite(v));
    throw new UserError(
      `Cannot load ${find(source, name).file}: value ${at} of tensor "${name}" is ${values[at]}, ` +
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
      `Cannot load ${find(source, HEAD).file}: value ${at} of tensor "${HEAD}" is ${head[at]}, ` +
        `expected the embedding's ${embedding[at]} (models with an untied head are not supported)`,
    );
  }
}

/**
 * What to do where a model's folder holds no tokenizer: the end of a sentence. Published Mamba and
 * BioMamba folders are without one, because all of them use the same.
 */
export const TOKENIZER_REMEDY =
  "put the tokenizer it was trained with there, or name it by --tokenizer FILE: that of published " +
  "Mamba, Mamba-2 and BioMamba models is GPT-NeoX's, the tokenizer.json of EleutherAI/gpt-neox-20b " +
  "on the Hugging Face Hub";

/** Ids of a tokenizer.json: the largest one, plus 1. */
function tokenizerSize(path: string): number {
  const json = readTokenizerJson(path) as {
    model?: { vocab?: Record<string, unknown> } | null;
    added_tokens?: ({ id?: unknown } | null)[] | null;
  } | null;
  let last = -1;
  const take = (id: unknown) => {
    if (Number.isSafeInteger(id)) last = Math.max(last, id as number);
  };
  for (const id of Object.values(json?.model?.vocab ?? {})) take(id);
  const added = json?.added_tokens;
  if (Array.isArray(added)) { for (const token of added) take(token?.id); }
  if (last < 0) throw new UserError(`Cannot read the tokenizer ${path}: it has no vocabulary`);
  return last + 1;
}
