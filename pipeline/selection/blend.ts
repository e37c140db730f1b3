/**
 * Several sources of rows as one: every block of 1,000 rows holds each source's quota exactly, in a
 * seeded order of its own. Stateless, as `sampleRow`: a place in the order is computed, so that
 * resuming needs one number and the order is the same for any number of workers or ranks.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { nth } from "../../core/nth.ts";
import { sampleRow } from "./sampler.ts";

/** Rows of a block. */
export const BLEND_BLOCK = 1000;

/** A source of a blend. */
interface BlendSource {
  rows: number;
  /** Its share of all tokens, 0 to 1. */
  share: number;
  /** The tokens in a row on average, padding left out; shares of tokens become shares of rows. */
  tokensPerRow: number;
}

/** A place in the blended order. */
interface BlendedRow {
  /** The source's number. */
  source: number;
  /** How often the source has been gone through before. */
  epoch: number;
  row: number;
  /** Its place in the source's own order, and the seed of that. */
  index: number;
  seed: number;
}

/** A blend of sources. */
export class Blend {
  /** Rows of each source in a block. */
  readonly quotas: readonly number[];
  /** The place in a block's unpermuted order where each source begins. */
  readonly #starts: number[] = [];

  /** @throws {UserError} where shares do not add up to 1, or one is too small for a row a block. */
  constructor(readonly sources: readonly BlendSource[], readonly seed: number) {
    const sum = sources.reduce((total, s) => total + s.share, 0);
    if (!(Math.abs(sum - 1) < 1e-6)) {
      throw new UserError(`Cannot mix sources: their shares add up to ${sum}, not 1`);
    }
    this.quotas = quotasOf(sources);
    let start = 0;
    for (const [s, quota] of this.quotas.entries()) {
      if (quota === 0 || nth(sources, s).rows === 0) {
        throw new UserError(
          `Cannot mix sources: number ${s + 1} ` +
            (quota === 0
              ? `has a share of ${nth(sources, s).share}, less than 1 of ${BLEND_BLOCK} rows`
              : "has no rows"),
        );
      }
      this.#starts.push(start);
      start += quota;
    }
  }

  /** The row at `index`, the global counter of drawn rows from 0. */
  at(index: number): BlendedRow {
    const block = Math.floor(index / BLEND_BLOCK);
    const place = sampleRow(BLEND_BLOCK, this.seed, index); // each block is shuffled as if it were an epoch
    let source = this.quotas.length - 1;
    while (place < nth(this.#starts, source)) source--;
    const drawn = block * nth(this.quotas, source) + place - nth(this.#starts, source);
    const { rows } = nth(this.sources, source);
    // Another seed for each source: sources of equal size would else be shuffled alike.
    const seed = this.seed + (source + 1) * 2 ** 32;
    const row = sampleRow(rows, seed, drawn);
    return { source, epoch: Math.floor(drawn / rows), row, index: drawn, seed };
  }
}

/** Whole rows of a block for each source, by largest remainders. */
function quotasOf(sources: readonly BlendSource[]): number[] {
  const rows = sources.map((s) => s.share / s.tokensPerRow);
  const all = rows.reduce((a, b) => a + b);
  const exact = rows.map((r) => r / all * BLEND_BLOCK);
  const quotas = exact.map(Math.floor);
  const order = exact.map((e, i) => ({ i, rest: e - Math.floor(e) }))
    .sort((a, b) => b.rest - a.rest || a.i - b.i);
  let missing = BLEND_BLOCK - quotas.reduce((a, b) => a + b);
  for (const { i } of order) if (missing-- > 0) quotas[i] = nth(quotas, i) + 1;
  return quotas;
}

/**
 * Reads "pubmed=0.8,c4=0.1,wikipedia=0.1": corpus folders and their shares of tokens.
 * @throws {UserError} where it is written otherwise, or the shares do not add up to 1.
 */
export function parseMix(text: string): { path: string; share: number }[] {
  const parts = text.split(",").map((part) => {
    const match = /^(.+)=(\d*\.?\d+)$/.exec(part.trim());
    if (!match || !(Number(match[2]) > 0)) {
      throw new UserError(
        `Cannot read the mix "${text}": "${part}" is no folder=share, such as pubmed=0.8`,
      );
    }
    return { path: nth(match, 1), share: Number(match[2]) };
  });
  const sum = parts.reduce((total, p) => total + p.share, 0);
  if (Math.abs(sum - 1) > 1e-6) {
    throw new UserError(
      `Cannot use the mix "${text}": its shares add up to ${Number(sum.toFixed(6))}, not 1`,
    );
  }
  return parts;
}
