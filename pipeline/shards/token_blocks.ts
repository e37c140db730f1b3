/** Tokens collected one document after the other, the older of them on disk, so that memory is bounded. */
import { type AtomicFile, openAtomic, PARTIAL_SUFFIX } from "../../core/files.ts";
import { nth } from "../../core/nth.ts";
import { bytesOf, openForReading, readAt } from "./npy.ts";

/** Tokens of a block, and blocks that are held in memory: 128 MB. */
const BLOCK_TOKENS = 1 << 20;
const BLOCKS_HELD = 64;

/** Tokens in the order of their coming, read by where they begin. */
export class TokenBlocks {
  readonly #path: string;
  readonly #blockTokens: number;
  readonly #held: number;
  /** The blocks in memory, how many tokens came before each, and what is free in the last. */
  #blocks: Uint16Array[] = [];
  #starts: number[] = [];
  #used = 0;
  #total = 0;
  #written = 0;
  #out: AtomicFile | undefined;
  #in: Deno.FsFile | undefined;

  /**
   * @param path a name for the file on disk, which is removed at the end
   * @param sizes for tests
   */
  constructor(path: string, sizes: { blockTokens?: number; held?: number } = {}) {
    this.#path = path;
    this.#blockTokens = sizes.blockTokens ?? BLOCK_TOKENS;
    this.#held = sizes.held ?? BLOCKS_HELD;
  }

  /** Tokens so far. */
  get total(): number {
    return this.#total;
  }

  /** Where up to `room` tokens can be written: a block and a place in it. */
  reserve(room: number): { block: Uint16Array; at: number } {
    let block = this.#blocks.at(-1);
    if (!block || this.#used + room > block.length) {
      if (this.#blocks.length >= this.#held) this.#writeOut();
      this.#blocks.push(block = new Uint16Array(Math.max(room, this.#blockTokens)));
      this.#starts.push(this.#total);
      this.#used = 0;
    }
    return { block, at: this.#used };
  }

  /** Keeps the first `length` of what was reserved; returns where they begin among all. */
  keep(length: number): number {
    const start = this.#total;
    this.#used += length;
    this.#total += length;
    return start;
  }

  /** Copies tokens from `start` on into `out`. They were kept at one time. */
  copy(start: number, out: Uint16Array): void {
    if (start < this.#written) {
      this.#in ??= openForReading(this.#path + PARTIAL_SUFFIX, "tokens");
      out.set(new Uint16Array(readAt(this.#in, start * 2, out.length * 2).buffer));
      return;
    }
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = low + high >> 1;
      if (nth(this.#starts, middle) <= start) low = middle;
      else high = middle;
    }
    const at = start - nth(this.#starts, low);
    out.set(nth(this.#blocks, low).subarray(at, at + out.length));
  }

  #writeOut(): void {
    this.#out ??= openAtomic(this.#path);
    for (const [i, block] of this.#blocks.entries()) {
      const end = this.#starts[i + 1] ?? this.#total;
      this.#out.write(bytesOf(block.subarray(0, end - nth(this.#starts, i))));
    }
    this.#written = this.#total;
    this.#blocks = [];
    this.#starts = [];
  }

  /** Forgets all; the file goes. */
  close(): void {
    this.#in?.close();
    this.#out?.abort();
    this.#in = this.#out = undefined;
    this.#blocks = [];
  }
}
