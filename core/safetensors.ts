/**
 * The safetensors format: an 8-byte header length, a JSON header, then the tensors' bytes, little
 * endian. Reading takes one tensor at a time, so a large model never lies in memory twice; writing
 * streams tensor by tensor into a file that appears whole or not at all.
 * Specification: github.com/huggingface/safetensors, section "Format".
 * @module
 */
import { messageOf, UserError } from "./errors.ts";
import { openAtomic } from "./files.ts";

/** Bytes of one element. */
const WIDTH = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

/** The element types of the format that this reader knows. */
export type Dtype = keyof typeof WIDTH;

/** A longer header than this is taken for a broken file (the format's own limit). */
const MAX_HEADER_BYTES = 100_000_000;

/** Where a tensor lies and how it is shaped. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** Product of the shape. */
  readonly elements: number;
  /** Absolute byte range in the file. */
  readonly begin: number;
  readonly end: number;
}

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

function parseHeader(
  path: string,
  size: number,
  read: (begin: number, end: number) => Uint8Array<ArrayBuffer>,
): { metadata: Record<string, string>; tensors: Map<string, TensorInfo> } {
  const broken = (what: string) =>
    new UserError(`Cannot read ${path}: it is not a whole safetensors file (${what})`);
  if (size < 8) throw broken(`${size} bytes`);
  const length = Number(new DataView(read(0, 8).buffer).getBigUint64(0, true));
  const start = 8 + length;
  if (length < 2 || length > MAX_HEADER_BYTES || start > size) {
    throw broken(`a header of ${length} bytes in a file of ${size}`);
  }
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(read(8, start)));
  } catch (error) {
    throw broken(`its header is not JSON: ${messageOf(error)}`);
  }
  if (!isRecord(header)) throw broken("its header is not a JSON object");
  const metadata = header.__metadata__ ?? {};
  if (!isRecord(metadata) || !Object.values(metadata).every((v) => typeof v === "string")) {
    throw broken("its __metadata__ is not a map of strings");
  }
  const list: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const at = (what: string) => broken(`tensor "${name}": ${what}`);
    if (!isRecord(entry)) throw at("its entry is not an object");
    const { dtype, shape, data_offsets: offsets } = entry;
    if (typeof dtype !== "string" || !Object.hasOwn(WIDTH, dtype)) {
      throw at(`unknown type ${JSON.stringify(dtype)}`);
    }
    if (!isCountList(shape)) throw at(`bad shape ${JSON.stringify(shape)}`);
    if (!isCountList(offsets) || offsets.length !== 2) {
      throw at(`bad data_offsets ${JSON.stringify(offsets)}`);
    }
    const elements = shape.reduce((a, b) => a * b, 1);
    const bytes = elements * WIDTH[dtype as Dtype], [begin, end] = offsets as [number, number];
    if (end - begin !== bytes) {
      throw at(`${end - begin} bytes where ${dtype} [${shape.join(", ")}] takes ${bytes}`);
    }
    list.push({
      name,
      dtype: dtype as Dtype,
      shape,
      elements,
      begin: start + begin,
      end: start + end,
    });
  }
  list.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = start;
  for (const t of list) {
    if (t.begin !== at) {
      throw broken(`tensor "${t.name}" starts at byte ${t.begin}, where byte ${at} is due`);
    }
    at = t.end;
  }
  if (at !== size) throw broken(`the tensors end at byte ${at}, the file at byte ${size}`);
  return {
    metadata: metadata as Record<string, string>,
    tensors: new Map(list.map((t) => [t.name, t])),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCountList = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

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
    const end = offset + shape.reduce((a, b) => a * b, 1) * WIDTH[dtype];
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
      if (values.BYTES_PER_ELEMENT !== WIDTH[dtype] || values.length !== elements) {
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
