/**
 * Mamba for programs: training runs on a corpus, model folders, evaluation and generation.
 *
 * ```ts
 * import { deviceModel, exportRun, openCorpus, openModelFolder, trainRun } from "pubmamba/model";
 * import { consoleReporter } from "pubmamba";
 *
 * using corpus = openCorpus("corpus");
 * const { step } = await trainRun({
 *   corpus,
 *   init: "random:tiny",
 *   out: "run",
 *   config: { steps: 2, batch: { rows: 1 } },
 *   resume: false,
 *   makeModel: deviceModel(),
 *   reporter: consoleReporter(),
 *   signal: new AbortController().signal,
 * });
 * exportRun("run", "model");
 * const model = openModelFolder("model");
 * if (step !== 2 || model.config.hiddenSize < 1) throw new Error("It did not train");
 * model.close();
 * ```
 *
 * Trainers of other makes that run on several devices read a rank's share of each step by
 * {@linkcode rankRows}; docs/shards.md has the example.
 * @module
 */
export type { Progress, Reporter } from "../core/reporter.ts";
export type { LossScale } from "../kernels/adamw/loss_scale.ts";
export type { MatrixUnits } from "../kernels/matrix_units.ts";
export type { Peaks } from "../kernels/peaks.ts";
export type { KernelTime } from "../kernels/plan.ts";
export type { ReadoutEntry } from "../kernels/reference/readout.ts";
export type { ProviderName } from "../kernels/providers.ts";
export type { SelectionSpec } from "../pipeline/selection/selection.ts";
export type { Interval } from "./statistics/mod.ts";
export {
  type AdapterBase,
  type AutotuneMode,
  type Batch,
  type BranchingModel,
  type CommonConfig,
  type CountedBatch,
  type DeviceModelOptions,
  type Dropouts,
  type EvaluationReport,
  type GeneratedToken,
  type GenerateOptions,
  generateTokens,
  type HeadConfig,
  type HeadContext,
  type HeadLoss,
  initialParameters,
  type ItemBatch,
  type LoraConfig,
  type MadeModel,
  makeBatch,
  type MakeModel,
  type Mamba1Config,
  type Mamba2Config,
  type MambaConfig,
  type ModelSnapshot,
  type Moments,
  type Parameter,
  parameterCount,
  parameterList,
  presetConfig,
  PRESETS,
  type ReadParameter,
  type RecurrentModel,
  type RecurrentOptions,
  type SamplingOptions,
  type StepReport,
  type TrainableModel,
  type TrainingTerms,
  type UpdateOptions,
} from "./mamba/mod.ts";
export { deviceModel, recurrentModel } from "./mamba/gpu/mod.ts";
export {
  type Highlight,
  reportAfterValidations,
  type ReportData,
  type ReportExtras,
  type ReportSample,
  type ReportTable,
  writeRunReport,
} from "./report/mod.ts";
export {
  type CheckpointChoice,
  evaluatePerplexity,
  type ExportLayout,
  type ExportResult,
  exportRun,
  type Job,
  type LoopResult,
  type OnRow,
  openCorpus,
  openMix,
  type PartialConfig,
  type PerplexityRequest,
  type PerplexityResult,
  type RankRequest,
  type RankRow,
  rankRows,
  type RankTimes,
  readMetrics,
  type RowSource,
  type RunListener,
  type RunSample,
  type ShardsHash,
  type Split,
  type StepMetrics,
  type TrainingCorpus,
  type TrainRequest,
  trainRun,
} from "./training/mod.ts";
export type { Bytes, Ranks } from "../core/mpi/ranks.ts";
export {
  downloadModel,
  downloadTokenizer,
  type FolderContents,
  type GgufType,
  type HubSettings,
  localModel,
  type ModelFolder,
  type ModelLayout,
  type ModelToWrite,
  openModelFolder,
  type Taught,
  writeModelFolder,
} from "./weights/mod.ts";
