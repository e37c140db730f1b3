/** Giving a model the new rows of an extended tokenizer. @module */
import { UserError } from "../../core/errors.ts";
import { loadTokenizer, oldPieces } from "../../pipeline/tokenizer/mod.ts";
import { contextualRows, meanRow } from "./contextual_rows.ts";
import {
  assertWritableFolder,
  type ModelFolder,
  openModelFolder,
  writeModelFolder,
} from "./folder.ts";
import { EMBEDDING } from "../mamba/parameters.ts";
import type { MakeModel } from "../mamba/types.ts";

/** What was written. */
interface ExtendResult {
  out: string;
  /** Ids before and after. */
  old_vocabulary: number;
  new_vocabulary: number;
  /** New ids whose rows are contextual averages. */
  contextual: number;
}

/** Rows of the embedding come in multiples of this, as the published models pad. */
const ROW_MULTIPLE = 8;

/**
 * The layer that contexts are averaged at unless another is given: in the middle, where states say
 * what a word is more than what comes after it.
 */
const middleLayer = (layers: number): number => Math.ceil(layers / 2);

/** Contexts to average over, instead of taking the mean of the pieces' rows. */
interface ExtendContexts {
  makeModel: MakeModel;
  texts: Iterable<string> | AsyncIterable<string>;
  /** The layer whose states are averaged, from 1 to the model's; {@linkcode middleLayer} by default. */
  layer?: number;
  /** Rows of a batch, and their tokens. */
  batchSize?: number;
  sequenceLength?: number;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Writes the model of folder `path` with an embedding row for each id of an extended tokenizer: old
 * rows stay, a new one is the mean of those of its token's old pieces, so that the model starts
 * where a reader of the pieces would; or, where contexts are given, their contextual average.
 * @throws {UserError} where the model has no tokenizer, or the tokenizer is no extension of it, or
 *   `out` exists.
 */
export async function extendModel(
  path: string,
  extendedTokenizer: string,
  out: string,
  contexts?: ExtendContexts,
): Promise<ExtendResult> {
  assertWritableFolder(out);
  const folder = openModelFolder(path);
  try {
    const { config, tokenizerFile } = folder;
    if (tokenizerFile === undefined) {
      throw new UserError(
        `Cannot extend the model ${path}: it has no tokenizer.json; put its own there first`,
      );
    }
    const pieces = oldPieces(tokenizerFile, extendedTokenizer);
    const old = config.vocabSize;
    const vocabSize = old + pieces.length;
    const width = config.hiddenSize;
    const rows = Math.max(
      config.paddedVocabSize,
      Math.ceil(vocabSize / ROW_MULTIPLE) * ROW_MULTIPLE,
    );
    const embedding = folder.read(EMBEDDING);
    const rowsOf = contexts ? await averages(contexts, folder, extendedTokenizer, pieces) : [];
    const newRows = pieces.map((ids, i) => rowsOf[i] ?? meanRow(embedding, width, ids));
    writeModelFolder(out, {
      config: { ...config, vocabSize, paddedVocabSize: rows },
      read(name) {
        return name === EMBEDDING
          ? extendRows(embedding, rows, width, old, newRows)
          : folder.read(name);
      },
      tokenizer: Deno.readFileSync(extendedTokenizer),
    });
    const contextual = rowsOf.filter((row) => row !== undefined).length;
    return { out, old_vocabulary: old, new_vocabulary: vocabSize, contextual };
  } finally {
    folder.close();
  }
}

async function averages(
  contexts: ExtendContexts,
  { config, read }: ModelFolder,
  extendedTokenizer: string,
  pieces: number[][],
): Promise<(Float32Array | undefined)[]> {
  const { makeModel, batchSize = 8, sequenceLength = 128, onProgress, signal } = contexts;
  const layer = contexts.layer ?? middleLayer(config.layers);
  if (!(Number.isInteger(layer) && layer >= 1 && layer <= config.layers)) {
    throw new UserError(
      `Cannot average contexts at layer ${layer}: the model has layers 1 to ${config.layers}`,
    );
  }
  const tokenizer = loadTokenizer(extendedTokenizer);
  const texts = (async function* () {
    for await (const text of contexts.texts) yield tokenizer.encode(text);
  })();
  return await contextualRows({
    makeModel,
    config,
    read,
    layer,
    pieces,
    texts,
    batchSize,
    sequenceLength,
    ...(onProgress ? { onProgress } : {}),
    ...(signal ? { signal } : {}),
  });
}

/** The embedding (rows, width) with new rows from `first` on; padding rows keep their values. */
function extendRows(
  old: Float32Array,
  rows: number,
  width: number,
  first: number,
  added: Float32Array[],
): Float32Array {
  const values = new Float32Array(rows * width);
  values.set(old.subarray(0, values.length));
  added.forEach((row, i) => values.set(row, (first + i) * width));
  return values;
}
