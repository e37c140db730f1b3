/**
 * The safetensors format: an 8-byte header length, a JSON header, then the tensors' bytes, little
 * endian. Reading takes one tensor at a time, so a large model never lies in memory twice; writing
 * streams tensor by tensor into a file that appears whole or not at all.
 * Specification: github.com/huggingface/safetensors, section "Format".
 * @module
 */
import { messageOf, UserError } from "./errors.ts";
import { type Dtype, parseHeader, type TensorInfo } from "./safetensors_header.ts";

export type { TensorToWrite } from "./safetensors_writer.ts";
export {
  createSafetensors,
  type SafetensorsWriter,
  writeSafetensors,
} from "./safetensors_writer.ts";

/** An open file; every getter reads from the disk and hands out memory of its own. */
export interface SafetensorsFile {
  readonly path: string;
  /** The header's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every tensor, in the order of its bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** @throws {UserError} naming file and tensor, where there is no such tensor. */
  info(name: string): TensorInfo;
  /** The bytes as stored. */
  bytes(name: string): Uint8Array<ArrayBuffer>;
  /** F64, F32, F16 or BF16 as float32 (F64 is rounded). @throws {UserError} for other types. */
  floats(name: string): Float32Array<ArrayBuffer>;
  /** F64, F32, F16 or BF16 as float64, exactly. @throws {UserError} for other types. */
  doubles(name: string): Float64Array<ArrayBuffer>;
  /** Any integer type or BOOL as int32. @throws {UserError} for other types or a value beyond. */
  integers(name: string): Int32Array<ArrayBuffer>;
  /** Any integer type or BOOL as int64. @throws {UserError} for other types. */
  bigIntegers(name: string): BigInt64Array<ArrayBuffer>;
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Opens a file and checks its whole header: sizes, shapes, and that the tensors cover the data
 * without overlap or gap.
 * @throws {UserError} naming the file, the tensor and what is wrong.
 */
export function openSafetensors(path: string): SafetensorsFile {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "there is no such file" : messageOf(error);
    throw new UserError(`Cannot read the tensors of ${path}: ${why}`);
  }
  const read = (begin: number, end: number): Uint8Array<ArrayBuffer> => {
    const bytes = new Uint8Array(end - begin);
    file.seekSync(begin, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) {
      const n = file.readSync(bytes.subarray(at));
      if (n === null) throw new UserError(`Cannot read ${path}: it ended early, at byte ${at}`);
      at += n;
    }
    return bytes;
  };
  try {
    const { size, isFile } = file.statSync();
    if (!isFile) throw new UserError(`Cannot read the tensors of ${path}: it is no file`);
    const { metadata, tensors } = parseHeader(path, size, read);
    return lazyFile(path, metadata, tensors, read, file);
  } catch (error) {
    file.close();
    throw error;
  }
}

function lazyFile(
  path: string,
  metadata: Record<string, string>,
  tensors: Map<string, TensorInfo>,
  read: (begin: number, end: number) => Uint8Array<ArrayBuffer>,
  file: Deno.FsFile,
): SafetensorsFile {
  let open = true;
  const info = (name: string) => {
    const found = tensors.get(name);
    if (!found) throw new UserError(`Cannot read ${path}: it has no tensor "${name}"`);
    return found;
  };
  const wrong = (t: TensorInfo, wanted: string) =>
    new UserError(
      `Cannot read tensor "${t.name}" of ${path}: its type is ${t.dtype}, not ${wanted}`,
    );
  const bytes = (name: string) => {
    const { begin, end } = info(name);
    return read(begin, end);
  };
  const floating = (name: string) => {
    const t = info(name);
    const { buffer } = bytes(name);
    switch (t.dtype) {
      case "F64":
        return new Float64Array(buffer);
      case "F32":
        return new Float32Array(buffer);
      case "F16":
        return new Float16Array(buffer);
      case "BF16":
        return decodeBfloat16(new Uint16Array(buffer));
      default:
        throw wrong(t, "floating point");
    }
  };
  const integral = (name: string) => {
    const t = info(name);
    const { buffer } = bytes(name);
    const view = integerView(t.dtype, buffer);
    if (!view) throw wrong(t, "an integer");
    return view;
  };
  const close = () => {
    if (open) file.close();
    open = false;
  };
  return {
    path,
    metadata,
    tensors,
    info,
    bytes,
    floats(name) {
      const values = floating(name);
      return values instanceof Float32Array ? values : Float32Array.from(values);
    },
    doubles(name) {
      const values = floating(name);
      return values instanceof Float64Array ? values : Float64Array.from(values);
    },
    integers(name) {
      const values = integral(name);
      if (values instanceof Int32Array) return values;
      const out = new Int32Array(values.length);
      for (let i = 0; i < out.length; i++) {
        out[i] = Number(values[i]);
        if (out[i] !== Number(values[i])) {
          throw new UserError(
            `Cannot read tensor "${name}" of ${path}: element ${i} is ${values[i]}, beyond 32 bits`,
          );
        }
      }
      return out;
    },
    bigIntegers(name) {
      const values = integral(name);
      if (values instanceof BigInt64Array) return values;
      return BigInt64Array.from(values as ArrayLike<number>, BigInt);
    },
    close,
    [Symbol.dispose]: close,
  };
}

function integerView(dtype: Dtype, buffer: ArrayBuffer) {
  switch (dtype) {
    case "I64":
      return new BigInt64Array(buffer);
    case "U64":
      return new BigUint64Array(buffer);
    case "I32":
      return new Int32Array(buffer);
    case "U32":
      return new Uint32Array(buffer);
    case "I16":
      return new Int16Array(buffer);
    case "U16":
      return new Uint16Array(buffer);
    case "I8":
      return new Int8Array(buffer);
    case "U8":
    case "BOOL":
      return new Uint8Array(buffer);
    default:
      return undefined;
  }
}

/** bfloat16 is the upper half of a float32. */
function decodeBfloat16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = (halves[i] ?? 0) << 16;
  return new Float32Array(words.buffer);
}
