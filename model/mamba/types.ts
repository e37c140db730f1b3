/**
 * What the trainer, the evaluator and the generator ask of a model, whatever computes it: the
 * WebGPU model, or the float64 reference that tests compare it with.
 * @module
 */
import type { Ranks } from "../../core/mpi/ranks.ts";
import type { LossScale } from "../../kernels/adamw/loss_scale.ts";
import type { Peaks } from "../../kernels/peaks.ts";
import type { KernelTime } from "../../kernels/plan.ts";
import type { ReadoutEntry } from "../../kernels/reference/readout.ts";
import type { MambaConfig } from "./config.ts";
import type { Dropouts } from "./dropouts.ts";
import type { Parameter } from "./parameters.ts";

/** The target of a position that is not scored. */
export const IGNORED_TARGET = -100;

/** What a head of labels reads of a batch, and what it is to say: n items. */
export interface ItemBatch {
  /** n, at most the model's capacity. */
  count: number;
  /** The rows (of b l) of which each slot of an item is a weighted sum. */
  entries: readonly ReadoutEntry[];
  /** softmax: (n) the label's number; sigmoid: (n, K) 0 or 1; squared: (n) the value. */
  targets: ArrayLike<number>;
  /** (n) what an item's loss is multiplied with; not of a conditional random field. */
  weights: ArrayLike<number>;
  /** The first item of each sequence, and n at the end: of a conditional random field. */
  sequences: ArrayLike<number>;
  /** Of a head with sparse features, each item's. */
  sparse?: readonly ArrayLike<number>[];
}

/** One micro-batch of packed rows. b rows of l tokens, row-major. */
export interface Batch {
  /** (b, l) token ids. */
  tokens: Uint32Array;
  /** (b, l) 1 where a document starts: state and convolution begin from zero there. */
  starts: Uint8Array;
  /** (b, l) the id to predict at each position, or {@linkcode IGNORED_TARGET}. */
  targets: Int32Array;
  /** Of a model with a head of labels, whose loss is of these alone. */
  items?: ItemBatch;
  /** Draws what is dropped where the model trains with dropout; an integer of 32 bits. */
  dropoutSeed?: number;
}

/** The hyper-parameters of one AdamW update with decoupled decay and global-norm clipping. */
export interface UpdateOptions {
  /** The update's number, counted from 1, for bias correction. */
  step: number;
  /** The step's, by the schedule. */
  learningRate: number;
  /** Decay of the first moment. */
  beta1: number;
  /** Decay of the second moment. */
  beta2: number;
  /** Added to the root of the second moment. */
  epsilon: number;
  /** Applied to matrices only: never to A_log, D, biases and norm weights. */
  weightDecay: number;
  /** Clip to this global L2 norm; Infinity for none. */
  maxGradNorm: number;
  /** The update is not applied where the step's loss or gradient norm lies above this. */
  skipAbove?: { loss: number; gradNorm: number };
  /** The decay of the running means in this update; by default the model's. */
  averageDecay?: number;
}

/** What one update saw. */
export interface StepReport {
  /**
   * Sum over the step's micro-batches of scale x negative log-likelihood, in nats: the mean. With it come
   * the objective's other terms, where it has some.
   */
  loss: number;
  /** The mean negative log-likelihood alone, where the objective has other terms. */
  plainLoss?: number;
  /** Global L2 norm of the gradient before clipping. Where it is not finite nothing was updated. */
  gradNorm: number;
  /** True where a limit of `skipAbove` was exceeded, so that nothing was updated. */
  skipped?: boolean;
  /**
   * Mixed precision: what the next gradients are scaled with, and true where this step's were not
   * finite at a larger scale, so that nothing was updated. That is no failure: the next will be.
   */
  lossScale?: number;
  /** See `lossScale`. */
  overflow?: boolean;
}

/** What an evaluation of a batch saw. */
export interface EvaluationReport {
  /** Sum over the scored positions, in nats. */
  nll: number;
  /** Scored positions. */
  targets: number;
  /** (b) */
  rowNll?: Float64Array;
  /** (b l), 0 where nothing is scored. */
  positionNll?: Float32Array | Float64Array;
}

/** Returns a parameter's values, row-major, by Hugging Face name. */
export type ReadParameter = (name: string) => Float32Array;

/** AdamW's two moments of one parameter. */
export interface Moments {
  /** First moment (mean of gradients), shaped as the parameter. */
  m: Float32Array;
  /** Second moment (mean of squared gradients). */
  v: Float32Array;
}

/** A model's tensors as they were at one moment, kept aside while the model goes on. */
export interface ModelSnapshot {
  /** Whether averages are among them. */
  readonly average: boolean;
  /**
   * The next bytes of all tensors in a checkpoint's order (`checkpointTensors`), each in the layout of
   * the device (`layoutOf`); undefined at the end. Waits for what is queued when it is called.
   */
  read(): Promise<ArrayBuffer | undefined>;
  /**
   * Where ranks share the steps, `read` gives what this rank has of the next bytes; every rank has to
   * hand that over here, in the same order, and rank 0 gets all of it, the others nothing.
   */
  join?(own: ArrayBuffer): Promise<ArrayBuffer | undefined>;
  /** Where the loss scale stood; undefined without one. */
  lossScale(): Promise<LossScale | undefined>;
  /** Frees what is kept. */
  destroy(): void;
}

/** A model with its gradients and optimizer. Parameters go by their Hugging Face names and shapes. */
export interface TrainableModel {
  /** Its sizes. */
  readonly config: MambaConfig;
  /** Rows of a batch. */
  readonly batchSize: number;
  /** Tokens of a row. */
  readonly sequenceLength: number;
  /** Uploads every parameter; `read` returns the values of one, in row-major order. */
  writeParameters(read: ReadParameter): void;
  /** Uploads the moments of every parameter; without a call they are zero. */
  writeMoments(read: (name: string) => Moments): void;
  /**
   * Forward and backward over one micro-batch, adding `scale` x gradient of the summed negative
   * log-likelihood to the gradients. Queued, not awaited. The first call after an update starts
   * from zero gradients. `before` is called when all is prepared, the batch uploaded and the commands
   * encoded, and just before they are queued: what waits for the device waits there, with the next
   * work at hand.
   */
  accumulate(batch: Batch, scale: number, before?: () => void): void;
  /**
   * Ends a lane: the micro-batches since the last call, or since the update, are one; see gpu/lanes.ts.
   * Called after every lane, the last one included, where a model is made with lanes; else never.
   */
  endLane(): void;
  /**
   * Clips and applies AdamW. Queued, not awaited; where ranks share the step the promise says that it
   * is queued, after their gradients were summed.
   */
  update(options: UpdateOptions): void | Promise<void>;
  /**
   * Loss and gradient norm of the last update that was queued before this call. The call itself may
   * wait for that update, as Deno's WebGPU does: the trainer has the next step's work prepared by then,
   * queues it right after, and only then awaits the promise.
   */
  report(): Promise<StepReport>;
  /**
   * Forward only: the summed negative log-likelihood in nats and the number of scored targets; where
   * a model gives them, the summed nll of each of the b rows and that of each of the (b l) positions.
   */
  evaluate(batch: Batch): Promise<EvaluationReport>;
  /**
   * Forward only: hands `use` the logits, over the padded vocabulary, of some positions of (b l), in
   * their order, few at a time. Targets are not looked at.
   */
  logitsAt(
    batch: Batch,
    positions: readonly number[],
    use: (logits: Float32Array, index: number) => void,
  ): Promise<void>;
  /**
   * Forward only: the logits of a batch's items, (n, K), of a model with a head of labels. Targets are
   * not looked at.
   */
  labelLogits?(batch: Batch): Promise<Float32Array>;
  /** Mixed precision: where its loss scale stands; undefined where the model has none. */
  readLossScale?(): Promise<LossScale | undefined>;
  /** Puts the loss scale where a checkpoint left it; undefined for the beginning. */
  writeLossScale?(scale: LossScale | undefined): void;
  /** The first parameter whose gradient (or else value) is not finite, or undefined. */
  findNonFinite(): Promise<string | undefined>;
  /**
   * Keeps the weights, moments and averages aside as they are after what is queued. Undefined where
   * there is no room for them. Of several ranks every one has to call it.
   */
  snapshot?(): Promise<ModelSnapshot | undefined>;
  /** Every parameter, row-major. */
  readParameters(): Promise<Map<string, Float32Array>>;
  /** AdamW's moments of every parameter. */
  readMoments(): Promise<Map<string, Moments>>;
  /** Uploads the averages of a run that goes on; `writeParameters` starts them from the weights. */
  writeAverages(read: (name: string) => Float32Array): void;
  /**
   * Exchanges the parameters with their averages, so that evaluation sees the averages; a second call
   * undoes it. Nothing where the model keeps none. Never between `accumulate` and `update`. Where ranks
   * share the steps the promise says that it is done.
   */
  swapAverages(): void | Promise<void>;
  /** Whether the model keeps averages. */
  readonly keepsAverages: boolean;
  /** The averaged parameters; undefined where the model keeps none. */
  readAverages(): Promise<Map<string, Float32Array> | undefined>;
  /**
   * One parameter's values, moment or average, without the others in memory beside it; undefined
   * where the model keeps none. A model may do without. Ranks that share the steps keep parts of moments
   * and averages: every rank has to ask for one, and rank 0 alone gets it.
   */
  readTensor?(
    slot: "value" | "m" | "v" | "average",
    name: string,
  ): Promise<Float32Array | undefined>;
  /** Frees what it holds. */
  destroy(): void;
}

/** How a model trains, beyond its sizes; fixed when it is made. */
export interface TrainingTerms extends Dropouts {
  /** Terms of the training loss besides the likelihood. */
  objective?: { labelSmoothing?: number; zLoss?: number };
  /**
   * What a parameter's learning rate is multiplied with: below 1 for layer-wise decay, 0 to freeze it
   * (it then counts in no norm). 1 by default.
   */
  rate?: (parameter: Parameter) => number;
  /** Weight decay applies to every parameter, A_log, D, biases and norm weights included. */
  decayAll?: boolean;
  /** Keep an exponential moving average of the parameters with this decay, such as 0.999. */
  averageDecay?: number;
  /** f32 by default; mixed where the device has f16. */
  precision?: "f32" | "mixed";
  /** Lanes of a step that this process computes, a power of two; 1 by default. */
  lanes?: number;
  /** The processes that a step is shared with; by default none. */
  ranks?: Ranks;
}

/** One generated token. */
export interface GeneratedToken {
  /** The id. */
  token: number;
  /** Natural log of its probability under the model. */
  logProbability: number;
}

/** A model that generates token by token with its recurrent state: constant memory a token. */
export interface RecurrentModel {
  /** Its sizes. */
  readonly config: MambaConfig;
  /** Forgets everything. */
  reset(): void;
  /** Feeds one token and returns the logits of the next, (padded vocabulary). */
  step(token: number): Promise<Float32Array>;
  /** Feeds one token without reading logits back: for all of a prompt but its last token. */
  feed?(token: number): void;
  /**
   * Feeds `tokens` (one per row), then, `steps` - 1 times, each row's likeliest next token (the lowest
   * id where several are) or what `forced(step, row)` names, and returns every row's choices.
   */
  greedy?(
    tokens: readonly number[],
    steps: number,
    forced?: (step: number, row: number) => number | undefined,
  ): Promise<GeneratedToken[][]>;
  /** The most steps of one `greedy`. */
  readonly mostSteps?: number;
  /** Frees what it holds. */
  destroy(): void;
}

/** A recurrent model whose rows step together, and whose states can be gone back to. */
export interface BranchingModel extends Pick<RecurrentModel, "config" | "reset" | "destroy"> {
  /** Sequences that step together. */
  readonly rows: number;
  /** Feeds one token to every row without reading logits back. */
  feedRows(tokens: readonly number[]): void;
  /** Feeds one token to every row and returns each row's logits, (rows, padded vocabulary). */
  stepRows(tokens: readonly number[]): Promise<Float32Array[]>;
  /** Forgets all that one row was fed. */
  clearRow(row: number): void;
  /** Keeps every row's state aside; states that were kept before are lost. */
  keepStates(): void;
  /** Goes back to the states that were kept last. */
  restoreStates(): void;
}

/** A model, ready to hold weights, and the device that it lives on. */
export interface MadeModel {
  /** Without weights as yet. */
  model: TrainableModel;
  /** One line that names the device. */
  device: string;
  /** Whether the device is the processor. */
  cpu?: boolean;
  /** The recurrent form of `model`, on its own weights as they are then. The caller destroys it. */
  recurrent?(): Promise<RecurrentModel>;
  /** The same with as many rows, whose states can be gone back to. */
  branching?(rows: number): Promise<BranchingModel>;
  /**
   * When each kernel of a step runs on the device, where it can tell. Weights, moments and loss scale
   * are to be written afterwards.
   */
  timeline?(): Promise<KernelTime[]>;
  /** Bytes of the device's memory that are taken, where they are counted. */
  memory?(): number;
  /** What the device reaches at best in the model's precision. */
  peaks?(): Promise<Peaks>;
  /** True once the device is gone for good, other than by `close`. */
  lost?(): boolean;
  /** Frees the model and the device. */
  close(): void;
}

/** Makes a model for batches of a shape. Its weights are written afterwards. */
export type MakeModel = (
  config: MambaConfig,
  shape: TrainingTerms & {
    batchSize: number;
    sequenceLength: number;
    /** False for a model that only evaluates; by default true. */
    training?: boolean;
  },
) => Promise<MadeModel>;
