/** A model folder opened for reading text. @module */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { loadTokenizer, type Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { type ModelFolder, openModelFolder } from "../../weights/folder.ts";

/** A model folder with the tokenizer to read with. */
export interface Reader {
  folder: ModelFolder;
  tokenizer: Tokenizer;
}

/**
 * Opens a model folder and its tokenizer, or another one.
 * @throws {UserError} where there is no tokenizer, or it has more ids than the model.
 */
export function openReader(path: string, tokenizerFile?: string): Reader {
  const folder = openModelFolder(path);
  const file = tokenizerFile ?? folder.tokenizerFile;
  try {
    if (file === undefined) {
      throw new UserError(
        `Cannot read text with the model ${path}: ${join(path, "tokenizer.json")} does not ` +
          `exist; name the tokenizer it was trained with by --tokenizer`,
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
