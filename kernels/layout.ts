/**
 * How matrices lie in device memory: panels of 32 columns.
 *
 * Element (r, c) of an (R, C) matrix is at `((c >> 5) * stride + r) * 32 + (c & 31)` floats, where
 * `stride` is R rounded up to a multiple of 32 and C is padded with zero columns to a multiple of 32.
 * One row of a panel is one 128-byte line. Every kernel relies on the padding being zero (or, for
 * padding rows, at least finite) and none writes to padding rows.
 *
 * One layout serves the three matrix products (forward A.B^T, input gradient A.B, weight gradient
 * A^T.B), on CPU drivers as a linear texture and on GPUs as storage buffers, so that an operand is
 * never rearranged. Elements are f32 or, where a matrix says so, f16: the same layout at half the bytes.
 * @module
 */

/** Columns of a panel. */
export const PANEL = 32;

/** `n` rounded up to a multiple of {@linkcode PANEL}. */
export const padded = (n: number): number => Math.ceil(n / PANEL) * PANEL;

/** A piece of a device buffer. Offset and size in bytes; the offset is a multiple of 256. */
export interface Region {
  /** The buffer that it lies in. */
  buffer: GPUBuffer;
  /** Where it begins, in bytes. */
  offset: number;
  /** How long it is, in bytes. */
  size: number;
}

/** A matrix in panel layout. */
export interface Matrix {
  /** Where its values lie. */
  region: Region;
  /** Rows in use. */
  rows: number;
  /** Columns in use. */
  cols: number;
  /** Rows allocated: the distance between panels, in rows. */
  stride: number;
  /** Elements are f32 unless said otherwise. */
  type?: "f16";
  /** Elements that are f32 reach 2^exponent times f16's range: read where a product computes in f16. */
  exponent?: number;
}

/** Bytes of an element of such a matrix. */
export const elementBytes = (matrix: Pick<Matrix, "type">): number => matrix.type === "f16" ? 2 : 4;

/** Bytes of a panel of 32 columns. */
export const panelBytes = (matrix: Pick<Matrix, "type" | "stride">): number =>
  matrix.stride * PANEL * elementBytes(matrix);

/** Elements that an (rows, cols) matrix takes in panel layout. */
export const matrixFloats = (rows: number, cols: number): number => padded(rows) * padded(cols);

/** The index of element (r, c) in a panel matrix with the given row stride. */
export const panelIndex = (r: number, c: number, stride: number): number =>
  ((c >> 5) * stride + r) * PANEL + (c & 31);

/** Part of a region, in bytes from its start. */
export const subregion = (region: Region, offset: number, size: number): Region => ({
  buffer: region.buffer,
  offset: region.offset + offset,
  size,
});

/** Columns [from, from + cols) of a matrix; `from` is a multiple of 32. Shares memory. */
export function columns(matrix: Matrix, from: number, cols: number): Matrix {
  if (from % PANEL) throw new RangeError(`Column ${from} does not start a panel`);
  const bytes = panelBytes(matrix);
  return {
    ...matrix,
    region: subregion(matrix.region, from / PANEL * bytes, padded(cols) / PANEL * bytes),
    cols,
  };
}

/** Rows [from, from + rows) of a matrix; `from` is a multiple of 32. Shares memory. */
export function rowsOf(matrix: Matrix, from: number, rows: number): Matrix {
  if (from % PANEL) throw new RangeError(`Row ${from} is no multiple of ${PANEL}`);
  const skip = from * PANEL * elementBytes(matrix);
  const { region } = matrix;
  return { ...matrix, region: subregion(region, skip, region.size - skip), rows };
}

/**
 * Row-major (rows, cols) -> panels. `rowOf` places row r of the source elsewhere (padding between
 * the parts of a fused weight); `stride` is the destination's rows, a multiple of 32.
 */
export function toPanels(
  source: Float32Array,
  rows: number,
  cols: number,
  stride: number = padded(rows),
  rowOf: (row: number) => number = (r) => r,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(stride * padded(cols));
  for (let r = 0; r < rows; r++) {
    const to = rowOf(r);
    for (let c = 0; c < cols; c += PANEL) {
      const n = Math.min(PANEL, cols - c);
      out.set(
        source.subarray(r * cols + c, r * cols + c + n),
        ((c / PANEL) * stride + to) * PANEL,
      );
    }
  }
  return out;
}

/** Panels -> row-major (rows, cols); the inverse of {@linkcode toPanels}. */
export function fromPanels(
  panels: Float32Array,
  rows: number,
  cols: number,
  stride: number = padded(rows),
  rowOf: (row: number) => number = (r) => r,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const from = rowOf(r);
    for (let c = 0; c < cols; c += PANEL) {
      const at = ((c / PANEL) * stride + from) * PANEL;
      const n = Math.min(PANEL, cols - c);
      out.set(panels.subarray(at, at + n), r * cols + c);
    }
  }
  return out;
}
