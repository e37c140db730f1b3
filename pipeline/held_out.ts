/** What a corpus holds out for evaluation, for whoever reads it. @module */
import { exists } from "../core/files.ts";
import { readCatalogue } from "./corpus.ts";
import { corpusPaths } from "./corpus_paths.ts";
import { type HeldOut, readHeldOut } from "./overlap/contamination.ts";
import { readTextCorpus } from "./texts/state.ts";

/**
 * What a corpus of either kind holds out.
 * @throws {UserError} where its report is missing, changed or damaged
 */
export function heldOutOf(corpus: string): HeldOut {
  const texts = readTextCorpus(corpus);
  if (texts) return readHeldOut(corpus, { get: (key) => texts.records?.[key] });
  if (!exists(corpusPaths.catalogue(corpus))) return readHeldOut(corpus);
  const catalogue = readCatalogue(corpus);
  try {
    return readHeldOut(corpus, catalogue);
  } finally {
    catalogue.close();
  }
}
