/**
 * Writing GGUF, the file that llama.cpp loads: a header of keys and values, one of tensors, then the
 * tensors' bytes, each at a multiple of 32. Source: ggml's docs/gguf.md, version 3.
 * @module
 */
import { type AtomicFile, openAtomic } from "../../core/files.ts";

/** How a tensor's values are stored: as they are, in f16, or in blocks of 32 of eight bits and a scale. */
export type GgufType = "f32" | "f16" | "q8_0";

/** Numbers of the types in the format. */
const TYPES: Record<GgufType, number> = { f32: 0, f16: 1, q8_0: 8 };

/** Values of a block of q8_0, and its bytes: the scale in f16, then one byte each. */
const BLOCK = 32;
const BLOCK_BYTES = 2 + BLOCK;

/** A value of the header. */
export type GgufValue =
  | { type: "u32" | "f32"; value: number }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | { type: "i32[]"; value: readonly number[] }
  | { type: "string[]"; value: readonly string[] };

/** A tensor of the file. */
export interface GgufTensor {
  name: string;
  /** Extents, the slowest first, as elsewhere in this program; the file has them the other way round. */
  shape: readonly number[];
  type: GgufType;
}

const ALIGNMENT = 32;
const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const valuesOf = ({ shape }: GgufTensor) => shape.reduce((a, b) => a * b, 1);

/** Bytes of a tensor. @throws {RangeError} where its rows are no whole blocks. */
function bytesOf(tensor: GgufTensor): number {
  const values = valuesOf(tensor);
  if (tensor.type === "f32") return 4 * values;
  if (tensor.type === "f16") return 2 * values;
  const row = tensor.shape.at(-1) ?? 1;
  if (row % BLOCK) throw new RangeError(`Rows of ${tensor.name} are no whole blocks of ${BLOCK}`);
  return values / BLOCK * BLOCK_BYTES;
}

/** Bytes of a header under construction. */
class Header {
  readonly #bytes: number[] = [];

  u32(value: number): this {
    return this.#push(Uint32Array.of(value).buffer);
  }
  i32(value: number): this {
    return this.#push(Int32Array.of(value).buffer);
  }
  f32(value: number): this {
    return this.#push(Float32Array.of(value).buffer);
  }
  u64(value: number): this {
    return this.#push(BigUint64Array.of(BigInt(value)).buffer);
  }
  string(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).#push(bytes.slice().buffer);
  }
  #push(buffer: ArrayBuffer): this {
    for (const byte of new Uint8Array(buffer)) this.#bytes.push(byte);
    return this;
  }

  /** A value, its type before it. */
  value(entry: GgufValue): this {
    switch (entry.type) {
      case "u32":
        return this.u32(4).u32(entry.value);
      case "f32":
        return this.u32(6).f32(entry.value);
      case "bool":
        this.u32(7);
        this.#bytes.push(Number(entry.value));
        return this;
      case "string":
        return this.u32(8).string(entry.value);
      case "i32[]":
        this.u32(9).u32(5).u64(entry.value.length);
        for (const value of entry.value) this.i32(value);
        return this;
      case "string[]":
        this.u32(9).u32(8).u64(entry.value.length);
        for (const value of entry.value) this.string(value);
        return this;
    }
  }

  /** The bytes so far, filled up with zeros. */
  bytes(): Uint8Array {
    const out = new Uint8Array(aligned(this.#bytes.length));
    out.set(this.#bytes);
    return out;
  }
}

/** A file under construction, which takes the values of its tensors one by one, in their order. */
export class GgufWriter {
  readonly #file: AtomicFile;
  readonly #tensors: readonly GgufTensor[];
  #next = 0;

  constructor(
    path: string,
    metadata: ReadonlyMap<string, GgufValue>,
    tensors: readonly GgufTensor[],
  ) {
    this.#tensors = tensors;
    const header = new Header().u32(0x46554747).u32(3).u64(tensors.length).u64(metadata.size);
    for (const [key, value] of metadata) header.string(key).value(value);
    let offset = 0;
    for (const tensor of tensors) {
      header.string(tensor.name).u32(tensor.shape.length);
      for (const extent of tensor.shape.toReversed()) header.u64(extent);
      header.u32(TYPES[tensor.type]).u64(offset);
      offset += aligned(bytesOf(tensor));
    }
    this.#file = openAtomic(path);
    this.#file.write(header.bytes());
  }

  /** Appends the values of the next tensor. */
  write(values: Float32Array): void {
    const tensor = this.#tensors[this.#next++];
    if (!tensor || valuesOf(tensor) !== values.length) {
      throw new RangeError(`${values.length} values come, not those of ${tensor?.name}`);
    }
    const bytes = encode(values, tensor.type);
    this.#file.write(bytes);
    this.#file.write(new Uint8Array(aligned(bytes.length) - bytes.length));
  }

  /** Gives the file its name. @throws {RangeError} before the last tensor. */
  commit(): void {
    if (this.#next < this.#tensors.length) throw new RangeError("The file lacks tensors");
    this.#file.commit();
  }

  /** Removes what was written. Harmless after commit. */
  abort(): void {
    this.#file.abort();
  }
}

/** Values as they are stored. */
function encode(values: Float32Array, type: GgufType): Uint8Array {
  if (type === "f32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (type === "f16") return new Uint8Array(Float16Array.from(values).buffer);
  const out = new Uint8Array(values.length / BLOCK * BLOCK_BYTES);
  const view = new DataView(out.buffer);
  for (let block = 0; block < values.length / BLOCK; block++) {
    const part = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    let largest = 0;
    for (const value of part) largest = Math.max(largest, Math.abs(value));
    const scale = Math.fround(largest / 127);
    view.setFloat16(block * BLOCK_BYTES, scale, true);
    const inverse = scale ? 1 / scale : 0;
    part.forEach((value, i) => {
      // Halves are rounded away from zero, as ggml rounds them.
      const rounded = Math.sign(value) * Math.round(Math.abs(value) * inverse);
      view.setInt8(block * BLOCK_BYTES + 2 + i, rounded);
    });
  }
  return out;
}
