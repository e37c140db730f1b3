/** The header of a safetensors file: what it may say, and whether it is true. @module */
import { messageOf, shown, UserError } from "./errors.ts";

/** Bytes of one element. */
export const ELEMENT_BYTES = {
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
export type Dtype = keyof typeof ELEMENT_BYTES;

/**
 * A longer header than this is taken for a broken file. The format allows 100 MB, which no model has
 * and which can hold more names than the runtime can parse.
 */
const MAX_HEADER_BYTES = 1 << 24;

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

/**
 * Reads and checks the header of a file of `size` bytes: sizes, shapes, and that the tensors cover
 * the data without overlap or gap.
 * @param read returns the bytes [begin, end) of the file.
 * @throws {UserError} naming the file, the tensor and what is wrong.
 */
export function parseHeader(
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
    if (typeof dtype !== "string" || !Object.hasOwn(ELEMENT_BYTES, dtype)) {
      throw at(`unknown type ${shown(dtype)}`);
    }
    if (!isCountList(shape)) throw at(`bad shape ${shown(shape)}`);
    if (!isCountList(offsets) || offsets.length !== 2) {
      throw at(`bad data_offsets ${shown(offsets)}`);
    }
    const elements = shape.reduce((a, b) => a * b, 1);
    const bytes = elements * ELEMENT_BYTES[dtype as Dtype];
    const [begin, end] = offsets as [number, number];
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
