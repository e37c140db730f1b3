/** Which document a place in a shard comes from, and where a document lies. @module */
import { nth, uint32At } from "../../core/nth.ts";
import { join } from "../../core/std.ts";
import { exists } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { loadTokenizer } from "../tokenizer/mod.ts";
import { readManifest, type ShardEntry, shardsFolder, tokenizerPath } from "./manifest.ts";
import { orderKey, type Split, splitOf, SPLITS } from "./order.ts";
import { openShards } from "./read.ts";
import { TokenFile } from "./token_file.ts";

/** A piece of a document in a row: a line of `<split>-00000.documents.parquet`. */
export interface PlacedPiece {
  pmid: number;
  version: number;
  row: number;
  /** The piece's first column. */
  start: number;
  length: number;
  /** 0, or more for the rests of a document longer than a row. */
  chunk: number;
  source: string;
}

/** What a place in a shard holds. */
interface LocatedPiece extends PlacedPiece {
  shard: string;
  /** The piece's text. */
  text: string;
  /** The token asked for, and its text; "" for end of text. */
  token?: { column: number; id: number; text: string };
}

/** The lines of a shard's table that are wanted, in order. */
async function placements(
  corpus: string,
  shard: ShardEntry,
  wanted: (row: number, pmid: number) => boolean,
): Promise<PlacedPiece[]> {
  const path = join(shardsFolder(corpus), shard.documents_file.path);
  using reader = new ParquetReader(path);
  const found: PlacedPiece[] = [];
  for await (const { first, rows } of reader.each<{ row: number; pmid: number }>(["row", "pmid"])) {
    const isWanted = rows.map(({ row, pmid }) => wanted(row, pmid));
    const from = isWanted.indexOf(true);
    if (from < 0) continue;
    const to = isWanted.lastIndexOf(true) + 1;
    const lines = await reader.rows<PlacedPiece>(first + from, first + to);
    found.push(...lines.filter((_, i) => isWanted[from + i]));
  }
  return found;
}

/**
 * The pieces in a row of a shard, or the one at a column.
 * @param name "train-00000", with or without folder and ending
 * @throws {UserError} where there is no such shard, row or column, or padding is at the column.
 */
export async function locate(
  corpus: string,
  name: string,
  row: number,
  column?: number,
): Promise<LocatedPiece[]> {
  const manifest = readManifest(corpus);
  const plain = name.replace(/^.*[\\/]/, "").replace(/\..*$/, "");
  const split = SPLITS.find((s) => manifest.splits[s].shards.some((e) => e.name === plain));
  if (!split) {
    const names = SPLITS.flatMap((s) => manifest.splits[s].shards.map((e) => e.name));
    const hint = names.length > 6 ? `${names[0]} to ${names.at(-1)}` : names.join(", ");
    throw new UserError(`Cannot find the shard "${name}" in ${corpus}: it has ${hint}`);
  }
  const { shards } = manifest.splits[split];
  const index = shards.findIndex((s) => s.name === plain);
  const shard = nth(shards, index);
  const width = manifest.sequence_length;
  if (!(row >= 0 && row < shard.rows)) {
    throw new UserError(`Cannot find row ${row} in ${plain}: it has rows 0 to ${shard.rows - 1}`);
  }
  if (column !== undefined && !(column >= 0 && column < width)) {
    throw new UserError(`Cannot find column ${column}: a row has columns 0 to ${width - 1}`);
  }
  const set = openShards(corpus, split);
  const tokenizer = loadTokenizer(tokenizerPath(corpus));
  const first = shards.slice(0, index).reduce((n, s) => n + s.rows, 0);
  const ids = set.row(first + row);
  set.close();
  const pieces = (await placements(corpus, shard, (r) => r === row)).filter((p) =>
    column === undefined || column >= p.start && column < p.start + p.length
  );
  if (pieces.length === 0) {
    throw new UserError(`Cannot name a document at column ${column} of row ${row}: it is padding`);
  }
  return pieces.map((piece) => {
    const part = ids.subarray(piece.start, piece.start + piece.length);
    const text = tokenizer.decode(part, { skipSpecialTokens: true });
    const located = { shard: plain, ...piece, text };
    if (column === undefined) return located;
    const id = nth(ids, column);
    const one = tokenizer.decode([id], { skipSpecialTokens: true });
    return { ...located, token: { column, id, text: one } };
  });
}

/** A record of a PMID that was tokenized. */
interface TokenizedRecord {
  source: string;
  version: number;
  tokens: number;
}

/** Where a PMID's document lies. */
export interface Whereabouts {
  pmid: number;
  /** The split that its PMID belongs to. */
  split: Split;
  /** The shard that holds it; "" where none does. */
  shard: string;
  /** Its tokens in the shard, the end-of-text before it included; 0 where it is in none. */
  tokens: number;
  pieces: PlacedPiece[];
  /** Every record of the PMID that was tokenized, superseded and deleted ones too. */
  records: TokenizedRecord[];
}

/**
 * Finds a PMID in the shards and in the token files.
 * @throws {UserError} where the corpus has no shards, or a token file is damaged.
 */
export async function whereIs(corpus: string, pmid: number): Promise<Whereabouts> {
  const manifest = readManifest(corpus);
  const { seed } = manifest.packing;
  const split = splitOf(pmid, manifest.validation, manifest.test);
  const key = orderKey(seed, pmid);
  const { shard_bits: bits, shards } = manifest.splits[split];
  const number = bits === 0 ? 0 : key >>> (32 - bits);
  const shard = shards.find((s) => s.name === `${split}-${String(number).padStart(5, "0")}`);
  const pieces = shard ? await placements(corpus, shard, (_, p) => p === pmid) : [];
  const records: TokenizedRecord[] = [];
  for (const { name } of manifest.sources) {
    const path = join(corpus, "tokens", `${name}.tokens`);
    if (!exists(path)) continue;
    const file = new TokenFile(path, manifest.tokenizer_sha256, seed);
    try {
      const { pmids, versions, starts } = file.slice(...file.rangeOf(key));
      pmids.forEach((p, i) => {
        if (p !== pmid) return;
        records.push({
          source: name,
          version: uint32At(versions, i),
          tokens: uint32At(starts, i + 1) - uint32At(starts, i),
        });
      });
    } finally {
      file.close();
    }
  }
  return {
    pmid,
    split,
    shard: pieces.length ? shard?.name ?? "" : "",
    tokens: pieces.reduce((n, p) => n + p.length, 0),
    pieces: pieces.sort((a, b) => a.chunk - b.chunk),
    records,
  };
}
