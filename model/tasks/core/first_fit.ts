/** Puts pieces of text into rows. @module */

/**
 * Puts each piece into the first row that has room for it, and begins a row where none has.
 * @param length tokens that a row holds
 * @throws {RangeError} for a piece that is longer than a row
 */
export function firstFit<T extends { tokens: ArrayLike<number> }>(
  pieces: readonly T[],
  length: number,
): T[][] {
  const rows: { used: number; pieces: T[] }[] = [];
  for (const piece of pieces) {
    const size = piece.tokens.length;
    if (size > length) throw new RangeError(`${size} tokens do not fit a row of ${length}`);
    let row = rows.find((r) => r.used + size <= length);
    if (!row) {
      row = { used: 0, pieces: [] };
      rows.push(row);
    }
    row.pieces.push(piece);
    row.used += size;
  }
  return rows.map((row) => row.pieces);
}
