/** The texts of a corpus, whatever it is of. @module */
import { readCatalogue } from "./corpus.ts";
import { liveTexts } from "./documents/live_texts.ts";
import type { CheckedDocument } from "./overlap/contamination.ts";
import { checkedTexts } from "./texts/documents.ts";
import { readTextCorpus } from "./texts/state.ts";

/** A corpus open for reading its texts. */
interface CorpusTexts extends Disposable {
  /** How many files they are in. */
  readonly files: number;
  /** All of them, in the same order each time; `onFile` is told of files done. */
  read(onFile?: (done: number) => void): AsyncIterable<CheckedDocument>;
}

/**
 * Opens the live citations of a corpus of PubMed, or the documents of a corpus of texts.
 * @throws {UserError} where there is no corpus.
 */
export function openCorpusTexts(corpus: string): CorpusTexts {
  const state = readTextCorpus(corpus);
  if (state) {
    return {
      files: state.files.length,
      read: (onFile) => checkedTexts(corpus, state, onFile ? { onFile } : {}),
      [Symbol.dispose]() {},
    };
  }
  const catalogue = readCatalogue(corpus);
  return {
    files: catalogue.files().length,
    read: (onFile) => liveTexts(corpus, catalogue, onFile),
    [Symbol.dispose]: () => catalogue.close(),
  };
}
