/** A file of texts to arrays of ids that NumPy reads. @module */
import { Interrupted, UserError } from "../../core/errors.ts";
import { removeIfExists } from "../../core/files.ts";
import { encodeBound, type Tokenizer } from "../tokenizer/mod.ts";
import { breathe } from "../../core/breathe.ts";
import { NpyWriter } from "./npy.ts";
import { readTextInput } from "../../core/text_input.ts";

const BLOCK_IDS = 1 << 20;

/** How to tokenize a file. */
export interface TokenizeFileOptions {
  /** Whether special tokens in the texts become their ids. */
  specialTokens?: boolean;
  /** Told of bytes of the input done. */
  onProgress?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** Where the offsets of `output` (F.npy) go: F.offsets.npy. */
export function offsetsPath(output: string): string {
  return output.replace(/\.npy$/, "") + ".offsets.npy";
}

/**
 * Encodes every text of `input` (see `readTextInput`) one after the other into `output`, ids as
 * `<u2`, and writes where each begins and the last ends into F.offsets.npy, `<u4`, n + 1 entries.
 * @throws {UserError} where the input is malformed or too long for 32-bit offsets
 * @throws {Interrupted} where the signal fires; nothing is written then
 */
export async function tokenizeFile(
  tokenizer: Tokenizer,
  input: string,
  output: string,
  options: TokenizeFileOptions = {},
): Promise<{ texts: number; tokens: number; bytes: number }> {
  const ids = new NpyWriter(output, "<u2");
  const offsets = new NpyWriter(offsetsPath(output), "<u4");
  let block = new Uint16Array(BLOCK_IDS);
  let filled = 0;
  let tokens = 0;
  let texts = 0;
  let bytes = 0;
  const starts = new Uint32Array(1 << 16);
  let count = 1; // the first text begins at 0
  const flush = () => {
    ids.write(block.subarray(0, filled));
    offsets.write(starts.subarray(0, count));
    filled = count = 0;
  };
  try {
    for (const { text, bytesRead } of readTextInput(input)) {
      const bound = encodeBound(text.length);
      if (filled + bound > block.length || count === starts.length) {
        flush();
        if (bound > block.length) block = new Uint16Array(bound);
        await breathe();
        if (options.signal?.aborted) throw new Interrupted("Stopped; nothing was written");
        options.onProgress?.(bytesRead);
      }
      const end = tokenizer.encodeInto(text, block, filled, options);
      tokens += end - filled;
      filled = end;
      if (tokens > 0xffffffff) {
        throw new UserError(
          `Cannot tokenize ${input}: it has more than 2^32 tokens, and offsets have 32 bits; split it`,
        );
      }
      starts[count++] = tokens;
      texts++;
      bytes = bytesRead;
    }
    flush();
    removeIfExists(offsetsPath(output)); // old offsets beside new ids would mislead
    ids.commit();
    offsets.commit();
  } catch (error) {
    ids.abort();
    offsets.abort();
    throw error;
  }
  return { texts, tokens, bytes };
}
