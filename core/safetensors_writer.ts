/**
 * Writing safetensors: the header first, since sizes are known, then tensor by tensor; the file appears
 * whole or not at all. The format is said in safetensors.ts.
 * @module
 */
import { UserError } from "./errors.ts";
import { openAtomic } from "./files.ts";
import { type Dtype, ELEMENT_BYTES } from "./safetensors_header.ts";

/** The arrays whose type says how they are stored. */
type TensorData =
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

/** What is known of a tensor before its values. */
type TensorHeading = Omit<TensorToWrite, "data">;

/** A file under construction; see {@linkcode createSafetensors}. */
export interface SafetensorsWriter {
  /** Appends the values of the next tensor. @throws {UserError} where they do not fill its shape. */
  write(values: TensorData): void;
  /** Gives the file its name. @throws {RangeError} before the last tensor. */
  commit(): void;
  /** Removes what was written. Harmless after commit. */
  abort(): void;
}

/**
 * Begins a file: its header, padded with spaces to 8 bytes. The tensors' values follow in the order of
 * the list.
 * @throws {UserError} for a name given twice.
 */
export function createSafetensors(
  path: string,
  list: readonly TensorHeading[],
  metadata?: Record<string, string>,
): SafetensorsWriter {
  const fail = (name: string, what: string) =>
    new UserError(`Cannot write tensor "${name}" to ${path}: ${what}`);
  const header: [string, unknown][] = [];
  if (metadata) header.push(["__metadata__", metadata]);
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
  let next = 0;
  try {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
    file.write(length);
    file.write(text);
  } catch (error) {
    file.abort();
    throw error;
  }
  return {
    write(values) {
      const tensor = list[next];
      if (!tensor) throw new RangeError(`${path} has ${list.length} tensors and no more`);
      const { name, dtype, shape } = tensor;
      const elements = shape.reduce((a, b) => a * b, 1);
      if (values.BYTES_PER_ELEMENT !== ELEMENT_BYTES[dtype] || values.length !== elements) {
        throw fail(
          name,
          `${values.constructor.name} of ${values.length} for ${dtype} [${shape.join(", ")}]`,
        );
      }
      file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      next++;
    },
    commit() {
      if (next < list.length) throw new RangeError(`${path} lacks ${list.length - next} tensors`);
      file.commit();
    },
    abort: () => file.abort(),
  };
}

/**
 * Writes a file: the tensors in the given order, or sorted by name.
 * @throws {UserError} for a name given twice, or data that does not fill the shape.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: { metadata?: Record<string, string>; sorted?: boolean } = {},
): void {
  const list = [...tensors];
  if (options.sorted) list.sort((a, b) => a.name < b.name ? -1 : 1);
  const file = createSafetensors(path, list, options.metadata);
  try {
    for (const { data } of list) file.write(typeof data === "function" ? data() : data);
    file.commit();
  } catch (error) {
    file.abort();
    throw error;
  }
}
