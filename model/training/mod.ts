/**
 * The room's door: training runs, from a corpus and starting weights to checkpoints and model folders.
 *
 * A run, in the order in which its files come into play:
 *
 * | file                                     | what it is                                               |
 * | ---------------------------------------- | -------------------------------------------------------- |
 * | `configuration.ts`, `recipes.ts`         | what can be set, with defaults; the recipes by name      |
 * | `corpus.ts`                              | what training asks of a corpus; documents selected       |
 * | `shard_corpus.ts`, `mixed_corpus.ts`     | a corpus folder, and a mix of several, as such a corpus  |
 * | `run.ts`                                 | a run as a whole: begins, goes on, outlives its device   |
 * | `plan.ts`                                | what is asked of it, checked before anything is written  |
 * | `start.ts`                               | the weights that it starts from                          |
 * | `terms.ts`                               | how its model trains: loss terms, frozen layers, f16     |
 * | `job.ts`, `share.ts`                     | the processes that share it, and each one's part         |
 * | `description.ts`, `run_file.ts`          | what it says of itself: run.json, model card, DONE       |
 * | **`loop.ts`**                            | **the training loop, one function**                      |
 *
 * The loop calls, step after step:
 *
 * | file                                     | what it is                                               |
 * | ---------------------------------------- | -------------------------------------------------------- |
 * | `rows.ts`                                | which rows a step trains on, alone or as one of ranks    |
 * | `step.ts`, `schedule.ts`                 | gradients and the update; fine-tuning uses them too      |
 * | `spikes.ts`                              | judges a step: go on, leave out, go back, fail           |
 * | `held_out.ts`                            | which rows of a held-out split are scored                |
 * | `perplexity.ts`, `samples.ts`            | the validation loss, and what the model writes           |
 * | `record.ts`                              | writes the step, and tells whoever listens               |
 * | `metrics.ts`, `tensorboard.ts`           | metrics.jsonl, and the same for TensorBoard              |
 * | `saver.ts`, `background_save.ts`         | checkpoints, written while training goes on              |
 * | `checkpoint_worker.ts`                   | the thread that writes them                              |
 * | `checkpoint_writer.ts`, `checkpoint.ts`  | writes, lists, checks and opens a checkpoint             |
 * | `validation_rows.ts`                     | what each validation came to row by row                  |
 * | `clock.ts`                               | what took how long                                       |
 *
 * Afterwards `export.ts` makes a model folder of a checkpoint, and `scored_weights.ts` opens a run or a
 * checkpoint with the weights that its validation scored.
 * @module
 */
export {
  adaptedConfig,
  describeTrained,
  requireSameAdapters,
  startWithAdapters,
} from "./adapters.ts";
export { openScoredWeights } from "./scored_weights.ts";
export { scoredRows } from "./held_out.ts";
export {
  flatten,
  mergeConfig,
  nest,
  parseOverride,
  type PartialConfig,
  readConfigFile,
  resolveConfig,
  type TrainConfig,
} from "./configuration.ts";
export {
  requireRows,
  type RowSource,
  selectedCorpus,
  type ShardsHash,
  type Split,
  type TrainingCorpus,
} from "./corpus.ts";
export {
  type CheckpointChoice,
  type ExportLayout,
  type ExportResult,
  exportRun,
} from "./export.ts";
export {
  ALONE,
  isAgreed,
  type Job,
  jobOf,
  rankDevices,
  type RankTimes,
  requireSame,
  tellFailure,
} from "./job.ts";
export type { LoopResult } from "./loop.ts";
export {
  MetricsWriter,
  readMetrics,
  type RunFigures,
  runFigures,
  type StepMetrics,
} from "./metrics.ts";
export { openMix } from "./mixed_corpus.ts";
export {
  evaluatePerplexity,
  type OnRow,
  type PerplexityRequest,
  type PerplexityResult,
} from "./perplexity.ts";
export type { TrainRequest } from "./plan.ts";
export { configFile, recipeNames } from "./recipes.ts";
export type { RunListener } from "./record.ts";
export { type RankRequest, type RankRow, rankRows } from "./rows.ts";
export { trainRun } from "./run.ts";
export {
  configChanges,
  doneResult,
  type FinetuningRecord,
  isRun,
  markDone,
  newRun,
  readRun,
  refuseExisting,
  type RunFile,
  writeRun,
} from "./run_file.ts";
export { readSamples, type RunSample } from "./samples.ts";
export { openCorpus } from "./shard_corpus.ts";
export { shareOf } from "./share.ts";
export { openStart } from "./start.ts";
export { trainingTerms } from "./terms.ts";
export { readValidations, type ScoredRows, type ValidationRows } from "./validation_rows.ts";
export {
  checkpointPath,
  cleanCheckpoints,
  listCheckpoints,
  openCheckpoint,
  openNewestCheckpoint,
  pruneCheckpoints,
  removeCheckpoint,
  type TrainerState,
} from "./checkpoint.ts";
export { saveCheckpoint } from "./checkpoint_writer.ts";
export { describeFailure, queueGradients, stepMetrics, updateOptions, wholeStep } from "./step.ts";
