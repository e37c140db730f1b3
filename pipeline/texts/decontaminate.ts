/** `pipeline decontaminate` for corpora of texts. @module */
import { exists } from "../../core/files.ts";
import { holdFolder } from "../corpus.ts";
import type { DecontaminateCorpusOptions, Decontamination } from "../decontaminate_options.ts";
import { figuresOf, manifestPath, tokenizerPath } from "../shards/mod.ts";
import {
  checkContamination,
  findContamination,
  readContamination,
  writeContamination,
} from "../overlap/contamination.ts";
import { loadTokenizer } from "../tokenizer/mod.ts";
import { checkedTextFiles } from "./compare_later.ts";
import { buildTextShards } from "./corpus.ts";
import { checkedTexts } from "./documents.ts";
import { type TextCorpusState, textRecord } from "./state.ts";

/**
 * Compares the texts with evaluation files, writes `contamination.json`, and builds the shards
 * without what is held out. Texts are held out by the PMID that a column of theirs says, and by
 * shared runs of words.
 * @throws {UserError} where a file cannot be read
 * @throws {CorpusBusy} where another process is at work on the corpus
 */
export async function decontaminateTexts(
  options: DecontaminateCorpusOptions,
  state: TextCorpusState,
): Promise<Decontamination> {
  const { corpus, against, onProgress, signal } = options;
  const held = holdFolder(corpus);
  try {
    const record = textRecord(corpus);
    if (!options.anew) checkContamination(corpus, record);
    const earlier = options.anew ? undefined : readContamination(corpus);
    const texts = checkedTexts(corpus, state, {
      onFile: (done, total) => onProgress?.("files", done, total),
      ...(signal ? { signal } : {}),
    });
    const report = await findContamination(texts, against, {
      ...options,
      texts: true,
      checked: checkedTextFiles(state),
      ...(earlier ? { earlier } : {}),
    });
    writeContamination(corpus, report, record);
    if (!exists(manifestPath(corpus))) return { report }; // "pipeline run" leaves them out
    const manifest = await buildTextShards(corpus, state, loadTokenizer(tokenizerPath(corpus)), {
      onProgress: (_stage, done, total) => onProgress?.("shards", done, total),
      ...(signal ? { signal } : {}),
    });
    return { report, shards: { written: true, figures: figuresOf(manifest) } };
  } finally {
    held.release();
  }
}
