/**
 * Reading members of a zip archive that are stored without compression, one at a time, zip64
 * included: what PyTorch's files are. PKWARE's APPNOTE, sections 4.3 and 4.5.
 * @module
 */
import { crc32 } from "node:zlib";
import { messageOf, UserError } from "../../core/errors.ts";

/** An open archive. */
export interface ZipArchive {
  readonly path: string;
  readonly names: readonly string[];
  /** The size of a member in bytes. */
  size(name: string): number;
  /** A member's bytes. @throws {UserError} where its checksum is wrong. */
  read(name: string): Uint8Array<ArrayBuffer>;
  close(): void;
}

interface Member {
  offset: number;
  size: number;
  crc: number;
}

/**
 * Opens an archive.
 * @throws {UserError} naming the file where it is no such archive, or a member is compressed.
 */
export function openZip(path: string): ZipArchive {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const broken = (what: string) => new UserError(`Cannot read ${path}: ${what}`);
  const { size: whole, isFile } = file.statSync();
  const read = (begin: number, length: number) => {
    // Numbers of the file's own: none is believed before it is compared with the file's size.
    const inside = Number.isSafeInteger(begin) && Number.isSafeInteger(length) && begin >= 0 &&
      length >= 0 && begin + length <= whole;
    if (!inside) throw broken(`it points to byte ${begin + length}, and has ${whole} bytes`);
    const bytes = new Uint8Array(length);
    file.seekSync(begin, Deno.SeekMode.Start);
    for (let at = 0; at < length;) {
      const n = file.readSync(bytes.subarray(at));
      if (n === null) throw broken("it ends early");
      at += n;
    }
    return bytes;
  };
  try {
    if (!isFile) throw broken("it is no file");
    const members = readDirectory(whole, read, broken);
    const find = (name: string) => {
      const member = members.get(name);
      if (!member) throw broken(`it has no member ${name}`);
      return member;
    };
    return {
      path,
      names: [...members.keys()],
      size: (name) => find(name).size,
      read(name) {
        const { offset, size, crc } = find(name);
        const head = new DataView(read(offset, 30).buffer);
        // The local header has its own lengths of name and extra field.
        const begin = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
        const bytes = read(begin, size);
        if (crc32(bytes) !== crc) throw broken(`its member ${name} is damaged`);
        return bytes;
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readDirectory(
  size: number,
  read: (begin: number, length: number) => Uint8Array<ArrayBuffer>,
  broken: (what: string) => UserError,
): Map<string, Member> {
  const tail = read(Math.max(0, size - 65_557), Math.min(size, 65_557));
  const view = new DataView(tail.buffer);
  let end = tail.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw broken("it is not a zip archive, as PyTorch writes since version 1.6");
  let length = view.getUint32(end + 12, true);
  let begin = view.getUint32(end + 16, true);
  const locator = end - 20;
  if (locator >= 0 && view.getUint32(locator, true) === 0x07064b50) {
    const record = new DataView(read(Number(view.getBigUint64(locator + 8, true)), 56).buffer);
    length = Number(record.getBigUint64(40, true));
    begin = Number(record.getBigUint64(48, true));
  }
  const bytes = read(begin, length);
  const entries = new DataView(bytes.buffer);
  const members = new Map<string, Member>();
  for (let at = 0; at + 46 <= length && entries.getUint32(at, true) === 0x02014b50;) {
    const nameLength = entries.getUint16(at + 28, true);
    const extra = entries.getUint16(at + 30, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    if (entries.getUint16(at + 10, true) !== 0) throw broken(`its member ${name} is compressed`);
    const fields = at + 46 + nameLength;
    if (fields + extra > length) throw broken(`the entry of its member ${name} ends early`);
    members.set(name, {
      ...zip64Values(
        new DataView(bytes.buffer, fields, extra),
        () => broken(`the sizes of its member ${name} are missing`),
        {
          size: entries.getUint32(at + 24, true),
          offset: entries.getUint32(at + 42, true),
        },
      ),
      crc: entries.getUint32(at + 16, true),
    });
    at = fields + extra + entries.getUint16(at + 32, true);
  }
  return members;
}

/**
 * Sizes and offsets of 0xffffffff stand in a member's zip64 field, in this order.
 * @param view the member's extra fields
 */
function zip64Values(
  view: DataView,
  broken: () => UserError,
  { size, offset }: { size: number; offset: number },
): { size: number; offset: number } {
  for (let at = 0; at + 4 <= view.byteLength;) {
    const id = view.getUint16(at, true);
    const end = at + 4 + view.getUint16(at + 2, true);
    let value = at + 4;
    const next = () => {
      if (value + 8 > Math.min(end, view.byteLength)) throw broken();
      value += 8;
      return Number(view.getBigUint64(value - 8, true));
    };
    if (id === 1) {
      if (size === 0xffffffff) {
        size = next();
        next(); // the compressed size, which is the same
      }
      if (offset === 0xffffffff) offset = next();
    }
    at = end;
  }
  return { size, offset };
}
