/**
 * Where a model folder's tensors come from: safetensors or PyTorch's own format, in one file or in
 * several with an index.
 * @module
 */
import { shown, UserError } from "../../core/errors.ts";
import { exists, readJson } from "../../core/files.ts";
import { openSafetensors } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import { openPytorchFile } from "./pytorch_file.ts";
import type { TensorSource } from "./tensors.ts";

/** The file names that {@linkcode openTensorSource} looks for, in this order. */
export const WEIGHT_FILES = {
  single: "model.safetensors",
  index: "model.safetensors.index.json",
  pytorch: "pytorch_model.bin",
  pytorchIndex: "pytorch_model.bin.index.json",
} as const;

/**
 * Opens the weights of a model folder.
 * @throws {UserError} where there are none, or a file or tensor that the index names is missing.
 */
export function openTensorSource(folder: string): TensorSource {
  const place = (kind: keyof typeof WEIGHT_FILES) => join(folder, WEIGHT_FILES[kind]);
  if (exists(place("single"))) return openSafetensorsSource(place("single"));
  if (exists(place("index"))) return sharded(folder, place("index"), openSafetensorsSource);
  if (exists(place("pytorch"))) return openPytorchFile(place("pytorch"));
  if (exists(place("pytorchIndex"))) return sharded(folder, place("pytorchIndex"), openPytorchFile);
  throw new UserError(
    `Cannot load the model ${folder}: it has no ${Object.values(WEIGHT_FILES).join(", no ")}`,
  );
}

function openSafetensorsSource(path: string): TensorSource {
  const file = openSafetensors(path);
  return {
    path,
    names: [...file.tensors.keys()],
    find(name) {
      const info = file.tensors.get(name);
      return info && { file: path, dtype: info.dtype, shape: info.shape };
    },
    floats: (name) => file.floats(name),
    close: () => file.close(),
  };
}

/** The index of the largest models is below a megabyte. */
const MAX_INDEX_BYTES = 1 << 24;
/** A name in the folder itself, such as "model-00001-of-00002.safetensors". */
const SHARD_NAME = /^[^\\/\0]{1,240}\.(safetensors|bin)$/;

/**
 * The files that an index names, by tensor.
 * @throws {UserError} where it is no index, or a name leads out of its folder.
 */
export function readIndex(index: string): Record<string, string> {
  const json = readJson<{ weight_map?: Record<string, string> } | null>(
    index,
    "index",
    MAX_INDEX_BYTES,
  );
  const map = json?.weight_map;
  if (typeof map !== "object" || map === null) {
    throw new UserError(`Cannot read the index ${index}: it has no weight_map`);
  }
  for (const [tensor, name] of Object.entries(map)) {
    if (typeof name !== "string" || !SHARD_NAME.test(name)) {
      throw new UserError(
        `Cannot read the index ${index}: the file of ${tensor} is ${shown(name)}, which is ` +
          "no name of a .safetensors or .bin file beside it; download the index again",
      );
    }
  }
  return map;
}

function sharded(
  folder: string,
  index: string,
  open: (path: string) => TensorSource,
): TensorSource {
  const map = readIndex(index);
  const files = new Map<string, TensorSource>();
  const close = () => files.forEach((file) => file.close());
  try {
    for (const [tensor, name] of Object.entries(map)) {
      const path = join(folder, name);
      if (!files.has(name)) {
        if (!exists(path)) {
          throw new UserError(
            `Cannot load the model ${folder}: ${name} is missing, where ${index} places the ` +
              `tensor "${tensor}"; download the file again`,
          );
        }
        files.set(name, open(path));
      }
      if (!files.get(name)?.find(tensor)) {
        throw new UserError(
          `Cannot load ${path}: tensor "${tensor}" is missing, which ${index} places there`,
        );
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  const fileOf = (name: string) => files.get(Object.hasOwn(map, name) ? map[name] ?? "" : "");
  return {
    path: index,
    names: Object.keys(map),
    find: (name) => fileOf(name)?.find(name),
    floats(name) {
      const file = fileOf(name);
      if (!file) throw new UserError(`Cannot read ${index}: it has no tensor "${name}"`);
      return file.floats(name);
    },
    close,
  };
}
