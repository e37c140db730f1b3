/**
 * The model in plain float64 TypeScript: the specification that the WebGPU model is compared with, and
 * the model of tests that need no device.
 * Parameters and moments are kept as float32 values, as they are stored; arithmetic is float64.
 * @module
 */
import { float64At } from "../../core/nth.ts";
import * as ops from "../../kernels/reference/mod.ts";
import type { MambaConfig } from "./config.ts";
import { kindOf } from "./kinds.ts";
import { addAdapterGradients, withAdapters } from "./reference_lora.ts";
import { type Parameter, parameterList, trainedParameters } from "./parameters.ts";
import { type HeadActivations, headBackward, headForward, headLosses } from "./reference_head.ts";
import {
  type Activations,
  backward,
  forward,
  languageBackward,
  languageLogits,
  type LayerState,
  type Piece,
  tensor,
  type Tensors,
} from "./reference_passes.ts";
import type {
  Batch,
  EvaluationReport,
  Moments,
  RecurrentModel,
  StepReport,
  TrainableModel,
  TrainingTerms,
  UpdateOptions,
} from "./types.ts";

const zeros = (list: readonly Parameter[]): Tensors =>
  new Map(list.map((p) => [p.name, new Float64Array(p.size)]));

const copyOf = (tensors: Tensors): Map<string, Float32Array> =>
  new Map([...tensors].map(([name, values]) => [name, Float32Array.from(values)]));

function roundToFloat32(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(float64At(values, i));
}

/** What a forward took and left. */
interface Pass {
  piece: Piece;
  /** With adapters in them. */
  weights: Tensors;
  seen: Activations;
}

/** The reference with gradients and optimizer. */
export class ReferenceModel implements TrainableModel {
  readonly config: MambaConfig;
  readonly batchSize: number;
  readonly sequenceLength: number;
  /** The gradients of the running step; of the last one after an update. */
  readonly gradients: Tensors;
  readonly #parameters: Tensors;
  readonly #m: Tensors;
  readonly #v: Tensors;
  readonly #averages: Tensors | undefined;
  readonly #terms: TrainingTerms;
  /** The next accumulate begins a step. */
  #fresh = true;
  #loss = 0;
  /** Without the objective's terms. */
  #plain = 0;
  /** Sums of 1, 2, 4, ... lanes that wait for another of their size; see gpu/lanes.ts. */
  #waiting: { gradients: Tensors; loss: number; plain: number }[] = [];
  #lanesDone = 0;
  #report: StepReport = { loss: NaN, gradNorm: NaN };

  constructor(
    config: MambaConfig,
    batchSize: number,
    sequenceLength: number,
    terms: TrainingTerms = {},
  ) {
    this.config = config;
    this.#terms = terms;
    const trained = trainedParameters(config);
    if (terms.averageDecay) this.#averages = zeros(trained);
    this.batchSize = batchSize;
    this.sequenceLength = sequenceLength;
    this.#parameters = zeros(parameterList(config));
    this.gradients = zeros(trained);
    this.#m = zeros(trained);
    this.#v = zeros(trained);
  }

  writeParameters(read: (name: string) => Float32Array): void {
    for (const [name, values] of this.#parameters) values.set(read(name));
    this.writeAverages(read);
    this.#fresh = true; // gradients of other values
    this.#lanesDone = 0;
  }

  writeAverages(read: (name: string) => Float32Array): void {
    for (const [name, values] of this.#averages ?? []) values.set(read(name));
  }

  swapAverages(): void {
    for (const [name, average] of this.#averages ?? []) {
      const values = tensor(this.#parameters, name);
      const copy = values.slice();
      values.set(average);
      average.set(copy);
    }
  }

  writeMoments(read: (name: string) => Moments): void {
    for (const name of this.#m.keys()) {
      const { m, v } = read(name);
      tensor(this.#m, name).set(m);
      tensor(this.#v, name).set(v);
    }
  }

  #forward(batch: Batch, training = false): Pass {
    const piece: Piece = {
      batch: this.batchSize,
      length: this.sequenceLength,
      starts: batch.starts,
    };
    if (training && this.config.lora?.dropout) {
      throw new RangeError("The reference trains adapters without dropout");
    }
    const { dropout, tokenDropout, stateDropout } = this.#terms;
    if (training && (dropout || tokenDropout || stateDropout)) {
      piece.dropout = { seed: batch.dropoutSeed ?? 0, dropout, tokenDropout, stateDropout };
    }
    const weights = withAdapters(this.config, this.#parameters);
    return { piece, weights, seen: forward(this.config, weights, batch.tokens, piece) };
  }

  #read = (name: string): Float64Array => {
    const values = this.#parameters.get(name);
    if (!values) throw new RangeError(`The model has no parameter ${name}`);
    return values;
  };

  /** The head of labels on what a forward saw, and the batch's items. */
  #head(batch: Batch, { hidden }: Activations) {
    const { head, hiddenSize: d } = this.config;
    const { items } = batch;
    if (!head) return undefined;
    if (!items) throw new RangeError("A batch came without items for the head of labels");
    const seen: HeadActivations = headForward(head, this.#read, hidden, d, items);
    return { head, items, seen, found: headLosses(head, this.#read, seen.logits, items) };
  }

  /** The logits of every position, (b l, padded vocabulary). */
  logits(batch: Batch): Float64Array {
    const { weights, seen } = this.#forward(batch);
    return languageLogits(this.config, weights, seen);
  }

  accumulate(batch: Batch, scale: number, before?: () => void): void {
    before?.();
    if (this.#fresh) {
      for (const gradient of this.gradients.values()) gradient.fill(0);
      this.#loss = 0;
      this.#plain = 0;
      this.#fresh = false;
    }
    const pass = this.#forward(batch, true);
    const { config } = this;
    // Adapters' gradients are made of those of the weights that they are beside.
    const gradients = config.lora ? zeros(parameterList(config)) : this.gradients;
    const labelled = this.#headBackward(batch, pass.seen, scale);
    const dhidden = labelled ?? this.#languageBackward(batch, pass, scale, gradients);
    backward(config, pass.weights, batch.tokens, pass.piece, pass.seen, dhidden, gradients);
    if (config.lora) addAdapterGradients(config, this.#parameters, gradients, this.gradients);
  }

  endLane(): void {
    let level = 0;
    for (; this.#lanesDone >> level & 1; level++) {
      const waiting = this.#waiting[level];
      if (!waiting) continue;
      for (const [name, gradient] of this.gradients) {
        const other = waiting.gradients.get(name);
        gradient.forEach((x, i) => gradient[i] = x + (other?.[i] ?? 0));
      }
      this.#loss += waiting.loss;
      this.#plain += waiting.plain;
    }
    this.#lanesDone++;
    if (this.#lanesDone >= (this.#terms.lanes ?? 1)) return;
    const gradients = new Map([...this.gradients].map(([name, g]) => [name, g.slice()]));
    this.#waiting[level] = { gradients, loss: this.#loss, plain: this.#plain };
    this.#fresh = true;
  }

  /** Loss and gradients of the tied head. */
  #languageBackward(
    { targets }: Batch,
    { weights, seen }: Pass,
    scale: number,
    gradients: Tensors,
  ): Float64Array {
    const { config } = this;
    const { objective } = this.#terms;
    const logits = languageLogits(config, weights, seen);
    const { nll } = ops.crossEntropy(logits, targets, objective);
    for (const value of nll) this.#loss += scale * value;
    if (objective) {
      for (const value of ops.crossEntropy(logits, targets).nll) this.#plain += scale * value;
    }
    const dlogits = ops.crossEntropyBackward(logits, targets, scale, objective);
    return languageBackward(config, weights, seen, dlogits, gradients);
  }

  /** Loss and gradients of a head of labels; undefined where the model has none. */
  #headBackward(batch: Batch, hidden: Activations, scale: number): Float64Array | undefined {
    const own = this.#head(batch, hidden);
    if (!own) return undefined;
    const { head, items, seen, found } = own;
    for (const value of found.losses) this.#loss += scale * value;
    return headBackward(head, this.#read, seen, found, {
      items,
      d: this.config.hiddenSize,
      rows: this.batchSize * this.sequenceLength,
      scale,
      collect: (name, gradient) => {
        const sum = this.gradients.get(name);
        gradient.forEach((x, i) => sum && (sum[i] = (sum[i] ?? 0) + x));
      },
    });
  }

  labelLogits(batch: Batch): Promise<Float32Array> {
    const own = this.#head(batch, this.#forward(batch).seen);
    if (!own) throw new RangeError("This model has no head of labels");
    return Promise.resolve(Float32Array.from(own.seen.logits));
  }

  update(options: UpdateOptions): void {
    const { rate = () => 1 } = this.#terms;
    const averageDecay = options.averageDecay ?? this.#terms.averageDecay ?? 0;
    const trained = trainedParameters(this.config).filter((parameter) => rate(parameter) !== 0);
    const gradNorm = ops.globalNorm(trained.map(({ name }) => tensor(this.gradients, name)));
    const { loss = Infinity, gradNorm: norm = Infinity } = options.skipAbove ?? {};
    const skipped = this.#loss > loss || gradNorm > norm;
    const plain = this.#terms.objective && !this.config.head ? { plainLoss: this.#plain } : {};
    this.#report = { loss: this.#loss, gradNorm, skipped, ...plain };
    this.#fresh = true;
    this.#lanesDone = 0;
    if (skipped || !Number.isFinite(gradNorm) || !Number.isFinite(this.#loss)) return;
    const clip = ops.clipCoefficient(gradNorm, options.maxGradNorm);
    for (const parameter of trained) {
      const { name } = parameter;
      const values = tensor(this.#parameters, name);
      const state = { parameter: values, m: tensor(this.#m, name), v: tensor(this.#v, name) };
      ops.adamW(state, tensor(this.gradients, name), {
        ...options,
        learningRate: options.learningRate * rate(parameter),
        weightDecay: parameter.decayed || this.#terms.decayAll ? options.weightDecay : 0,
        clip,
      });
      // As stored: a resumed run starts from the very same values.
      for (const stored of Object.values(state)) roundToFloat32(stored);
      const average = this.#averages?.get(name);
      average?.forEach((v, i) => average[i] = v + (1 - averageDecay) * (float64At(values, i) - v));
      if (average) roundToFloat32(average);
    }
  }

  report(): Promise<StepReport> {
    return Promise.resolve(this.#report);
  }

  evaluate(batch: Batch): Promise<Required<EvaluationReport>> {
    const own = this.config.head && this.#head(batch, this.#forward(batch).seen);
    if (own) {
      const { losses: positionNll } = own.found;
      const nll = positionNll.reduce((a, b) => a + b, 0);
      const rowNll = Float64Array.of(nll);
      return Promise.resolve({ nll, targets: own.items.count, rowNll, positionNll });
    }
    const { nll, scored } = ops.crossEntropy(this.logits(batch), batch.targets);
    const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
    const rowNll = Float64Array.from(
      { length: this.batchSize },
      (_, r) => sum(nll.subarray(r * this.sequenceLength, (r + 1) * this.sequenceLength)),
    );
    return Promise.resolve({ nll: sum(nll), targets: scored, rowNll, positionNll: nll });
  }

  logitsAt(
    batch: Batch,
    positions: readonly number[],
    use: (logits: Float32Array, index: number) => void,
  ): Promise<void> {
    const logits = this.logits(batch);
    const width = this.config.paddedVocabSize;
    positions.forEach((p, i) =>
      use(Float32Array.from(logits.subarray(p * width, (p + 1) * width)), i)
    );
    return Promise.resolve();
  }

  findNonFinite(): Promise<string | undefined> {
    const first = (tensors: Tensors) =>
      tensors.entries().find(([, values]) => values.some((v) => !Number.isFinite(v)))?.[0];
    return Promise.resolve(first(this.gradients) ?? first(this.#parameters));
  }

  readParameters(): Promise<Map<string, Float32Array>> {
    return Promise.resolve(copyOf(this.#parameters));
  }

  get keepsAverages(): boolean {
    return this.#averages !== undefined;
  }

  readAverages(): Promise<Map<string, Float32Array> | undefined> {
    return Promise.resolve(this.#averages && copyOf(this.#averages));
  }

  readMoments(): Promise<Map<string, Moments>> {
    const copies = new Map<string, Moments>();
    for (const [name, m] of this.#m) {
      const v = Float32Array.from(tensor(this.#v, name));
      copies.set(name, { m: Float32Array.from(m), v });
    }
    return Promise.resolve(copies);
  }

  destroy(): void {}
}

/** The reference as a generator: one token at a time on the recurrent state. */
export class ReferenceRecurrentModel implements RecurrentModel {
  readonly config: MambaConfig;
  readonly #parameters: Tensors = new Map();
  #states: LayerState[] = [];

  constructor(config: MambaConfig, read: (name: string) => Float32Array) {
    this.config = config;
    for (const { name } of parameterList(config)) {
      this.#parameters.set(name, Float64Array.from(read(name)));
    }
    this.reset();
  }

  /** The state of every layer, of a batch of 1. */
  get states(): readonly LayerState[] {
    return this.#states;
  }

  reset(): void {
    const { convKernel, layers } = this.config;
    const { channels, stateValues } = kindOf(this.config).parameters;
    this.#states = Array.from({ length: layers }, () => ({
      conv: new Float64Array(channels(this.config) * (convKernel - 1)),
      scan: new Float64Array(stateValues(this.config)),
    }));
  }

  step(token: number): Promise<Float32Array> {
    const piece = { batch: 1, length: 1, states: this.#states };
    const seen = forward(this.config, this.#parameters, [token], piece);
    const logits = languageLogits(this.config, this.#parameters, seen);
    return Promise.resolve(Float32Array.from(logits));
  }

  destroy(): void {}
}
