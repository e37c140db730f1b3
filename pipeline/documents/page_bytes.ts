/**
 * The bytes of Parquet pages: a growing buffer with the encodings that pages are made of (the
 * format's specification: "Encodings" and, for headers, Thrift's compact protocol).
 * @module
 */
import { fail } from "../../core/errors.ts";

const encoder = new TextEncoder();

/** A growing buffer. */
export class PageBytes {
  bytes: Uint8Array = new Uint8Array(1 << 12);
  size = 0;

  /** Makes room for `more` bytes. */
  reserve(more: number): void {
    if (this.size + more <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.bytes.length, this.size + more));
    grown.set(this.bytes.subarray(0, this.size));
    this.bytes = grown;
  }

  /** What was written; valid until the next write. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.size);
  }

  /** Appends one byte. */
  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.size++] = value;
  }

  /** Appends a 32-bit number, the lowest byte first. */
  uint32(value: number): void {
    this.reserve(4);
    const { bytes } = this;
    const at = this.size;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
    this.size += 4;
  }

  /** Appends a 64-bit floating-point number, the lowest byte first. */
  double(value: number): void {
    this.reserve(8);
    new DataView(this.bytes.buffer).setFloat64(this.size, value, true);
    this.size += 8;
  }

  /** Appends an unsigned number in groups of seven bits. */
  varint(value: number): void {
    this.reserve(5);
    for (; value >= 0x80; value >>>= 7) this.bytes[this.size++] = value & 0x7f | 0x80;
    this.bytes[this.size++] = value;
  }

  /** Appends a text as PLAIN has it: its length in bytes, then UTF-8. */
  text(text: string): void {
    const { length } = text;
    this.reserve(4 + 3 * length);
    const { bytes } = this;
    const start = this.size + 4;
    let end = start;
    if (length <= 48) {
      for (let i = 0; i < length; i++) {
        const code = text.charCodeAt(i);
        if (code >= 0x80) {
          end = start;
          break;
        }
        bytes[end++] = code;
      }
    }
    if (end - start !== length) {
      end = start + encoder.encodeInto(text, bytes.subarray(start)).written;
    }
    this.uint32(end - start);
    this.size = end;
  }

  /** Appends flags as PLAIN has them: eight per byte, the first in the lowest bit. */
  flags(values: ArrayLike<number>, count: number): void {
    for (let i = 0; i < count; i += 8) {
      let byte = 0;
      for (let k = 0; k < 8 && i + k < count; k++) byte |= smallAt(values, i + k) << k;
      this.byte(byte);
    }
  }

  /**
   * Appends small numbers in the hybrid of run lengths and bit packing, without a length before.
   * @param width bits of each value, 1 to 24
   */
  hybrid(values: ArrayLike<number>, count: number, width: number): void {
    for (let i = 0; i < count;) {
      const run = runLength(values, i, count, count);
      if (run >= 8) {
        this.varint(run * 2);
        for (let bits = 0; bits < width; bits += 8) this.byte(smallAt(values, i) >>> bits & 0xff);
        i += run;
        continue;
      }
      let end = i;
      do end += 8; while (end < count && runLength(values, end, count, 8) < 8);
      this.varint((end - i) / 4 + 1);
      this.#pack(values, i, end, count, width);
      i = end;
    }
  }

  #pack(values: ArrayLike<number>, from: number, to: number, count: number, width: number): void {
    let held = 0;
    let bits = 0;
    this.reserve((to - from) * width / 8 + 4);
    for (let i = from; i < to; i++) {
      held |= (i < count ? smallAt(values, i) : 0) << bits;
      for (bits += width; bits >= 8; bits -= 8, held >>>= 8) this.bytes[this.size++] = held & 0xff;
    }
  }

  /**
   * Appends a Thrift struct of whole numbers, flags and structs of these, by field id.
   */
  struct(fields: ThriftFields): void {
    let last = 0;
    for (const [key, value] of Object.entries(fields)) {
      const id = Number(key);
      const delta = id - last << 4;
      last = id;
      if (typeof value === "boolean") this.byte(delta | (value ? 1 : 2));
      else if (typeof value === "number") {
        this.byte(delta | 5);
        this.varint((value << 1 ^ value >> 31) >>> 0);
      } else {
        this.byte(delta | 12);
        this.struct(value);
      }
    }
    this.byte(0);
  }
}

/** A struct's fields by their ids, which ascend by less than 16. */
interface ThriftFields {
  [id: number]: number | boolean | ThriftFields;
}

function runLength(values: ArrayLike<number>, at: number, count: number, limit: number): number {
  const value = values[at];
  const end = Math.min(count, at + limit);
  let i = at + 1;
  while (i < end && values[i] === value) i++;
  return i - at;
}

const smallAt = (values: ArrayLike<number>, i: number): number =>
  values[i] ?? fail(`there is no value ${i} among ${values.length}`);
