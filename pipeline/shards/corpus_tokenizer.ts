/** The tokenizer that a corpus was made with, a copy of which stays in its folder. @module */
import { UserError } from "../../core/errors.ts";
import { exists, hashFile, writeAtomic } from "../../core/files.ts";
import { tokenizerPath } from "../corpus_paths.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/mod.ts";

/**
 * Loads the tokenizer that a corpus is to be made or continued with.
 * @param recorded the SHA-256 of the tokenizer that the corpus was made with, where it has one
 * @param given a `tokenizer.json`; the corpus's own copy where it is left out
 * @throws {UserError} where it is another than the corpus was made with, the corpus's own copy is
 *   missing or changed, or another file has the copy's place
 */
export function corpusTokenizer(
  corpus: string,
  recorded: string | undefined,
  given: string | undefined,
): Tokenizer {
  const own = tokenizerPath(corpus);
  if (given === undefined && (!exists(own) || hashFile(own) !== recorded)) {
    throw new UserError(
      `Cannot go on with the corpus ${corpus}: ${own} is ${
        exists(own) ? "not the tokenizer it was made with" : "missing"
      }; put the one with SHA-256 ${recorded} there, or name it with --tokenizer`,
    );
  }
  const tokenizer = loadTokenizer(given ?? own);
  if (recorded !== undefined && tokenizer.sha256 !== recorded) {
    throw new UserError(
      `Cannot use the tokenizer ${tokenizer.path}: the corpus ${corpus} was tokenized with another ` +
        `(SHA-256 ${recorded.slice(0, 12)}..., not ${tokenizer.sha256.slice(0, 12)}...); leave ` +
        "--tokenizer away, or make another corpus",
    );
  }
  if (recorded === undefined && exists(own) && hashFile(own) !== tokenizer.sha256) {
    throw new UserError(
      `Cannot keep the tokenizer ${tokenizer.path} in the corpus: ${own} is there already and is ` +
        "another; move it elsewhere, or name it with --tokenizer",
    );
  }
  return tokenizer;
}

/** Keeps a copy in the corpus, so that later runs need no --tokenizer, even where this one is stopped. */
export function keepTokenizer(corpus: string, tokenizer: Tokenizer): void {
  const own = tokenizerPath(corpus);
  if (exists(own) && hashFile(own) === tokenizer.sha256) return;
  writeAtomic(own, Deno.readFileSync(tokenizer.path));
}
