/** `pipeline duplicates --drop`: leaves near copies out of the shards, and builds these anew. @module */
import { exists } from "../core/files.ts";
import { Interrupted } from "../core/errors.ts";
import { Corpus, holdFolder } from "./corpus.ts";
import { corpusSettings } from "./corpus_settings.ts";
import { liveTexts } from "./documents/live_texts.ts";
import { buildTokensAndShards, shardSettings } from "./ingest/shards.ts";
import { figuresOf, manifestPath, type ShardSummary, tokenizerPath } from "./shards/mod.ts";
import { WorkerPool } from "./ingest/worker_pool.ts";
import {
  chooseDropped,
  type DroppedDuplicates,
  writeDropped,
} from "./overlap/dropped_duplicates.ts";
import { type DuplicateReport, findDuplicates } from "./overlap/duplicates.ts";
import type { CheckedDocument } from "./overlap/contamination.ts";
import { buildTextShards } from "./texts/corpus.ts";
import { checkedTexts } from "./texts/documents.ts";
import { readTextCorpus, type TextCorpusState, textRecord } from "./texts/state.ts";
import { loadTokenizer } from "./tokenizer/mod.ts";

/** What to drop, and how to tell of it. */
export interface DropOptions {
  corpus: string;
  /** Least share of runs of five words in common. */
  similarity: number;
  onProgress?: (stage: "files" | "shards", done: number, total: number) => void;
  signal?: AbortSignal;
}

/** What came of it; shards only where the corpus has tokens already. */
export interface Dropping {
  found: DuplicateReport;
  report: DroppedDuplicates;
  shards?: ShardSummary;
}

/**
 * Compares all documents that are in force, those that were dropped before among them, writes
 * `duplicates.json`, and brings the shards up to date where there are any.
 * @throws {CorpusBusy} where another process is at work on the corpus
 * @throws {Interrupted} where the signal fires
 */
export async function dropDuplicates(options: DropOptions): Promise<Dropping> {
  const ofTexts = readTextCorpus(options.corpus);
  if (ofTexts) return await dropTexts(options, ofTexts);
  const corpus = new Corpus(options.corpus);
  try {
    const { catalogue } = corpus;
    const { onProgress, signal } = options;
    const files = catalogue.files().length;
    const { found, report } = await compared(
      options,
      files,
      (onFile) => liveTexts(options.corpus, catalogue, onFile),
    );
    writeDropped(options.corpus, report, catalogue);
    const own = corpusSettings(options.corpus, catalogue);
    const settings = shardSettings(corpus, own);
    const ready = settings && catalogue.files().every((f) => f.state === "tokens");
    if (!settings || !ready) return { found, report }; // "pipeline run" goes on and leaves them out
    const pool = new WorkerPool(1);
    try {
      const shards = await buildTokensAndShards(corpus, pool, settings, own.policies, {
        onProgress: (_stage, done, total) => onProgress?.("shards", done, total),
        ...(signal ? { signal } : {}),
      });
      return { found, report, shards };
    } finally {
      await pool.close();
    }
  } finally {
    corpus.close();
  }
}

async function dropTexts(options: DropOptions, state: TextCorpusState): Promise<Dropping> {
  const { corpus, onProgress, signal } = options;
  const held = holdFolder(corpus);
  try {
    const { found, report } = await compared(
      options,
      state.files.length,
      (onFile) => checkedTexts(corpus, state, { onFile }),
    );
    writeDropped(corpus, report, textRecord(corpus));
    if (!exists(manifestPath(corpus))) return { found, report };
    const manifest = await buildTextShards(corpus, state, loadTokenizer(tokenizerPath(corpus)), {
      onProgress: (_stage, done, total) => onProgress?.("shards", done, total),
      ...(signal ? { signal } : {}),
    });
    return { found, report, shards: { written: true, figures: figuresOf(manifest) } };
  } finally {
    held.release();
  }
}

async function compared(
  { similarity, onProgress, signal }: DropOptions,
  files: number,
  read: (onFile: (done: number) => void) => AsyncIterable<CheckedDocument>,
): Promise<Pick<Dropping, "found" | "report">> {
  let pass = 0;
  const found = await findDuplicates(() => {
    const before = files * pass++;
    return read((done) => {
      if (signal?.aborted) throw new Interrupted("Stopped; nothing was written");
      onProgress?.("files", before + done, 2 * files);
    });
  }, similarity);
  const dropped = chooseDropped(found.pairs);
  return {
    found,
    report: { format: 1, similarity, documents_checked: found.documents, dropped },
  };
}
