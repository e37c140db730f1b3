/** A model folder opened for reading text. @module */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { loadTokenizer, type Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { initialParameters, presetConfig, PRESETS } from "../../mamba/mod.ts";
import { openScoredWeights } from "../../training/mod.ts";
import { type ModelFolder, TOKENIZER_REMEDY } from "../../weights/mod.ts";

/** A model folder with the tokenizer to read with. */
export interface Reader {
  folder: ModelFolder;
  tokenizer: Tokenizer;
}

/** How a model is opened. */
interface ReaderOptions {
  /** The tokenizer to read with, in place of the folder's own. */
  tokenizerFile?: string;
  /** Of the weights of a model that begins as random:PRESET; 0 by default. */
  seed?: number;
  /** Hears which of a run's weights are taken. */
  log?: (message: string) => void;
}

/** What names a model with random weights: random:tiny. */
const RANDOM = "random:";

/** Whether a name stands for random weights rather than for a folder. */
export function isRandom(name: string): boolean {
  return name.startsWith(RANDOM);
}

/**
 * Opens a model folder, a run or a checkpoint (see {@linkcode openScoredWeights}) and its tokenizer, or
 * another one; or makes a model of a preset's size with random weights.
 * @throws {UserError} where there is no tokenizer, or it has more ids than the model.
 */
export function openReader(path: string, options: ReaderOptions = {}): Reader {
  const { tokenizerFile } = options;
  if (isRandom(path)) return randomReader(path, options);
  const folder = openScoredWeights(path, options.log);
  const file = tokenizerFile ?? folder.tokenizerFile;
  try {
    if (file === undefined) {
      throw new UserError(
        `Cannot read text with the model ${path}: ${join(path, "tokenizer.json")} does not ` +
          `exist; ${TOKENIZER_REMEDY}`,
      );
    }
    const tokenizer = loadTokenizer(file);
    const rows = folder.config.paddedVocabSize;
    if (tokenizer.vocabularySize > rows) {
      throw new UserError(
        `Cannot read text with the model ${path}: the tokenizer ${file} has ` +
          `${tokenizer.vocabularySize} ids and the model's embedding ${rows} rows; name the ` +
          `tokenizer it was trained with by --tokenizer`,
      );
    }
    return { folder, tokenizer };
  } catch (error) {
    folder.close();
    throw error;
  }
}

function randomReader(name: string, { tokenizerFile, seed = 0 }: ReaderOptions): Reader {
  if (tokenizerFile === undefined) {
    throw new UserError(
      `Cannot begin from ${name}: random weights have no tokenizer; name one with --tokenizer`,
    );
  }
  const tokenizer = loadTokenizer(tokenizerFile);
  const preset = name.slice(RANDOM.length);
  if (!PRESETS.includes(preset)) {
    throw new UserError(
      `Cannot begin from "${name}": there is no such preset; choose ${PRESETS.join(", ")}`,
    );
  }
  const { vocabularySize: vocabSize, endOfText } = tokenizer;
  const config = presetConfig(preset, { vocabSize, endOfText });
  const read = initialParameters(config, seed);
  return { folder: { path: name, config, tokenizerFile, read, close() {} }, tokenizer };
}
