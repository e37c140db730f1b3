/**
 * The pipeline for programs: from a mirror of PubMed, or from texts, to shards of packed token rows.
 *
 * ```ts
 * import { loadTokenizer, runPipeline } from "pubmamba/pipeline";
 *
 * const tokenizer = loadTokenizer("tokenizer.json");
 * const { shards } = await runPipeline({
 *   source: "mirror",
 *   corpus: "corpus",
 *   tokenizer: "tokenizer.json",
 *   sequenceLength: 256,
 *   workers: 2,
 * });
 * if (!shards || tokenizer.vocabularySize < 1) throw new Error("There is nothing to train on");
 * ```
 * @module
 */
export type { FieldSelection } from "./citation/elements.ts";
export type { GivenSettings, PackingSettings } from "./corpus_settings.ts";
export type { Choice, Policies } from "./ingest/policy.ts";
export type { DownloadFigures } from "./ingest/download_meter.ts";
export { type RunOptions, runPipeline, type RunSummary } from "./run.ts";
export { rankPlaces, sampleRow } from "./selection/sampler.ts";
export type { SelectionSpec } from "./selection/selection.ts";
export type {
  Manifest,
  PackingMethod,
  ShardEntry,
  ShardFile,
  ShardSummary,
  Split,
  SplitEntry,
} from "./shards/mod.ts";
export type { HttpOptions } from "./source/http_client.ts";
export { buildTextCorpus, type BuiltTexts, type TextCorpusOptions } from "./texts/corpus.ts";
export {
  type DecodeOptions,
  type EncodeOptions,
  loadTokenizer,
  type StreamDecoder,
  type Tokenizer,
  type TokenizerJson,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./tokenizer/mod.ts";
