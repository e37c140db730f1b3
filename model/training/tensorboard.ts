/**
 * TensorBoard event files: TFRecords of `Event` messages, with scalars as `simple_value`. The record
 * format is tensorflow/core/lib/io/record_writer.h's, the messages are event.proto and summary.proto.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";

/** One step's scalars. */
interface ScalarEvent {
  /** Seconds since 1970. */
  wallTime: number;
  step: number;
  scalars: Record<string, number>;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/** CRC-32C (Castagnoli) of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (CRC_TABLE[(c ^ byte) & 0xff] ?? 0) ^ (c >>> 8);
  return ~c >>> 0;
}

/** A checksum of data that itself holds checksums: rotated and offset, as the format has it. */
const masked = (bytes: Uint8Array) => {
  const c = crc32c(bytes);
  return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
};

/** Bytes of a protocol-buffer message under construction. */
class Message {
  readonly #bytes: number[] = [];

  #varint(value: number): void {
    for (; value >= 128; value = Math.floor(value / 128)) this.#bytes.push(value % 128 + 128);
    this.#bytes.push(value);
  }
  #fixed(size: number, set: (view: DataView) => void): void {
    const view = new DataView(new ArrayBuffer(size));
    set(view);
    this.#bytes.push(...new Uint8Array(view.buffer));
  }
  integer(field: number, value: number): this {
    this.#varint(field << 3);
    this.#varint(value);
    return this;
  }
  double(field: number, value: number): this {
    this.#varint(field << 3 | 1);
    this.#fixed(8, (view) => view.setFloat64(0, value, true));
    return this;
  }
  float(field: number, value: number): this {
    this.#varint(field << 3 | 5);
    this.#fixed(4, (view) => view.setFloat32(0, value, true));
    return this;
  }
  bytes(field: number, value: Uint8Array): this {
    this.#varint(field << 3 | 2);
    this.#varint(value.length);
    this.#bytes.push(...value);
    return this;
  }
  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }
  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, masked(data), true);
  return out;
}

/** The record that an event file begins with. */
export function encodeFileVersion(wallTime: number): Uint8Array {
  return record(new Message().double(1, wallTime).text(3, "brain.Event:2").finish());
}

/** One record. */
export function encodeScalars({ wallTime, step, scalars }: ScalarEvent): Uint8Array {
  const summary = new Message();
  for (const [tag, value] of Object.entries(scalars)) {
    summary.bytes(1, new Message().text(1, tag).float(2, value).finish());
  }
  const event = new Message().double(1, wallTime).integer(2, step).bytes(5, summary.finish());
  return record(event.finish());
}

/** A record's place in a file, and its event. */
interface LocatedEvent extends ScalarEvent {
  /** Offset of the byte after the record. */
  end: number;
}

/**
 * Reads an event file's scalars, with the checksums checked. A record cut short by a kill ends it.
 * @throws {UserError} naming the file and the offset of a damaged record.
 */
export function readEvents(bytes: Uint8Array, file: string): LocatedEvent[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const events: LocatedEvent[] = [];
  for (let at = 0; at + 16 <= bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    const data = at + 12;
    const damaged = () =>
      new UserError(`Cannot read the event file ${file}: the record at byte ${at} is damaged`);
    if (view.getUint32(at + 8, true) !== masked(bytes.subarray(at, at + 8))) throw damaged();
    if (data + length + 4 > bytes.length) break;
    const body = bytes.subarray(data, data + length);
    if (view.getUint32(data + length, true) !== masked(body)) throw damaged();
    at = data + length + 4;
    events.push({ ...decodeEvent(body), end: at });
  }
  return events;
}

/** A decoded field: a number for varints and fixed widths, bytes for the rest. */
function* fields(bytes: Uint8Array): Generator<[field: number, value: number | Uint8Array]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let value = 0;
    let factor = 1;
    for (;; factor *= 128) {
      const byte = bytes[at++] ?? fail("a number is cut short");
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const field = key >>> 3;
    switch (key & 7) {
      case 0:
        yield [field, varint()];
        break;
      case 1:
        yield [field, view.getFloat64(at, true)];
        at += 8;
        break;
      case 5:
        yield [field, view.getFloat32(at, true)];
        at += 4;
        break;
      default: {
        const length = varint();
        yield [field, bytes.subarray(at, at + length)];
        at += length;
      }
    }
  }
}

function decodeEvent(bytes: Uint8Array): ScalarEvent {
  const event: ScalarEvent = { wallTime: 0, step: 0, scalars: {} };
  for (const [field, value] of fields(bytes)) {
    if (field === 1) event.wallTime = value as number;
    else if (field === 2) event.step = value as number;
    else if (field === 5) {
      for (const [, one] of fields(value as Uint8Array)) {
        const [[, tag], [, scalar]] = [...fields(one as Uint8Array)] as [
          [number, Uint8Array],
          [number, number],
        ];
        event.scalars[new TextDecoder().decode(tag)] = scalar;
      }
    }
  }
  return event;
}
