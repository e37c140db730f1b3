/** Texts that come after `pipeline decontaminate` are compared before they become shards. @module */
import { compareLater, readContamination, writeContamination } from "../overlap/contamination.ts";
import { checkedTexts } from "./documents.ts";
import { type TextCorpusState, textRecord } from "./state.ts";

/** How a corpus's files are known in a report. */
export const checkedTextFiles = ({ files }: TextCorpusState): string[] =>
  files.map(({ name, md5 }) => `${name} ${md5}`).sort();

/**
 * Compares the texts of files that a corpus's `contamination.json` does not know, and brings it up to
 * date; all texts anew where a file that it knows was changed or taken away. Nothing where there is
 * no report.
 * @throws {Interrupted} where the signal fires; the report stays as it was.
 */
export async function compareNewTexts(
  corpus: string,
  state: TextCorpusState,
  signal?: AbortSignal,
): Promise<void> {
  const report = readContamination(corpus);
  if (!report) return;
  const files = checkedTextFiles(state);
  const known = new Set(report.recheck.checked);
  const waiting = files.filter((f) => !known.has(f));
  const gone = known.size > files.length - waiting.length;
  if (!gone && waiting.length === 0) return;
  const anew = {
    ...report,
    documents_checked: 0,
    documents_held_out: 0,
    overlaps: [],
    held_out_by_overlap: [],
    held_out_texts: [],
    recheck: { ...report.recheck, checked: [], seen: [] },
  };
  const only = new Set(waiting.map((f) => f.slice(0, f.lastIndexOf(" "))));
  const stop = signal ? { signal } : {};
  const texts = checkedTexts(corpus, state, { ...(gone ? {} : { only }), ...stop });
  const checked = gone ? files : waiting;
  writeContamination(
    corpus,
    await compareLater(texts, gone ? anew : report, { checked, ...stop }),
    textRecord(corpus),
  );
}
