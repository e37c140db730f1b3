/** Writes what `torch.save` writes. @module */
import { zipSync } from "fflate";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { EMBEDDING, type Parameter, parameterList } from "../../../model/mamba/parameters.ts";
import { MINIATURE, writeJson } from "../helpers.ts";

/** Opcodes in the order in which `torch.save` writes them. */
export class Pickler {
  readonly bytes: number[] = [0x80, 2];

  op(...codes: (string | number)[]): this {
    for (const code of codes) this.bytes.push(typeof code === "string" ? code.charCodeAt(0) : code);
    return this;
  }
  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    const length = new Uint32Array([bytes.length]);
    return this.op("X", ...new Uint8Array(length.buffer), ...bytes);
  }
  int(value: number): this {
    return this.op("J", ...new Uint8Array(Int32Array.of(value).buffer));
  }
  global(module: string, name: string): this {
    return this.op("c", ...new TextEncoder().encode(`${module}\n${name}\n`));
  }
  orderedDict(): this {
    return this.global("collections", "OrderedDict").op(")", "R");
  }
  tensor(storage: string, key: string, offset: number, shape: number[], strides: number[]): this {
    const elements = shape.reduce((a, b) => a * b, 1);
    this.global("torch._utils", "_rebuild_tensor_v2").op("(", "(").text("storage");
    this.global("torch", storage).text(key).text("cpu").int(elements).op("t", "Q").int(offset);
    for (const list of [shape, strides]) {
      this.op("(");
      for (const n of list) this.int(n);
      this.op("t");
    }
    return this.op(0x89).orderedDict().op("t", "R");
  }
}

/** Of a row-major tensor. */
export const stridesOf = (shape: readonly number[]) =>
  shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));

/** A file of that format: its pickle, and the bytes of each storage. */
export function saveZip(
  path: string,
  pickle: number[],
  storages: Record<string, Uint8Array>,
): void {
  const files: Record<string, Uint8Array> = { "archive/data.pkl": Uint8Array.from(pickle) };
  for (const [key, bytes] of Object.entries(storages)) files[`archive/data/${key}`] = bytes;
  Deno.writeFileSync(path, zipSync(files, { level: 0 }));
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer);

/**
 * Writes the miniature model in state-spaces' layout into `dir`, in one file or in as many shards
 * with an index; the head is stored as well as the embedding, as they do.
 * @returns each tensor's value by its Hugging Face name
 */
export function writePytorchModel(dir: string, shards = 1): (name: string) => Float32Array {
  writeJson(dir, "config.json", {
    d_model: 10,
    n_layer: 2,
    vocab_size: 21,
    ssm_cfg: { d_state: 3, dt_rank: 2 },
  });
  const read = initialParameters(MINIATURE, 4);
  const list = parameterList(MINIATURE);
  const theirs = (name: string) => name === EMBEDDING ? "backbone.embedding.weight" : name;
  const weightMap: Record<string, string> = {};
  const each = Math.ceil(list.length / shards);
  for (let shard = 0; shard < shards; shard++) {
    const file = shards === 1 ? "pytorch_model.bin" : shardName(shard, shards);
    const own = list.slice(shard * each, (shard + 1) * each);
    savePart(join(dir, file), own, read, theirs);
    for (const { name } of own) weightMap[theirs(name)] = file;
    if (own[0] === list[0]) weightMap["lm_head.weight"] = file;
  }
  if (shards > 1) {
    writeJson(dir, "pytorch_model.bin.index.json", { metadata: {}, weight_map: weightMap });
  }
  return read;
}

/** The name of shard `index` of `count`. */
export const shardName = (index: number, count: number): string =>
  `pytorch_model-${String(index + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.bin`;

/** Writes parameters as a state dictionary; the head shares the embedding's storage, where it is stored. */
export function savePart(
  path: string,
  own: Parameter[],
  read: (name: string) => Float32Array,
  theirs: (name: string) => string,
  head = true,
): void {
  const pickler = new Pickler().orderedDict().op("q", 0, "(");
  const storages: Record<string, Uint8Array> = {};
  own.forEach(({ name, shape }, i) => {
    pickler.text(theirs(name));
    pickler.tensor("FloatStorage", String(i), 0, [...shape], stridesOf(shape));
    storages[i] = bytesOf(read(name));
    if (name !== EMBEDDING || !head) return;
    pickler.text("lm_head.weight"); // the same storage
    pickler.tensor("FloatStorage", String(i), 0, [...shape], stridesOf(shape));
  });
  pickler.op("u");
  // A module's state dictionary has an attribute, which says nothing about the weights.
  pickler.op("}").text("_metadata").orderedDict().op("s", "b", ".");
  saveZip(path, pickler.bytes, storages);
}
