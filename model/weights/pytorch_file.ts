/**
 * `pytorch_model.bin`: a zip archive with a pickle that describes tensors and a member of raw bytes
 * for each storage (PyTorch 1.6 and later). The published state-spaces checkpoints are such files.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";
import { type PickleMeaning, type PickleValue, readPickle } from "./pickle.ts";
import type { TensorSource } from "./tensors.ts";
import { openZip, type ZipArchive } from "./zip.ts";

const STORAGES: Record<string, { dtype: string; width: number }> = {
  "torch FloatStorage": { dtype: "F32", width: 4 },
  "torch HalfStorage": { dtype: "F16", width: 2 },
  "torch BFloat16Storage": { dtype: "BF16", width: 2 },
  "torch DoubleStorage": { dtype: "F64", width: 8 },
};
const ALLOWED = [
  ...Object.keys(STORAGES),
  "collections OrderedDict",
  "torch._utils _rebuild_tensor_v2",
  "torch._utils _rebuild_parameter",
];

/** A storage that the pickle refers to. */
class Storage {
  constructor(readonly dtype: string, readonly width: number, readonly key: string) {}
}

/** A tensor as the pickle describes it. */
class Tensor {
  constructor(
    readonly storage: Storage,
    /** In elements. */
    readonly offset: number,
    readonly shape: number[],
    readonly strides: number[],
  ) {}

  get elements(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }
  /** Row-major without gaps. */
  get contiguous(): boolean {
    let expected = 1;
    return this.shape.every((_, i) => {
      const axis = this.shape.length - 1 - i;
      const size = nth(this.shape, axis);
      const fits = size === 1 || this.strides[axis] === expected;
      expected *= size;
      return fits;
    });
  }
}

/**
 * Opens a `pytorch_model.bin`.
 * @throws {UserError} naming the file, where it is of another kind or holds more than plain tensors.
 */
export function openPytorchFile(path: string): TensorSource {
  const zip = openZip(path);
  try {
    const pickle = zip.names.find((name) => name.endsWith("/data.pkl"));
    if (!pickle) throw new UserError(`Cannot load ${path}: it has no data.pkl`);
    const folder = pickle.slice(0, -"data.pkl".length);
    const tensors = readStateDict(zip.read(pickle), path);
    const find = (name: string) => {
      const tensor = tensors.get(name);
      return tensor && { file: path, dtype: tensor.storage.dtype, shape: tensor.shape };
    };
    return {
      path,
      names: [...tensors.keys()],
      find,
      floats(name) {
        const tensor = tensors.get(name);
        if (!tensor) throw new UserError(`Cannot read ${path}: it has no tensor "${name}"`);
        return tensorValues(zip, folder, name, tensor);
      },
      close: () => zip.close(),
    };
  } catch (error) {
    zip.close();
    throw error;
  }
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

function readStateDict(bytes: Uint8Array, path: string): Map<string, Tensor> {
  const bad = (what: string) => new UserError(`Cannot load ${path}: ${what}`);
  const integers = (value: PickleValue | undefined): number[] => {
    if (Array.isArray(value) && value.every(isCount)) return value as number[];
    throw bad("a tensor's shape is not a list of whole numbers");
  };
  const meaning: PickleMeaning = {
    allows: (name) => ALLOWED.includes(name),
    call(name, args) {
      if (name === "collections OrderedDict") return new Map();
      if (name === "torch._utils _rebuild_parameter") return args[0];
      if (name !== "torch._utils _rebuild_tensor_v2") return undefined;
      const [storage, offset, shape, strides] = args;
      if (!(storage instanceof Storage) || !isCount(offset)) throw bad("a tensor has no storage");
      return new Tensor(storage, offset as number, integers(shape), integers(strides));
    },
    persistent(id) {
      const [kind, type, key] = Array.isArray(id) ? id : [];
      const name = (type as { name?: string } | undefined)?.name ?? "";
      const known = Object.hasOwn(STORAGES, name) ? STORAGES[name] : undefined;
      if (kind !== "storage" || typeof key !== "string") throw bad("it refers to no storage");
      if (!known) throw bad(`a tensor is stored as ${name.slice(0, 200) || "an unknown type"}`);
      return new Storage(known.dtype, known.width, key);
    },
  };
  const dictionary = readPickle(bytes, path, meaning);
  const tensors = new Map<string, Tensor>();
  if (!(dictionary instanceof Map)) throw bad("it is not a dictionary of tensors");
  for (const [name, tensor] of dictionary) {
    if (typeof name !== "string") throw bad("one of its entries has no name");
    if (!(tensor instanceof Tensor)) throw bad(`its entry ${name.slice(0, 200)} is not a tensor`);
    tensors.set(name, tensor);
  }
  return tensors;
}

function tensorValues(
  zip: ZipArchive,
  folder: string,
  name: string,
  tensor: Tensor,
): Float32Array {
  const { storage, offset, elements } = tensor;
  const member = `${folder}data/${storage.key}`;
  const bad = (what: string) => new UserError(`Cannot load ${zip.path}: tensor "${name}" ${what}`);
  if (!tensor.contiguous) throw bad(`has the strides [${tensor.strides}], not row-major ones`);
  const end = (offset + elements) * storage.width;
  if (end > zip.size(member)) {
    throw bad(`needs ${end} bytes of its storage, which has ${zip.size(member)}`);
  }
  const buffer = zip.read(member).buffer.slice(offset * storage.width, end);
  switch (storage.dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "F64":
      return Float32Array.from(new Float64Array(buffer));
    case "F16":
      return Float32Array.from(new Float16Array(buffer));
    default: { // BF16: the upper half of a float32
      const halves = new Uint16Array(buffer);
      return new Float32Array(Uint32Array.from(halves, (h) => h << 16).buffer);
    }
  }
}
