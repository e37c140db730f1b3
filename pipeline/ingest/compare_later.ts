/** Documents that come after `pipeline decontaminate` are compared before they become shards. @module */
import type { Corpus } from "../corpus.ts";
import { everyText } from "../documents/live_texts.ts";
import { compareLater, readContamination, writeContamination } from "../overlap/contamination.ts";

/** How source files are known in a report. */
export const checkedFiles = ({ catalogue }: Corpus): string[] =>
  catalogue.files().map(({ name, md5 }) => `${name} ${md5}`).sort();

/**
 * Compares the documents of source files that a corpus's `contamination.json` does not know, and
 * brings it up to date. Nothing where there is no report.
 * @throws {Interrupted} where the signal fires; the report stays as it was.
 */
export async function compareNewFiles(corpus: Corpus, signal?: AbortSignal): Promise<void> {
  const report = readContamination(corpus.folder);
  if (!report) return;
  const known = new Set(report.recheck.checked);
  const files = checkedFiles(corpus);
  const waiting = files.filter((f) => !known.has(f));
  if (waiting.length === 0) return;
  const names = new Set(waiting.map((f) => f.slice(0, f.lastIndexOf(" "))));
  const texts = everyText(corpus.folder, corpus.catalogue, undefined, names);
  const checked = waiting;
  const options = { checked, ...(signal ? { signal } : {}) };
  // Of a new series all files are new: what was counted of the old one does not count again.
  const anew = {
    ...report,
    documents_checked: 0,
    documents_held_out: report.held_out_by_overlap.length,
    recheck: { ...report.recheck, checked: [], seen: [] },
  };
  const from = waiting.length === files.length ? anew : report;
  writeContamination(corpus.folder, await compareLater(texts, from, options), corpus.catalogue);
}
