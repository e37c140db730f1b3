/**
 * `pipeline run` and `refresh`: brings a corpus up to date with a source. Every finished file is
 * one transaction, so a run killed at any moment goes on where it stopped and ends in the same
 * bytes.
 * @module
 */
import { UserError } from "../core/errors.ts";
import { Corpus, removePartials } from "./corpus.ts";
import { type CorpusSettings, corpusSettings, recordDocumentSettings } from "./corpus_settings.ts";
import { FileTaker } from "./ingest/take_files.ts";
import { WorkerPool } from "./ingest/worker_pool.ts";
import { rebuildCitations } from "./ingest/rebuild.ts";
import {
  buildTokensAndShards,
  checkSequenceLength,
  type ShardSettings,
  shardSettings,
} from "./ingest/shards.ts";
import type { RunOptions } from "./ingest/run_options.ts";
import { type RunSummary, summarize } from "./run_summary.ts";
import { chosenFiles, parseSelection } from "./source/names.ts";
import { openSource } from "./source/open.ts";
import { placeOf } from "./source/source.ts";
import { makePlan, NewSeries } from "./ingest/plan.ts";
import { beginNewSeries, sameSettings } from "./new_series.ts";
import { swapIn } from "./series_swap.ts";
import { writeSourceList } from "./source_list.ts";

export type { RunOptions } from "./ingest/run_options.ts";
export type { RunSummary } from "./run_summary.ts";

/**
 * Brings the corpus up to date.
 * @throws {UserError} where a file, a setting or the source is at fault
 * @throws {CorpusBusy} where another process is at work on it
 */
export async function runPipeline(options: RunOptions): Promise<RunSummary> {
  checkSequenceLength(options.sequenceLength);
  const corpus = new Corpus(options.corpus);
  const start = performance.now();
  let useless = corpus.fresh;
  try {
    const run = corpus.catalogue.startRun(options.command ?? "run");
    const summary = await new Run(corpus, options).run();
    summary.seconds = (performance.now() - start) / 1000;
    corpus.catalogue.finishRun(run, summary);
    writeSourceList(corpus.folder, corpus.catalogue);
    useless = false;
    return summary;
  } catch (error) {
    removePartials(options.corpus);
    if (error instanceof NewSeries) return await buildAnew(corpus, options, error);
    throw error;
  } finally {
    useless &&= corpus.isOpen && corpus.catalogue.files().length === 0;
    if (useless) corpus.discard();
    else corpus.close();
  }
}

/** Builds the corpus of a new series inside the old one's folder, where it then takes its place. */
async function buildAnew(
  corpus: Corpus,
  options: RunOptions,
  { known, offered }: NewSeries,
): Promise<RunSummary> {
  const next = beginNewSeries(corpus);
  options.log?.(
    `The source has PubMed's series of 20${offered}; the corpus holds that of 20${known}. Building ` +
      `the new one in ${next}; at the end it takes the place of the old one`,
  );
  const summary = await runPipeline(sameSettings(corpus, options));
  corpus.catalogue.close();
  swapIn(corpus.folder);
  return { ...summary, corpus: options.corpus };
}

class Run {
  readonly #corpus: Corpus;
  readonly #options: RunOptions;
  readonly #pool: WorkerPool;
  readonly #settings: CorpusSettings;
  readonly #tokens: ShardSettings | undefined;
  readonly #place: string;

  constructor(corpus: Corpus, options: RunOptions) {
    this.#corpus = corpus;
    this.#options = options;
    this.#pool = new WorkerPool(options.workers);
    const { catalogue } = corpus;
    const place = options.source ?? catalogue.get("source");
    if (place === undefined) {
      throw new UserError(
        `Cannot bring ${corpus.folder} up to date: it has no source yet; run "pipeline run" with --source`,
      );
    }
    corpus.checkHeldOut();
    this.#place = placeOf(place);
    this.#settings = corpusSettings(corpus.folder, catalogue, options);
    this.#tokens = shardSettings(corpus, this.#settings, options.tokenizer);
  }

  async run(): Promise<RunSummary> {
    const { catalogue } = this.#corpus;
    const { signal } = this.#options;
    const source = openSource(this.#place, { ...this.#options.http, onRetry: this.#options.log });
    const chosen = chosenFiles(this.#options, catalogue.get("files_chosen"));
    const plan = await makePlan(source, this.#corpus, {
      selected: parseSelection(chosen),
      smallerBaseline: this.#options.smallerBaseline ?? false,
      ...(signal ? { signal } : {}),
      onProgress: (done, total) => this.#options.onProgress?.("checksums", done, total),
    });
    catalogue.transaction(() => {
      catalogue.set("source", this.#place);
      if (chosen === undefined) catalogue.unset("files_chosen");
      else catalogue.set("files_chosen", chosen);
      catalogue.set("year", String(plan.year));
      catalogue.set("baseline_files", String(plan.baselineFiles));
      recordDocumentSettings(catalogue, this.#settings);
      for (const { number, stamp } of plan.restamped) catalogue.setStamp(number, stamp);
    });
    const { fields, policies } = this.#settings;
    const settings = { fields, policies, tokens: this.#tokens };
    const taker = new FileTaker(source, catalogue, this.#pool, settings, this.#options);
    const { added } = taker;
    const stop = () => this.#pool.stop();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await taker.take(plan.files);
      if (plan.files.some((f) => f.issuedAgain) || catalogue.get("rebuild") !== undefined) {
        await rebuildCitations(this.#corpus);
      }
      const shards = this.#tokens
        ? await buildTokensAndShards(
          this.#corpus,
          this.#pool,
          this.#tokens,
          policies,
          this.#options,
        )
        : undefined;
      return summarize(this.#corpus, source.place, added, shards);
    } finally {
      signal?.removeEventListener("abort", stop);
      await this.#pool.close();
    }
  }
}
