/**
 * Packing: documents of many lengths into rows of one length.
 *
 * Best fit, longest first (Ding et al. 2024, arXiv 2404.10830): each piece goes into the fullest
 * row that still has room for it. Rows are found by a bit set over the room left, so N pieces in
 * rows of length L take O(N L / 32) at worst and nearly O(N) in fact.
 * @module
 */
import { fail } from "../../core/errors.ts";
import { nth, uint32At } from "../../core/nth.ts";

/** How documents become rows. */
export type PackingMethod = "best-fit" | "concatenate" | "one-per-row";
/** The methods, the default first. */
export const PACKING_METHODS: readonly PackingMethod[] = [
  "best-fit",
  "concatenate",
  "one-per-row",
];

/** A piece of a document in a row. */
export interface Placement {
  /** The document's number in the window. */
  document: number;
  /** Which piece of the document: 0, or more where it is longer than a row. */
  chunk: number;
  /** Where the piece begins in the document. */
  from: number;
  /** The piece's column in its row. */
  start: number;
  length: number;
}

/**
 * Packs the documents of a window. Pieces after the first of a document always begin a row: a row's
 * first column is the one place, besides an end-of-text token, where the model starts afresh.
 * @param lengths of the documents in tokens, each at least 1
 * @param rowLength the sequence length
 * @returns the rows' pieces, by column
 */
export function pack(
  lengths: ArrayLike<number>,
  rowLength: number,
  method: PackingMethod = "best-fit",
): Placement[][] {
  if (method === "concatenate") return concatenate(lengths, rowLength);
  const rows: Placement[][] = [];
  const room: number[] = [];
  const whole: number[] = [];
  for (let document = 0; document < lengths.length; document++) {
    const length = lengthOf(lengths, document);
    if (length <= rowLength) {
      if (method === "best-fit") whole.push(document);
      else rows.push([{ document, chunk: 0, from: 0, start: 0, length }]);
      continue;
    }
    for (let from = 0, chunk = 0; from < length; from += rowLength, chunk++) {
      const piece = Math.min(rowLength, length - from);
      rows.push([{ document, chunk, from, start: 0, length: piece }]);
    }
  }
  if (method === "one-per-row") return rows;
  for (const row of rows) room.push(rowLength - nth(row, 0).length);
  bestFit(rows, room, whole, lengths, rowLength);
  return rows;
}

/** Puts whole documents into rows, longest first, opening rows as needed. */
function bestFit(
  rows: Placement[][],
  room: number[],
  documents: number[],
  lengths: ArrayLike<number>,
  rowLength: number,
): void {
  const byRoom = new RowsByRoom(rowLength);
  room.forEach((r, row) => byRoom.add(row, r));
  for (const document of longestFirst(documents, lengths, rowLength)) {
    const length = lengthOf(lengths, document);
    let row = byRoom.take(length);
    if (row < 0) row = rows.push([]) - 1;
    const left = room[row] ?? rowLength; // a new row is empty
    nth(rows, row).push({ document, chunk: 0, from: 0, start: rowLength - left, length });
    room[row] = left - length;
    byRoom.add(row, left - length);
  }
}

const lengthOf = (lengths: ArrayLike<number>, document: number): number =>
  lengths[document] ?? fail(`there is no document ${document} among ${lengths.length}`);

/** Sorted by length, longest first, by counting; equal lengths keep their order. */
function longestFirst(
  documents: number[],
  lengths: ArrayLike<number>,
  longest: number,
): Uint32Array {
  const places = new Uint32Array(longest + 2);
  for (const d of documents) {
    const after = longest - lengthOf(lengths, d) + 1;
    places[after] = uint32At(places, after) + 1;
  }
  for (let i = 1; i < places.length; i++) {
    places[i] = uint32At(places, i) + uint32At(places, i - 1);
  }
  const sorted = new Uint32Array(documents.length);
  for (const d of documents) {
    const shorter = longest - lengthOf(lengths, d);
    const place = uint32At(places, shorter);
    sorted[place] = d;
    places[shorter] = place + 1;
  }
  return sorted;
}

/** Rows by the room they have left. */
class RowsByRoom {
  readonly #rows: number[][];
  /** One bit for each room that some row has. */
  readonly #bits: Uint32Array;

  constructor(rowLength: number) {
    this.#rows = Array.from({ length: rowLength + 1 }, () => []);
    this.#bits = new Uint32Array((rowLength >>> 5) + 1);
  }

  add(row: number, room: number): void {
    if (room === 0) return;
    nth(this.#rows, room).push(row);
    this.#bits[room >>> 5] = uint32At(this.#bits, room >>> 5) | 1 << (room & 31);
  }

  /** Takes a row with the least room of at least `length`; -1 where there is none. */
  take(length: number): number {
    const bits = this.#bits;
    let word = length >>> 5;
    let found = uint32At(bits, word) & (0xffffffff << (length & 31));
    while (found === 0 && ++word < bits.length) found = uint32At(bits, word);
    if (found === 0) return -1;
    const room = (word << 5) + 31 - Math.clz32(found & -found);
    const rows = nth(this.#rows, room);
    const row = rows.pop() ?? fail(`no row has room for ${room} tokens`);
    if (rows.length === 0) bits[room >>> 5] = uint32At(bits, room >>> 5) & ~(1 << (room & 31));
    return row;
  }
}

/** One document after the other, cut wherever a row ends: what most recipes do, for comparison. */
function concatenate(lengths: ArrayLike<number>, rowLength: number): Placement[][] {
  const rows: Placement[][] = [];
  let row: Placement[] = [];
  let start = 0;
  for (let document = 0; document < lengths.length; document++) {
    const whole = lengthOf(lengths, document);
    for (let from = 0, chunk = 0; from < whole; chunk++) {
      const length = Math.min(rowLength - start, whole - from);
      row.push({ document, chunk, from, start, length });
      from += length;
      start += length;
      if (start === rowLength) {
        rows.push(row);
        row = [];
        start = 0;
      }
    }
  }
  if (row.length > 0) rows.push(row);
  return rows;
}
