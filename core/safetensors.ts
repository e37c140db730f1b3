/**
 * The safetensors format: an 8-byte header length, a JSON header, then the tensors' bytes, little
 * endian. Reading takes one tensor at a time, so a large model never lies in memory twice; writing
 * streams tensor by tensor into a file that appears whole or not at all.
 * Specification: github.com/huggingface/safetensors, section "Format".
 * @module
 */
import { messageOf, UserError } from "./errors.ts";
import { openAtomic } from "./files.ts";
import { type Dtype, ELEMENT_BYTES, parseHeader, type TensorInfo } from "./safetensors_header.ts";

export type { Dtype, TensorInfo } from "./safetensors_header.ts";

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
    const size = file.statSync().size;
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
    const t = info(name), { buffer } = bytes(name);
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
    const t = info(name), { buffer } = bytes(name);
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
        out[i] = Number(values[i]!);
        if (out[i] !== Number(values[i]!)) {
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
  for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16;
  return new Float32Array(words.buffer);
}

/** The arrays whose type says how they are stored. */
export type TensorData =
  | Float64Array
  | Float32Array
  | Float16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** A tensor to write. */
export interface TensorToWrite {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  /**
   * The values, or a function called when their turn comes (one tensor in memory at a time). Stored
   * bit for bit: the array's element width must be the type's (BF16 and BOOL: Uint16Array, Uint8Array).
   */
  data: TensorData | (() => TensorData);
}

/**
 * Writes a file: header padded with spaces to 8 bytes, then the tensors in the given order, or
 * sorted by name.
 * @throws {UserError} for a name given twice, or data that does not fill the shape.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: { metadata?: Record<string, string>; sorted?: boolean } = {},
): void {
  const fail = (name: string, what: string) =>
    new UserError(`Cannot write tensor "${name}" to ${path}: ${what}`);
  const list = [...tensors];
  if (options.sorted) list.sort((a, b) => a.name < b.name ? -1 : 1);
  const header: [string, unknown][] = [];
  if (options.metadata) header.push(["__metadata__", options.metadata]);
  const names = new Set(["__metadata__"]);
  let offset = 0;
  for (const { name, dtype, shape } of list) {
    if (names.has(name)) throw fail(name, "the name is taken");
    names.add(name);
    const end = offset + shape.reduce((a, b) => a * b, 1) * ELEMENT_BYTES[dtype];
    header.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = JSON.stringify(Object.fromEntries(header));
  let text = new TextEncoder().encode(json);
  if (text.length % 8) {
    const padded = new Uint8Array(text.length + 8 - text.length % 8).fill(0x20);
    padded.set(text);
    text = padded;
  }
  const file = openAtomic(path);
  try {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
    file.write(length);
    file.write(text);
    for (const { name, dtype, shape, data } of list) {
      const values = typeof data === "function" ? data() : data;
      const elements = shape.reduce((a, b) => a * b, 1);
      if (values.BYTES_PER_ELEMENT !== ELEMENT_BYTES[dtype] || values.length !== elements) {
        throw fail(
          name,
          `${values.constructor.name} of ${values.length} for ${dtype} [${shape.join(", ")}]`,
        );
      }
      file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    file.commit();
  } catch (error) {
    file.abort();
    throw error;
  }
}
