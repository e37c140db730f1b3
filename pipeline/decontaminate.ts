/** `pipeline decontaminate`: finds what gives evaluation away, and builds the shards without it. */
import { Corpus } from "./corpus.ts";
import { corpusSettings } from "./corpus_settings.ts";
import type { DecontaminateCorpusOptions, Decontamination } from "./decontaminate_options.ts";
import { everyText } from "./documents/live_texts.ts";
import { checkedFiles } from "./ingest/compare_later.ts";
import { buildTokensAndShards, shardSettings } from "./ingest/shards.ts";
import { WorkerPool } from "./ingest/worker_pool.ts";
import {
  findContamination,
  readContamination,
  writeContamination,
} from "./overlap/contamination.ts";
import { decontaminateTexts } from "./texts/decontaminate.ts";
import { readTextCorpus } from "./texts/state.ts";

/**
 * Compares the live documents, or a corpus of texts, with evaluation files, writes `contamination.json`, and brings the
 * shards up to date where there are any.
 * @throws {UserError} where a file cannot be read
 * @throws {CorpusBusy} where another process is at work on the corpus
 */
export async function decontaminateCorpus(
  options: DecontaminateCorpusOptions,
): Promise<Decontamination> {
  const ofTexts = readTextCorpus(options.corpus);
  if (ofTexts) return await decontaminateTexts(options, ofTexts);
  const corpus = new Corpus(options.corpus);
  try {
    const { catalogue } = corpus;
    const { onProgress, signal } = options;
    if (!options.anew) corpus.checkHeldOut();
    const earlier = options.anew ? undefined : readContamination(options.corpus);
    const texts = everyText(
      options.corpus,
      catalogue,
      (done, total) => onProgress?.("files", done, total),
    );
    const report = await findContamination(texts, options.against, {
      ...options,
      checked: checkedFiles(corpus),
      ...(earlier ? { earlier } : {}),
    });
    writeContamination(options.corpus, report, catalogue);
    const own = corpusSettings(options.corpus, catalogue);
    const settings = shardSettings(corpus, own);
    const ready = settings && catalogue.files().every((f) => f.state === "tokens");
    if (!settings || !ready) return { report }; // "pipeline run" goes on and leaves them out
    const pool = new WorkerPool(1);
    try {
      const shards = await buildTokensAndShards(corpus, pool, settings, own.policies, {
        onProgress: (_stage, done, total) => onProgress?.("shards", done, total),
        ...(signal ? { signal } : {}),
      });
      return { report, shards };
    } finally {
      await pool.close();
    }
  } finally {
    corpus.close();
  }
}
