/** The training texts of a corpus's live citations, in the order of its files. @module */
import type { Catalogue } from "../catalogue/catalogue.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { breathe } from "../../core/breathe.ts";
import { readTexts, type TextRow } from "./reader.ts";

/** Reading never waits, so signals are let through after so many documents. */
const BREATHE_EVERY = 1000;

/**
 * Yields title and abstract of every live citation that has either.
 * @param onFile told of files done, of all
 * @param only the source files to read, all by default
 */
export async function* liveTexts(
  corpus: string,
  catalogue: Catalogue,
  onFile?: (done: number, total: number) => void,
  only?: ReadonlySet<string>,
): AsyncGenerator<TextRow> {
  for await (const row of everyText(corpus, catalogue, onFile, only)) if (row.live) yield row;
}

/**
 * Yields title and abstract of every citation that has either, and whether it is in force: one that
 * is not may be again, where a later version is deleted.
 * @param onFile told of files done, of all
 * @param only the source files to read, all by default
 */
export async function* everyText(
  corpus: string,
  catalogue: Catalogue,
  onFile?: (done: number, total: number) => void,
  only?: ReadonlySet<string>,
): AsyncGenerator<TextRow & { live: boolean }> {
  const live = new LiveBits(catalogue);
  const files = catalogue.files();
  const names = files.map((f) => f.name).filter((n) => only?.has(n) ?? true).sort();
  let read = 0;
  for (const [done, source] of names.entries()) {
    onFile?.(done, names.length);
    for await (const row of readTexts(corpusPaths.documents(corpus, source))) {
      if (++read % BREATHE_EVERY === 0) await breathe();
      if (row.text === "") continue;
      yield { ...row, live: live.isLive(source, row.pmid, row.version, row.ordinal) };
    }
  }
}
