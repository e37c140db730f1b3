/**
 * Folders of adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`, with the
 * tensors' names as PEFT has them for `MambaForCausalLM` and `Mamba2ForCausalLM`. They are read beside
 * the base that the first file names. What PEFT has no place for (a head of labels, the labels, what the
 * base was like) is in `pubmamba_model.json`.
 *
 * The tied head of a language model is the embedding. PEFT knows a head and an embedding apart: an
 * adapter of the embedding is written for both, and read where both are alike.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { exists, readJson, sha256 } from "../../core/files.ts";
import { isHubId } from "../../core/locations.ts";
import { openSafetensors, type SafetensorsFile } from "../../core/safetensors.ts";
import { join, resolve } from "../../core/std.ts";
import { type MambaConfig, withoutLora } from "../mamba/config.ts";
import { HEAD_KEY, isHeadParameter, parseHead } from "../mamba/head.ts";
import {
  type AdapterBase,
  adapterModule,
  adapterNames,
  EMBEDDING_MODULE,
  type LoraConfig,
  merged,
  weightName,
} from "../mamba/lora.ts";
import { parameterList, trainedParameters, withLora } from "../mamba/parameters.ts";
import type { ReadParameter } from "../mamba/types.ts";
import { cachedModel } from "./hub.ts";
import type { ModelFolder } from "./model_folder.ts";
import { parseTaught } from "./taught.ts";

/** The names of the files. */
export const ADAPTER_FILES = {
  config: "adapter_config.json",
  weights: "adapter_model.safetensors",
  own: "pubmamba_model.json",
} as const;

/** What PEFT puts before every name. */
export const PEFT_PREFIX = "base_model.model.";

/** The head's adapter of a language model, which is that of the embedding with A and B exchanged. */
export const TIED_NAMES = {
  a: `${PEFT_PREFIX}lm_head.lora_A.weight`,
  b: `${PEFT_PREFIX}lm_head.lora_B.weight`,
} as const;

/** Whether a folder holds adapters. */
export const isAdapterFolder = (path: string): boolean => exists(join(path, ADAPTER_FILES.config));

/** A digest of a model's vectors (norms, biases, D), which tells models apart at little cost. */
export function fingerprint(config: MambaConfig, read: ReadParameter): string {
  const digests = parameterList(withoutLora(config))
    .filter(({ shape, name }) => shape.length === 1 && !isHeadParameter(name))
    .map(({ name }) => sha256(new Uint8Array(read(name).slice().buffer)));
  return sha256(digests.join("\n"));
}

/** The part of adapter_config.json that says what is computed. */
interface AdapterFile {
  base_model_name_or_path?: unknown;
  revision?: unknown;
  peft_type?: unknown;
  r?: unknown;
  lora_alpha?: unknown;
  lora_dropout?: unknown;
  use_rslora?: unknown;
  [key: string]: unknown;
}

/** Keys of adapter_config.json that ask for something else than plain LoRA, unless they are so. */
const PLAIN: Record<string, readonly unknown[]> = {
  bias: ["none"],
  use_dora: [false],
  fan_in_fan_out: [false],
  lora_bias: [false],
  use_qalora: [false],
  layer_replication: [],
  rank_pattern: [],
  alpha_pattern: [],
  trainable_token_indices: [],
  target_parameters: [],
  megatron_config: [],
};

/**
 * Opens a folder of adapters and its base: as a model of the base's sizes with the adapters merged into
 * the weights as they are read, and `unmerged` beside it.
 * @param openBase opens a model folder
 * @throws {UserError} naming the file and what is wrong, or the base that is not there.
 */
export function openAdapterFolder(
  path: string,
  openBase: (path: string) => ModelFolder,
): ModelFolder {
  const file = join(path, ADAPTER_FILES.config);
  const json = readJson<AdapterFile>(file, "adapter's configuration");
  const fail = (what: string) => new UserError(`Cannot load the adapter ${path}: ${what}`);
  const settings = parseSettings(json, fail);
  const base = openBase(basePath(json, path, fail));
  let weights: SafetensorsFile | undefined;
  try {
    const own = readOwn(path);
    checkBase(own, base, fail);
    weights = openSafetensors(join(path, ADAPTER_FILES.weights));
    const modules = modulesOf(weights, fail);
    const sizes = own.json ? withHead(base.config, own) : base.config;
    const lora: LoraConfig = {
      ...settings,
      modules: orderedModules(sizes, modules, fail),
      base: baseOf(json, own),
    };
    const config: MambaConfig = { ...sizes, lora };
    checkTensors(weights, config, fail);
    const stored = weights;
    const trained = new Set(trainedParameters(config).map(({ name }) => name));
    const ownTokenizer = join(path, "tokenizer.json");
    const unmerged: ModelFolder = {
      path,
      config,
      tokenizerFile: exists(ownTokenizer) ? ownTokenizer : base.tokenizerFile,
      taught: own.json ? parseTaught(own.json, own.file) : base.taught,
      read: (name) => trained.has(name) ? finite(stored, PEFT_PREFIX + name) : base.read(name),
      close() {
        stored.close();
        base.close();
      },
    };
    return mergedFolder(unmerged);
  } catch (error) {
    weights?.close();
    base.close();
    throw error;
  }
}

/**
 * A model with its adapters merged into the weights as they are read.
 * @param read of a folder whose configuration has adapters; by default its own
 */
export function mergedFolder(
  unmerged: ModelFolder,
  read: ReadParameter = unmerged.read,
): ModelFolder {
  const { lora } = unmerged.config;
  if (!lora) return { ...unmerged, read };
  const shapes = new Map(parameterList(unmerged.config).map(({ name, shape }) => [name, shape]));
  const modules = new Map(lora.modules.map((module) => [weightName(module), module]));
  return {
    ...unmerged,
    config: withoutLora(unmerged.config),
    read(name) {
      const module = modules.get(name);
      if (module === undefined) return read(name);
      const { a, b } = adapterNames(module);
      return merged(lora, module, shapes.get(name) ?? [], read(name), read(a), read(b));
    },
    unmerged: { ...unmerged, read },
  };
}

/** The base as the files name it. */
function baseOf({ base_model_name_or_path: name, revision }: AdapterFile, { json }: OwnFile) {
  const base: AdapterBase = { name: String(name) };
  if (typeof revision === "string") base.revision = revision;
  if (typeof json?.base_fingerprint === "string") base.fingerprint = json.base_fingerprint;
  return base;
}

type Fail = (what: string) => UserError;

function parseSettings(json: AdapterFile, fail: Fail): Omit<LoraConfig, "modules"> {
  if (json.peft_type !== "LORA") {
    throw fail(`${ADAPTER_FILES.config} has the peft_type ${json.peft_type}, LORA is what is read`);
  }
  for (const [key, allowed] of Object.entries(PLAIN)) {
    const value = json[key];
    const empty = value === undefined || value === null ||
      typeof value === "object" && Object.keys(value).length === 0;
    if (empty || allowed.includes(value)) continue;
    throw fail(
      `${ADAPTER_FILES.config} has ${key} ${JSON.stringify(value)}, and only plain LoRA is read; ` +
        `merge it with PEFT and load the whole model`,
    );
  }
  const number = (key: "r" | "lora_alpha" | "lora_dropout", least: number, fallback?: number) => {
    const value = json[key] ?? fallback;
    if (typeof value === "number" && Number.isFinite(value) && value >= least) return value;
    throw fail(`${ADAPTER_FILES.config} has ${key} ${JSON.stringify(value)}, expected a number`);
  };
  const rank = number("r", 1);
  if (!Number.isSafeInteger(rank)) throw fail(`its rank ${rank} is no whole number`);
  return {
    rank,
    alpha: number("lora_alpha", 0),
    dropout: number("lora_dropout", 0, 0),
    rootScale: json.use_rslora === true,
  };
}

/** The folder of the base: a path, from the adapter's folder or from here, or a kept hub id. */
function basePath(json: AdapterFile, path: string, fail: Fail): string {
  const { base_model_name_or_path: name, revision } = json;
  if (typeof name !== "string" || name === "") {
    throw fail(`${ADAPTER_FILES.config} does not name its base (base_model_name_or_path)`);
  }
  for (const place of [join(path, name), name]) {
    if (exists(join(place, "config.json")) || isAdapterFolder(place)) return resolve(place);
  }
  const id = typeof revision === "string" ? `${name}@${revision}` : name;
  const kept = isHubId(id) ? cachedModel(id) : undefined;
  if (kept !== undefined) return kept;
  throw fail(
    `its base ${id} is not here; ` +
      (isHubId(id)
        ? `fetch it by naming it once, as in "generate --model ${id}", or `
        : "put the folder there, or ") +
      `name another folder under base_model_name_or_path in ${join(path, ADAPTER_FILES.config)}`,
  );
}

/** pubmamba_model.json, where there is one. */
interface OwnFile {
  file: string;
  json: Record<string, unknown> | undefined;
}

function readOwn(path: string): OwnFile {
  const file = join(path, ADAPTER_FILES.own);
  if (!exists(file)) return { file, json: undefined };
  return { file, json: readJson<Record<string, unknown>>(file, "model's description") };
}

/** The base with the head of labels that is kept beside the adapters, or none. */
function withHead(config: MambaConfig, { json, file }: OwnFile): MambaConfig {
  const { head: _, ...sizes } = config;
  const head = parseHead(json?.[HEAD_KEY], file);
  return head ? { ...sizes, head } : sizes;
}

/** @throws {UserError} where the base is not the model that the adapters were trained beside. */
function checkBase({ json }: OwnFile, base: ModelFolder, fail: Fail): void {
  const wanted = json?.base_fingerprint;
  if (typeof wanted !== "string" || wanted === fingerprint(base.config, base.read)) return;
  throw fail(
    `its base ${base.path} has other weights than the model that it was trained beside; put that ` +
      `model there again`,
  );
}

/** The modules that have tensors. */
function modulesOf({ tensors }: SafetensorsFile, fail: Fail): Set<string> {
  const found = new Set<string>();
  for (const name of tensors.keys()) {
    if (name === TIED_NAMES.a || name === TIED_NAMES.b) continue;
    const inner = name.startsWith(PEFT_PREFIX) ? name.slice(PEFT_PREFIX.length) : "";
    const adapter = adapterModule(inner);
    if (adapter) found.add(adapter.module);
    else if (!isHeadParameter(inner)) {
      throw fail(`tensor "${name}" is no adapter of a Mamba model's matrix`);
    }
  }
  if (!found.size) throw fail(`${ADAPTER_FILES.weights} has no adapter of any matrix`);
  return found;
}

/** The modules in the model's order. */
function orderedModules(config: MambaConfig, modules: Set<string>, fail: Fail): string[] {
  const { lora } = withLora(config, {
    targets: "linear,embedding",
    rank: 1,
    alpha: 1,
    dropout: 0,
    rootScale: false,
  });
  const all = lora?.modules ?? [];
  for (const module of modules) {
    if (!all.includes(module)) throw fail(`its base has no matrix ${module}`);
  }
  return all.filter((module) => modules.has(module));
}

/** Names, shapes and types of all that is trained, and the tied head's adapter. */
function checkTensors(file: SafetensorsFile, config: MambaConfig, fail: Fail): void {
  const wanted = trainedParameters(config);
  for (const { name, shape } of wanted) {
    const stored = file.tensors.get(PEFT_PREFIX + name);
    if (!stored) throw fail(`tensor "${PEFT_PREFIX}${name}" is missing`);
    if (String(stored.shape) !== String(shape)) {
      throw fail(
        `tensor "${PEFT_PREFIX}${name}" has the shape [${stored.shape.join(", ")}], but rank and ` +
          `base make it [${shape.join(", ")}]`,
      );
    }
  }
  const known = new Set(wanted.map(({ name }) => PEFT_PREFIX + name));
  const tied = !config.head && (config.lora?.modules.includes(EMBEDDING_MODULE) ?? false);
  if (tied) { for (const name of Object.values(TIED_NAMES)) known.add(name); }
  for (const name of file.tensors.keys()) {
    if (!known.has(name)) throw fail(`tensor "${name}" has no place in the model`);
  }
  if (!tied) return;
  const embedding = adapterNames(EMBEDDING_MODULE);
  for (const [name, other] of [[TIED_NAMES.a, embedding.b], [TIED_NAMES.b, embedding.a]] as const) {
    const alike = file.tensors.has(name) &&
      isTranspose(file.floats(name), file.floats(PEFT_PREFIX + other), file.info(name).shape);
    if (alike) continue;
    throw fail(
      `the embedding has an adapter and the head, which is tied to it, does not have the same ` +
        `(tensor "${name}"); models with an untied head are not supported`,
    );
  }
}

/** Whether a matrix of this shape is another's transpose. */
function isTranspose(
  values: Float32Array,
  other: Float32Array,
  [rows = 0, cols = 0]: readonly number[],
): boolean {
  if (values.length !== other.length) return false;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      if (values[row * cols + col] !== other[col * rows + row]) return false;
    }
  }
  return true;
}

/** A tensor whose values are finite. */
function finite(file: SafetensorsFile, name: string): Float32Array {
  const values = file.floats(name);
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return values;
  throw new UserError(
    `Cannot load ${file.path}: value ${at} of tensor "${name}" is ${values[at]}, expected finite ` +
      `numbers`,
  );
}
