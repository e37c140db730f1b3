/**
 * The room's door: Mamba itself. What computes on a device has a door of its own, `gpu/mod.ts`, so
 * that a command that only describes a model does not load the kernels.
 *
 * | file                                | what it is                                                     |
 * | ----------------------------------- | -------------------------------------------------------------- |
 * | `config.ts`                         | the sizes of a model, presets, Hugging Face's config.json       |
 * | `parameters.ts`, `initialize.ts`    | names and shapes of the parameters, and their first values      |
 * | `batch.ts`, `random.ts`             | rows as a batch of tokens, starts and targets; seeded numbers   |
 * | `head.ts`                           | a head of labels: what it reads, its loss, its parameters       |
 * | `lora.ts`                           | adapters of low rank: which matrices have them, their merge     |
 * | `types.ts`                          | what trainer, evaluator and generator ask of any model          |
 * | `mamba.ts`, `gpu/`                  | the model on a WebGPU device: forward, backward, AdamW          |
 * | `device_model.ts`                   | opens a device and makes a model on it                          |
 * | `recurrent.ts`                      | the same model token by token, with its recurrent state         |
 * | `generate.ts`, `sampling.ts`        | texts from a recurrent model                                    |
 * | `hidden_states.ts`                  | a model whose logits are hidden states                          |
 * | `checkpoint_tensors.ts`             | the order in which a snapshot hands over its tensors            |
 * | `reference.ts`, `reference_passes.ts` | the float64 specification that tests compare with             |
 * @module
 */
export { type CountedBatch, makeBatch, scoredPositions } from "./batch.ts";
export type { HeadConfig, HeadContext, HeadLoss } from "./head.ts";
export {
  type CommonConfig,
  type Mamba1Config,
  type Mamba2Config,
  type MambaConfig,
  presetConfig,
  PRESETS,
  withoutHead,
  withoutLora,
} from "./config.ts";
export { huggingFaceConfig, parseConfig } from "./config_file.ts";
export {
  type CheckpointSlot,
  type CheckpointTensor,
  checkpointTensors,
} from "./checkpoint_tensors.ts";
export type { DeviceModelOptions } from "./device_model.ts";
export { type GenerateOptions, generateTokens } from "./generate.ts";
export type { AutotuneMode } from "./gpu/autotune.ts";
export { type Dropouts } from "./dropouts.ts";
export { HEAD_SPARSE, isHeadParameter } from "./head.ts";
export { type AdapterBase, isAdapterParameter, type LoraConfig } from "./lora.ts";
export { initialParameters } from "./initialize.ts";
export type { MemoryPlan, Precision } from "./mamba.ts";
export {
  canonicalName,
  EMBEDDING,
  type LoraRequest,
  type Parameter,
  parameterCount,
  parameterList,
  trainedCount,
  trainedParameters,
  withLora,
} from "./parameters.ts";
export { Random } from "./random.ts";
export type { RecurrentOptions } from "./recurrent.ts";
export { type SamplingOptions } from "./sampling.ts";
export {
  type Batch,
  type BranchingModel,
  type EvaluationReport,
  type GeneratedToken,
  IGNORED_TARGET,
  type ItemBatch,
  type MadeModel,
  type MakeModel,
  type ModelSnapshot,
  type Moments,
  type ReadParameter,
  type RecurrentModel,
  type StepReport,
  type TrainableModel,
  type TrainingTerms,
  type UpdateOptions,
} from "./types.ts";
