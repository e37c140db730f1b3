/**
 * NumPy's `.npy` format, version 1.0, one and two dimensions, little-endian integers.
 * The header is padded to 128 bytes, so that data begin aligned and a file can be mapped.
 * @module
 */
import { type AtomicFile, openAtomic, openForReading as openFile } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";

/** Bytes before the data in the files that this project writes. */
const NPY_HEADER_BYTES = 128;
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** Element types, as NumPy names them. */
type NpyType = "<u2" | "<u4";

/** The 128-byte header of an array. */
function npyHeader(type: NpyType, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const header = new Uint8Array(NPY_HEADER_BYTES).fill(0x20);
  header.set(MAGIC);
  header.set([1, 0, NPY_HEADER_BYTES - 10, 0], 6);
  header.set(new TextEncoder().encode(text), 10);
  header[NPY_HEADER_BYTES - 1] = 0x0a;
  return header;
}

/** What an `.npy` file says of itself. */
interface NpyLayout {
  type: string;
  shape: number[];
  /** Where the data begin, in bytes. */
  offset: number;
}

/**
 * Reads the header at the start of an open file.
 * @throws {UserError} naming `path` where it is no `.npy` file of C order.
 */
export function readNpyHeader(file: Deno.FsFile, path: string): NpyLayout {
  const fail = (what: string): never => {
    throw new UserError(`Cannot read the array ${path}: ${what}; make the file again`);
  };
  const start = readAt(file, 0, 12);
  if (start.length < 12 || MAGIC.some((byte, i) => start[i] !== byte)) fail("it is no .npy file");
  const wide = nth(start, 6) >= 2;
  const base = wide ? 12 : 10;
  const length = nth(start, 8) | nth(start, 9) << 8 |
    (wide ? nth(start, 10) << 16 | nth(start, 11) << 24 : 0);
  const text = new TextDecoder().decode(readAt(file, base, length));
  const type = /'descr': *'([^']*)'/.exec(text)?.[1] ?? fail("its header names no type");
  const shape = /'shape': *\(([^)]*)\)/.exec(text)?.[1] ?? fail("its header has no shape");
  if (/'fortran_order': *True/.test(text)) fail("it is in Fortran order");
  const sizes = shape.split(",").map((s) => s.trim()).filter(Boolean).map(Number);
  return { type, shape: sizes, offset: base + length };
}

/** The bytes `[offset, offset + length)` of a file, fewer where it ends before. */
export function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  file.seekSync(offset, Deno.SeekMode.Start);
  let at = 0;
  while (at < length) {
    const n = file.readSync(bytes.subarray(at));
    if (n === null) break;
    at += n;
  }
  return at === length ? bytes : bytes.slice(0, at);
}

/** The bytes of a typed array. */
export function bytesOf(array: Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** An `.npy` file written piece by piece; its first dimension is known at the end. */
export class NpyWriter {
  readonly #file: AtomicFile;
  #elements = 0;

  /** @param rowShape the dimensions after the first */
  constructor(
    readonly path: string,
    readonly type: NpyType,
    readonly rowShape: readonly number[] = [],
  ) {
    this.#file = openAtomic(path);
    this.#file.write(npyHeader(type, [0, ...rowShape]));
  }

  /** Appends elements. */
  write(data: Uint16Array | Uint32Array): void {
    this.#file.write(bytesOf(data));
    this.#elements += data.length;
  }

  /** Completes the header and puts the file in place; returns its size in bytes. */
  commit(): number {
    const row = this.rowShape.reduce((a, b) => a * b, 1);
    this.#file.writeAt(0, npyHeader(this.type, [this.#elements / row, ...this.rowShape]));
    const { size } = this.#file;
    this.#file.commit();
    return size;
  }

  /** Removes what was written. */
  abort(): void {
    this.#file.abort();
  }
}

/** Opens a file of a corpus for reading. @throws {UserError} saying `what` could not be read and why. */
export function openForReading(path: string, what: string): Deno.FsFile {
  return openFile(path, what, "run the pipeline again");
}
