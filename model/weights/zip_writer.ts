/**
 * Writing zip archives whose members are stored without compression, as PyTorch's files are: member by
 * member, with 64-bit places in the directory. PKWARE's APPNOTE, sections 4.3 and 4.5.
 * @module
 */
import { crc32 } from "node:zlib";
import { type AtomicFile, openAtomic } from "../../core/files.ts";

/** A member as the directory has it. */
interface Member {
  name: Uint8Array;
  size: number;
  crc: number;
  offset: number;
}

/** Values of a record: a count of bytes each, little-endian. */
function record(...fields: [bytes: 2 | 4 | 8, value: number][]): Uint8Array {
  const out = new Uint8Array(fields.reduce((sum, [bytes]) => sum + bytes, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else if (bytes === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += bytes;
  }
  return out;
}

/** Version 4.5 of the format, which has 64-bit sizes. */
const VERSION = 45;
/** 1 January 1980, the first day of zip's calendar: the same bytes whenever a file is written. */
const DATE = 0x21;
/** Stands for a value in the 64-bit field. */
const ELSEWHERE = 0xffffffff;

/** An archive under construction, which appears whole or not at all. */
export class ZipWriter {
  readonly #file: AtomicFile;
  readonly #members: Member[] = [];

  constructor(path: string) {
    this.#file = openAtomic(path);
  }

  /** Appends a member. @throws {RangeError} for one of 4 GB or more. */
  add(name: string, data: Uint8Array): void {
    if (data.length >= ELSEWHERE) throw new RangeError(`${name} is too large for one member`);
    const bytes = new TextEncoder().encode(name);
    const member = {
      name: bytes,
      size: data.length,
      crc: crc32(data),
      offset: this.#file.size,
    };
    this.#members.push(member);
    this.#file.write(record([4, 0x04034b50], [2, VERSION], ...common(member), [2, 0]));
    this.#file.write(bytes);
    this.#file.write(data);
  }

  /** Writes the directory and gives the file its name. */
  commit(): void {
    const file = this.#file;
    const begin = file.size;
    for (const member of this.#members) {
      file.write(record(
        [4, 0x02014b50],
        [2, VERSION],
        [2, VERSION],
        ...common(member),
        [2, 12], // bytes of the 64-bit field
        [2, 0],
        [2, 0],
        [2, 0],
        [4, 0],
        [4, ELSEWHERE],
      ));
      file.write(member.name);
      file.write(record([2, 1], [2, 8], [8, member.offset]));
    }
    const end = file.size;
    const count = this.#members.length;
    file.write(record(
      [4, 0x06064b50],
      [8, 44],
      [2, VERSION],
      [2, VERSION],
      [4, 0],
      [4, 0],
      [8, count],
      [8, count],
      [8, end - begin],
      [8, begin],
    ));
    file.write(record([4, 0x07064b50], [4, 0], [8, end], [4, 1]));
    const small = Math.min(count, 0xffff);
    const size = Math.min(end - begin, ELSEWHERE);
    const place = Math.min(begin, ELSEWHERE);
    file.write(
      record([4, 0x06054b50], [2, 0], [2, 0], [2, small], [2, small], [4, size], [4, place], [
        2,
        0,
      ]),
    );
    file.commit();
  }

  /** Removes what was written. Harmless after commit. */
  abort(): void {
    this.#file.abort();
  }
}

/** What a member's own header and the directory say alike: no flags, no compression, sizes. */
const common = ({ name, size, crc }: Member): [2 | 4, number][] => [
  [2, 0],
  [2, 0],
  [2, 0],
  [2, DATE],
  [4, crc],
  [4, size],
  [4, size],
  [2, name.length],
];
