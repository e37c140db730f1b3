/** Writing folders of adapters in PEFT's layout; see adapter.ts. @module */
import { removeIfExists, syncFolder, writeAtomic } from "../../core/files.ts";
import { createSafetensors, type SafetensorsWriter } from "../../core/safetensors.ts";
import { dirname, join, resolve } from "../../core/std.ts";
import type { MambaConfig } from "../mamba/config.ts";
import { HEAD_KEY, headJson } from "../mamba/head.ts";
import { adapterNames, EMBEDDING_MODULE, type LoraConfig } from "../mamba/lora.ts";
import { type Parameter, parameterList, trainedParameters } from "../mamba/parameters.ts";
import { ADAPTER_FILES, PEFT_PREFIX, TIED_NAMES } from "./adapter.ts";
import { assertWritableFolder, type FolderContents, type ModelToWrite } from "./folder_writer.ts";
import { taughtJson } from "./taught.ts";

/** A tensor of the file: which parameter it is, or is the transpose of. */
interface AdapterTensor {
  name: string;
  shape: readonly number[];
  transposed: boolean;
}

/** What a parameter becomes: itself, and of the embedding's adapter the tied head's too. */
function tensorsOf(config: MambaConfig, { name, shape }: Parameter): AdapterTensor[] {
  const own = { name: PEFT_PREFIX + name, shape, transposed: false };
  const { a, b } = adapterNames(EMBEDDING_MODULE);
  if (config.head || name !== a && name !== b) return [own];
  const tied = name === a ? TIED_NAMES.b : TIED_NAMES.a;
  return [own, { name: tied, shape: [...shape].reverse(), transposed: true }];
}

/** A folder under construction, which takes what is trained, in the order of `trainedParameters`. */
export class AdapterFolderWriter {
  readonly #path: string;
  readonly #partial: string;
  readonly #contents: FolderContents;
  readonly #parameters: Parameter[];
  readonly #file: SafetensorsWriter;
  #parameter = 0;
  #open = true;

  /** @throws {UserError} where `path` exists and is not an empty folder. */
  constructor(path: string, contents: FolderContents) {
    const { config } = contents;
    this.#path = resolve(path);
    this.#partial = `${this.#path}.partial`;
    this.#contents = contents;
    this.#parameters = trainedParameters(config);
    assertWritableFolder(this.#path);
    removeIfExists(this.#partial, { recursive: true });
    Deno.mkdirSync(this.#partial, { recursive: true });
    const tensors = this.#parameters.flatMap((parameter) => tensorsOf(config, parameter))
      .map(({ name, shape }) => ({ name, shape, dtype: "F32" } as const));
    const file = join(this.#partial, ADAPTER_FILES.weights);
    this.#file = createSafetensors(file, tensors, { format: "pt" });
  }

  /** Where further files go before `finish`. */
  get folder(): string {
    return this.#partial;
  }

  /** Writes the next parameter that is trained. */
  add(values: Float32Array): void {
    const parameter = this.#parameters[this.#parameter++];
    if (!parameter) throw new RangeError(`${this.#path} has all its parameters`);
    for (const { shape, transposed } of tensorsOf(this.#contents.config, parameter)) {
      this.#file.write(transposed ? transposedValues(values, shape) : values);
    }
  }

  /** Writes the other files, the caller's among them, and gives the folder its name. */
  finish(more?: (folder: string) => void): void {
    this.#file.commit();
    const { config, tokenizer, card, taught } = this.#contents;
    const partial = this.#partial;
    const json = (name: string, value: unknown) =>
      writeAtomic(join(partial, name), JSON.stringify(value, null, 2) + "\n");
    const { lora, head } = config;
    if (!lora) throw new RangeError(`${this.#path} has no adapters`);
    json(ADAPTER_FILES.config, adapterJson(config, lora));
    json(ADAPTER_FILES.own, {
      base_fingerprint: lora.base?.fingerprint ?? null,
      [HEAD_KEY]: head ? headJson(head) : null,
      ...(taught ? taughtJson(taught) : {}),
    });
    if (tokenizer) writeAtomic(join(partial, "tokenizer.json"), tokenizer);
    if (card) writeAtomic(join(partial, "README.md"), card);
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
    this.#file.abort();
    removeIfExists(this.#partial, { recursive: true });
  }
}

/** Writes a folder of adapters: the trained parameters of a model whose configuration has them. */
export function writeAdapterFolder(path: string, model: ModelToWrite): void {
  const writer = new AdapterFolderWriter(path, model);
  try {
    for (const { name } of trainedParameters(model.config)) writer.add(model.read(name));
    writer.finish(model.more);
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/** The transpose of values, which has this shape. */
function transposedValues(
  values: Float32Array,
  [rows = 0, cols = 0]: readonly number[],
): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) out[row * cols + col] = values[col * rows + row] ?? 0;
  }
  return out;
}

/** adapter_config.json, with the keys that PEFT's LoraConfig has. */
function adapterJson(config: MambaConfig, lora: LoraConfig): Record<string, unknown> {
  const { head } = config;
  const task = head ? head.crf ? "TOKEN_CLS" : "SEQ_CLS" : "CAUSAL_LM";
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: lora.base?.name ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: head ? head.crf ? ["classifier", "crf"] : ["classifier"] : null,
    peft_type: "LORA",
    r: lora.rank,
    rank_pattern: {},
    revision: lora.base?.revision ?? null,
    target_modules: targetModules(config, lora),
    task_type: task,
    use_dora: false,
    use_rslora: lora.rootScale,
  };
}

/** Modules by the ends of their names, where all of such an end are among them, or by whole names. */
function targetModules(config: MambaConfig, { modules }: LoraConfig): string[] {
  const end = (name: string) => name.slice(name.lastIndexOf(".") + 1);
  const all = parameterList(config).filter(({ name }) => name.endsWith(".weight"))
    .map(({ name }) => name.slice(0, -".weight".length));
  const chosen = new Set(modules);
  const targets = modules.map((module) => {
    const alike = all.filter((name) => end(name) === end(module));
    return alike.every((name) => chosen.has(name)) ? end(module) : module;
  });
  // The tied head is the embedding.
  const tied = !config.head && chosen.has(EMBEDDING_MODULE) ? ["lm_head"] : [];
  return [...new Set([...targets, ...tied])];
}
