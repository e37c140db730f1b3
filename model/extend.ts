/** Giving a model the new rows of an extended tokenizer. @module */
import { UserError } from "../core/errors.ts";
import { oldPieces } from "../pipeline/tokenizer/extend.ts";
import { openModelFolder, writeModelFolder } from "./folder.ts";
import { EMBEDDING } from "./parameters.ts";

/** What was written. */
export interface ExtendResult {
  out: string;
  /** Ids before and after. */
  old_vocabulary: number;
  new_vocabulary: number;
}

/** Rows of the embedding come in multiples of this, as the published models pad. */
const ROW_MULTIPLE = 8;

/**
 * Writes the model of folder `path` with an embedding row for each id of an extended tokenizer: old
 * rows stay, a new one is the mean of those of its token's old pieces, so that the model starts
 * where a reader of the pieces would.
 * @throws {UserError} where the model has no tokenizer, or the tokenizer is no extension of it, or
 *   `out` exists.
 */
export function extendModel(path: string, extendedTokenizer: string, out: string): ExtendResult {
  const folder = openModelFolder(path);
  try {
    const { config, tokenizerFile } = folder;
    if (tokenizerFile === undefined) {
      throw new UserError(
        `Cannot extend the model ${path}: it has no tokenizer.json; put its own there first`,
      );
    }
    const pieces = oldPieces(tokenizerFile, extendedTokenizer), old = config.vocabSize;
    const vocabSize = old + pieces.length, width = config.hiddenSize;
    const rows = Math.max(
      config.paddedVocabSize,
      Math.ceil(vocabSize / ROW_MULTIPLE) * ROW_MULTIPLE,
    );
    writeModelFolder(out, {
      config: { ...config, vocabSize, paddedVocabSize: rows },
      read(name) {
        const values = folder.read(name);
        return name === EMBEDDING ? extendRows(values, rows, width, old, pieces) : values;
      },
      tokenizer: Deno.readFileSync(extendedTokenizer),
    });
    return { out, old_vocabulary: old, new_vocabulary: vocabSize };
  } finally {
    folder.close();
  }
}

/** The embedding (rows, width) with new rows from `first` on; padding rows keep their values. */
function extendRows(
  old: Float32Array,
  rows: number,
  width: number,
  first: number,
  pieces: number[][],
): Float32Array {
  const values = new Float32Array(rows * width);
  values.set(old.subarray(0, values.length));
  pieces.forEach((ids, i) => {
    const row = (first + i) * width;
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (const id of ids) sum += old[id * width + c]!;
      values[row + c] = sum / ids.length;
    }
  });
  return values;
}
