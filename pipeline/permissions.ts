/**
 * What a corpus needs of the machine: its own folder, in which a new year's series is built too, and
 * the source that it remembers.
 * @module
 */
import { exists } from "../core/files.ts";
import { readCatalogue } from "./corpus.ts";
import { corpusPaths } from "./corpus_paths.ts";
import { readSourceList } from "./source_list.ts";
import { readTextCorpus } from "./texts/state.ts";

export { seriesFolders } from "./new_series.ts";

/** The folder or URL that a corpus's list of source files names, which needs no catalogue. */
export function listedSource(corpus: string): string | undefined {
  try {
    return readSourceList(corpus)?.settings.source;
  } catch {
    return undefined; // the command says what is wrong with it
  }
}

/** The folder or URL that a corpus was made from; undefined where there is no corpus yet. */
export function recordedSource(corpus: string): string | undefined {
  const texts = readTextCorpus(corpus);
  if (texts) return texts.source;
  if (!exists(corpusPaths.catalogue(corpus))) return undefined;
  const catalogue = readCatalogue(corpus);
  try {
    return catalogue.get("source");
  } finally {
    catalogue.close();
  }
}
