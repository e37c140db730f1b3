/**
 * Where a model folder's tensors come from: one safetensors file, several with an index, or PyTorch's
 * own format.
 * @module
 */
import { UserError } from "../core/errors.ts";
import { exists, readJson } from "../core/files.ts";
import { openSafetensors, type SafetensorsFile } from "../core/safetensors.ts";
import { join } from "../core/std.ts";
import { openPytorchFile } from "./pytorch_file.ts";

/** Named tensors on disk, read one at a time. */
export interface TensorSource {
  /** The file to name in an error about the whole: the single file, or the index. */
  readonly path: string;
  readonly names: readonly string[];
  /** The tensor's file, type and shape, or undefined where there is none of that name. */
  find(name: string): { file: string; dtype: string; shape: readonly number[] } | undefined;
  /** F32, F16, BF16 or F64 values as float32. @throws {UserError} for other types. */
  floats(name: string): Float32Array;
  close(): void;
}

/** The file names that {@linkcode openTensorSource} looks for, in this order. */
export const WEIGHT_FILES = {
  single: "model.safetensors",
  index: "model.safetensors.index.json",
  pytorch: "pytorch_model.bin",
} as const;

/**
 * Opens the weights of a model folder.
 * @throws {UserError} where there are none, or a file of the index is missing.
 */
export function openTensorSource(folder: string): TensorSource {
  const single = join(folder, WEIGHT_FILES.single), index = join(folder, WEIGHT_FILES.index);
  if (exists(single)) return singleFile(single);
  if (exists(index)) return sharded(folder, index);
  const pytorch = join(folder, WEIGHT_FILES.pytorch);
  if (exists(pytorch)) return openPytorchFile(pytorch);
  throw new UserError(
    `Cannot load the model ${folder}: it has no ${Object.values(WEIGHT_FILES).join(", no ")}`,
  );
}

function singleFile(path: string): TensorSource {
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

function sharded(folder: string, index: string): TensorSource {
  const { weight_map: map } = readJson<{ weight_map?: Record<string, string> }>(index, "index");
  if (typeof map !== "object" || map === null) {
    throw new UserError(`Cannot read the index ${index}: it has no weight_map`);
  }
  const files = new Map<string, SafetensorsFile>();
  const close = () => files.forEach((file) => file.close());
  try {
    for (const [tensor, name] of Object.entries(map)) {
      if (typeof name !== "string" || /[\\/]/.test(name)) {
        throw new UserError(
          `Cannot read the index ${index}: the file of ${tensor} is ${JSON.stringify(name)}`,
        );
      }
      if (!files.has(name)) files.set(name, openSafetensors(join(folder, name)));
      if (!files.get(name)!.tensors.has(tensor)) {
        throw new UserError(
          `Cannot load ${join(folder, name)}: tensor "${tensor}" is missing, which ${index} ` +
            `places there`,
        );
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  const fileOf = (name: string) => Object.hasOwn(map, name) ? files.get(map[name]!) : undefined;
  return {
    path: index,
    names: Object.keys(map),
    find(name) {
      const file = fileOf(name), info = file?.tensors.get(name);
      return info && { file: file!.path, dtype: info.dtype, shape: info.shape };
    },
    floats(name) {
      const file = fileOf(name);
      if (!file) throw new UserError(`Cannot read ${index}: it has no tensor "${name}"`);
      return file.floats(name);
    },
    close,
  };
}
