/**
 * What the commands do, for programs: from PubMed's XML to shards, training, evaluation, generation.
 *
 * ```ts
 * await runPipeline({ source: "mirror", corpus: "corpus", tokenizer: "tokenizer.json", workers: 2 });
 * const reporter = consoleReporter(), signal = new AbortController().signal;
 * using corpus = openCorpus("corpus");
 * const { checkpoint } = await trainRun({
 *   corpus,
 *   init: "random:tiny",
 *   out: "run",
 *   config: { steps: 2, batch: { rows: 1 } },
 *   resume: false,
 *   makeModel: deviceModel(),
 *   reporter,
 *   signal,
 * });
 * exportRun("run", "model");
 * const model = openModelFolder("model"), tokenizer = loadTokenizer(model.tokenizerFile!);
 * const device = await openDevice();
 * const generator = await createRecurrentMamba(device, model.config, model.read);
 * const prompt = [model.config.endOfText, ...tokenizer.encode("The effect of")];
 * for await (const { token } of generateTokens(generator, prompt, { maxNewTokens: 5 })) {
 *   reporter.write(tokenizer.decode([token]));
 * }
 * ```
 *
 * Trainers of other makes that run on several devices read a rank's share of each step by
 * {@linkcode rankRows}; docs/shards.md has the example.
 * @module
 */
export { Interrupted, UserError } from "./core/errors.ts";
export { consoleReporter, type Progress, type Reporter } from "./core/reporter.ts";

export { type RunOptions, runPipeline, type RunSummary } from "./pipeline/run.ts";
export type { FieldSelection } from "./pipeline/citation/elements.ts";
export type { Policies } from "./pipeline/ingest/policy.ts";
export type { ShardSummary } from "./pipeline/ingest/shards.ts";
export type { HttpOptions } from "./pipeline/source/http_client.ts";
export type { PackingMethod } from "./pipeline/shards/mod.ts";
export { buildTextCorpus, type TextCorpusOptions } from "./pipeline/texts/corpus.ts";
export type { SelectionSpec } from "./pipeline/selection/selection.ts";
export { loadTokenizer, type Tokenizer } from "./pipeline/tokenizer/mod.ts";
export type { StreamDecoder } from "./pipeline/tokenizer/decoder.ts";
export type { DecodeOptions, EncodeOptions } from "./pipeline/tokenizer/tokenizer.ts";
export { rankPlaces, sampleRow } from "./pipeline/selection/sampler.ts";

export { DeviceError } from "./kernels/errors.ts";
export { type Device, type DeviceOptions, type Provider, type Variant } from "./kernels/device.ts";
export { openDevice } from "./kernels/open_device.ts";
export type { LossScale } from "./kernels/adamw/loss_scale.ts";
export type { Objective } from "./kernels/cross_entropy/cross_entropy.ts";
export type { MatrixUnits } from "./kernels/matmul/matrix_units.ts";
export type { Peaks } from "./kernels/peaks.ts";
export type { KernelTime } from "./kernels/plan.ts";
export type { ProviderName } from "./kernels/providers.ts";

export { type MambaConfig, presetConfig, PRESETS } from "./model/mamba/config.ts";
export { type Parameter, parameterCount, parameterList } from "./model/mamba/parameters.ts";
export { initialParameters } from "./model/mamba/initialize.ts";
export {
  type ModelFolder,
  type ModelToWrite,
  openModelFolder,
  writeModelFolder,
} from "./model/weights/folder.ts";
export type { FolderContents } from "./model/weights/folder_writer.ts";
export {
  downloadModel,
  downloadTokenizer,
  type HubSettings,
  localModel,
} from "./model/weights/hub.ts";
export type { RowSource, Split, TrainingCorpus } from "./model/training/corpus.ts";
export { openCorpus } from "./model/training/shard_corpus.ts";
export { openMix } from "./model/training/mixed_corpus.ts";
export { type RankRequest, type RankRow, rankRows } from "./model/training/rows.ts";
export { deviceModel, type DeviceModelOptions } from "./model/mamba/device_model.ts";
export {
  createMamba,
  type Mamba,
  type MambaOptions,
  type MemoryPlan,
  type Precision,
} from "./model/mamba/mamba.ts";
export type { AutotuneMode } from "./model/mamba/gpu/autotune.ts";
export type {
  Batch,
  EvaluationReport,
  MadeModel,
  MakeModel,
  ModelSnapshot,
  Moments,
  ReadParameter,
  RecurrentModel,
  StepReport,
  TrainableModel,
  TrainingTerms,
  UpdateOptions,
} from "./model/mamba/types.ts";
export { type CountedBatch, makeBatch } from "./model/mamba/batch.ts";
export type { LoopResult } from "./model/training/loop.ts";
export type { RunListener } from "./model/training/record.ts";
export type { RunSample } from "./model/training/samples.ts";
export type { Spike, SpikeEvent } from "./model/training/spikes.ts";
export {
  type PartialConfig,
  resolveConfig,
  type TrainConfig,
} from "./model/training/configuration.ts";
export { type TrainRequest, trainRun } from "./model/training/run.ts";
export { readMetrics, type StepMetrics } from "./model/training/metrics.ts";
export {
  evaluatePerplexity,
  type OnRow,
  type PerplexityRequest,
  type PerplexityResult,
} from "./model/training/perplexity.ts";
export type { Interval } from "./model/statistics/mod.ts";
export { type CheckpointChoice, type ExportResult, exportRun } from "./model/training/export.ts";
export { createRecurrentMamba, type RecurrentOptions } from "./model/mamba/recurrent.ts";
export { type GenerateOptions, generateTokens } from "./model/mamba/generate.ts";
export type { SamplingOptions } from "./model/mamba/sampling.ts";
export type { GeneratedToken } from "./model/mamba/types.ts";
