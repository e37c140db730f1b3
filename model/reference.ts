/**
 * Mamba-1 in plain float64 TypeScript: the specification that the WebGPU model is compared with, and
 * the model of tests that need no device. Composed of the operations of `kernels/reference/`.
 * Parameters and moments are kept as float32 values, as they are stored; arithmetic is float64.
 * @module
 */
import * as ops from "../kernels/reference/mod.ts";
import type { MambaConfig } from "./config.ts";
import { EMBEDDING, parameterList } from "./parameters.ts";
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

/** Values by Hugging Face parameter name. */
export type Tensors = Map<string, Float64Array>;

/** What a mixer's forward pass leaves for the backward pass. Rows are (b l). */
interface LayerActivations {
  /** (rows, d) the residual stream that enters, and its norm. */
  stream: Float64Array;
  normed: Float64Array;
  /** (rows, e) the two halves of in_proj's output: the convolution's input, and the gate. */
  x: Float64Array;
  /** (rows, e) the convolution's output after SiLU. */
  u: Float64Array;
  /** (rows, r) the low-rank form of delta. */
  timeStep: Float64Array;
  scan: ops.SelectiveScanInput;
  /** (rows, e) the gated output of the scan. */
  y: Float64Array;
}

/** What a whole forward pass leaves. */
interface Activations {
  layers: LayerActivations[];
  /** (rows, d) the residual stream after the last mixer, and its norm. */
  stream: Float64Array;
  hidden: Float64Array;
  /** (rows, padded vocabulary) */
  logits: Float64Array;
}

/** The columns [from, to) of a matrix with `width` columns. */
function columns(matrix: Float64Array, width: number, from: number, to: number): Float64Array {
  const rows = matrix.length / width, out = new Float64Array(rows * (to - from));
  for (let r = 0; r < rows; r++) {
    out.set(matrix.subarray(r * width + from, r * width + to), r * (to - from));
  }
  return out;
}

/** Matrices of equally many rows, side by side. */
function beside(rows: number, ...parts: Float64Array[]): Float64Array {
  const widths = parts.map((p) => p.length / rows), width = widths.reduce((a, b) => a + b, 0);
  const out = new Float64Array(rows * width);
  let at = 0;
  parts.forEach((part, i) => {
    const w = widths[i]!;
    for (let r = 0; r < rows; r++) out.set(part.subarray(r * w, (r + 1) * w), r * width + at);
    at += w;
  });
  return out;
}

/** State that a mixer carries from one piece of a sequence to the next. */
export interface LayerState {
  /** (b, e, convKernel - 1) */
  conv: Float64Array;
  /** (b, e, n) */
  scan: Float64Array;
}

/** The shape of a piece of input: b rows of l tokens, document starts, and states to go on from. */
interface Piece {
  batch: number;
  length: number;
  starts?: Uint8Array;
  states?: LayerState[];
}

function mixerForward(
  config: MambaConfig,
  weight: (name: string) => Float64Array,
  stream: Float64Array,
  piece: Piece,
  state?: LayerState,
): LayerActivations {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const { batch, length, starts } = piece;
  const normed = ops.rmsNorm(stream, weight("norm.weight"), config.normEpsilon).y;
  const xz = ops.linear(normed, weight("mixer.in_proj.weight"), d, 2 * e);
  const x = columns(xz, 2 * e, 0, e);
  const u = ops.convSilu({
    batch,
    length,
    x,
    weight: weight("mixer.conv1d.weight"),
    bias: weight("mixer.conv1d.bias"),
    initial: state?.conv,
    starts,
  });
  const projected = ops.linear(u, weight("mixer.x_proj.weight"), e, r + 2 * n);
  const timeStep = columns(projected, r + 2 * n, 0, r);
  const scan: ops.SelectiveScanInput = {
    batch,
    length,
    u,
    delta: ops.linear(timeStep, weight("mixer.dt_proj.weight"), r, e),
    A: weight("mixer.A_log").map((v) => -Math.exp(v)),
    B: columns(projected, r + 2 * n, r, r + n),
    C: columns(projected, r + 2 * n, r + n, r + 2 * n),
    D: weight("mixer.D"),
    z: columns(xz, 2 * e, e, 2 * e),
    deltaBias: weight("mixer.dt_proj.bias"),
    softplus: true,
    initialState: state?.scan,
    starts,
  };
  const { y, lastState } = ops.selectiveScan(scan);
  if (state) {
    const conv = { batch, length, x, weight: weight("mixer.conv1d.weight"), initial: state.conv };
    state.conv = ops.convFinalState({ ...conv, bias: weight("mixer.conv1d.bias") });
    state.scan = lastState;
  }
  return { stream, normed, x, u, timeStep, scan, y };
}

const add = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);

function forward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
): Activations {
  const { hiddenSize: d, intermediateSize: e } = config;
  const embedding = parameters.get(EMBEDDING)!, layers: LayerActivations[] = [];
  let stream = ops.embedding(tokens, embedding, d);
  for (let i = 0; i < config.layers; i++) {
    const weight = (name: string) => parameters.get(`backbone.layers.${i}.${name}`)!;
    const layer = mixerForward(config, weight, stream, piece, piece.states?.[i]);
    layers.push(layer);
    stream = add(stream, ops.linear(layer.y, weight("mixer.out_proj.weight"), e, d));
  }
  const norm = parameters.get("backbone.norm_f.weight")!;
  const hidden = ops.rmsNorm(stream, norm, config.normEpsilon).y;
  const logits = ops.linear(hidden, embedding, d, config.paddedVocabSize);
  return { layers, stream, hidden, logits };
}

/** Adds the gradients of `dlogits` to `gradients`. */
function backward(
  config: MambaConfig,
  parameters: Tensors,
  tokens: ArrayLike<number>,
  piece: Piece,
  seen: Activations,
  dlogits: Float64Array,
  gradients: Tensors,
): void {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const rows = tokens.length, epsilon = config.normEpsilon;
  const collect = (name: string, gradient: Float64Array) => {
    const sum = gradients.get(name)!;
    for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]!;
  };
  const embedding = parameters.get(EMBEDDING)!, normF = "backbone.norm_f.weight";
  const head = ops.linearBackward(dlogits, seen.hidden, embedding, d, config.paddedVocabSize);
  collect(EMBEDDING, head.dweight);
  const last = ops.rmsNormBackward(head.dx, seen.stream, parameters.get(normF)!, epsilon);
  collect(normF, last.dweight);
  let dstream = last.dx;
  for (let i = config.layers - 1; i >= 0; i--) {
    const { stream, normed, x, u, timeStep, scan, y } = seen.layers[i]!;
    const full = (name: string) => `backbone.layers.${i}.${name}`;
    const weight = (name: string) => parameters.get(full(name))!;
    const linear = (name: string, dy: Float64Array, input: Float64Array, k: number, o: number) => {
      const { dx, dweight } = ops.linearBackward(dy, input, weight(name), k, o);
      collect(full(name), dweight);
      return dx;
    };
    const dy = linear("mixer.out_proj.weight", dstream, y, e, d);
    const s = ops.selectiveScanBackward(scan, dy);
    collect(full("mixer.D"), s.dD);
    collect(full("mixer.A_log"), s.dA.map((v, j) => v * scan.A[j]!));
    collect(full("mixer.dt_proj.bias"), s.ddeltaBias);
    const dtimeStep = linear("mixer.dt_proj.weight", s.ddelta, timeStep, r, e);
    const dprojected = beside(rows, dtimeStep, s.dB, s.dC);
    const du = add(s.du, linear("mixer.x_proj.weight", dprojected, u, e, r + 2 * n));
    const conv = ops.convSiluBackward({
      ...piece,
      x,
      weight: weight("mixer.conv1d.weight"),
      bias: weight("mixer.conv1d.bias"),
    }, du);
    collect(full("mixer.conv1d.weight"), conv.dweight);
    collect(full("mixer.conv1d.bias"), conv.dbias);
    const dxz = beside(rows, conv.dx, s.dz);
    const dnormed = linear("mixer.in_proj.weight", dxz, normed, d, 2 * e);
    const norm = ops.rmsNormBackward(dnormed, stream, weight("norm.weight"), epsilon, dstream);
    collect(full("norm.weight"), norm.dweight);
    dstream = norm.dx;
  }
  ops.embeddingBackward(tokens, dstream, gradients.get(EMBEDDING)!, d);
}

const zeros = (config: MambaConfig): Tensors =>
  new Map(parameterList(config).map((p) => [p.name, new Float64Array(p.size)]));

const copyOf = (tensors: Tensors): Map<string, Float32Array> =>
  new Map([...tensors].map(([name, values]) => [name, Float32Array.from(values)]));

function roundToFloat32(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(values[i]!);
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
  #report: StepReport = { loss: NaN, gradNorm: NaN };

  constructor(
    config: MambaConfig,
    batchSize: number,
    sequenceLength: number,
    terms: TrainingTerms = {},
  ) {
    this.config = config;
    this.#terms = terms;
    if (terms.averageDecay) this.#averages = zeros(config);
    this.batchSize = batchSize;
    this.sequenceLength = sequenceLength;
    this.#parameters = zeros(config);
    this.gradients = zeros(config);
    this.#m = zeros(config);
    this.#v = zeros(config);
  }

  writeParameters(read: (name: string) => Float32Array): void {
    for (const [name, values] of this.#parameters) values.set(read(name));
    this.writeAverages(read);
    this.#fresh = true; // gradients of other values
  }

  writeAverages(read: (name: string) => Float32Array): void {
    for (const [name, values] of this.#averages ?? []) values.set(read(name));
  }

  swapAverages(): void {
    for (const [name, average] of this.#averages ?? []) {
      const values = this.#parameters.get(name)!, copy = values.slice();
      values.set(average);
      average.set(copy);
    }
  }

  writeMoments(read: (name: string) => Moments): void {
    for (const name of this.#parameters.keys()) {
      const { m, v } = read(name);
      this.#m.get(name)!.set(m);
      this.#v.get(name)!.set(v);
    }
  }

  #forward(batch: Batch): { piece: Piece; seen: Activations } {
    const piece = { batch: this.batchSize, length: this.sequenceLength, starts: batch.starts };
    return { piece, seen: forward(this.config, this.#parameters, batch.tokens, piece) };
  }

  /** The logits of every position, (b l, padded vocabulary). */
  logits(batch: Batch): Float64Array {
    return this.#forward(batch).seen.logits;
  }

  accumulate(batch: Batch, scale: number, before?: () => void): void {
    before?.();
    if (this.#fresh) {
      for (const gradient of this.gradients.values()) gradient.fill(0);
      this.#loss = 0;
      this.#fresh = false;
    }
    const { piece, seen } = this.#forward(batch);
    const { objective } = this.#terms, { targets } = batch, { config, gradients } = this;
    const { nll } = ops.crossEntropy(seen.logits, targets, objective);
    for (const value of nll) this.#loss += scale * value;
    const dlogits = ops.crossEntropyBackward(seen.logits, targets, scale, objective);
    backward(config, this.#parameters, batch.tokens, piece, seen, dlogits, gradients);
  }

  update(options: UpdateOptions): void {
    const { rate = () => 1, averageDecay = 0 } = this.#terms;
    const trained = parameterList(this.config).filter((parameter) => rate(parameter) !== 0);
    const gradNorm = ops.globalNorm(trained.map(({ name }) => this.gradients.get(name)!));
    const { loss = Infinity, gradNorm: norm = Infinity } = options.skipAbove ?? {};
    const skipped = this.#loss > loss || gradNorm > norm;
    this.#report = { loss: this.#loss, gradNorm, skipped };
    this.#fresh = true;
    if (skipped || !Number.isFinite(gradNorm) || !Number.isFinite(this.#loss)) return;
    const clip = ops.clipCoefficient(gradNorm, options.maxGradNorm);
    for (const parameter of trained) {
      const { name } = parameter, values = this.#parameters.get(name)!;
      const state = { parameter: values, m: this.#m.get(name)!, v: this.#v.get(name)! };
      ops.adamW(state, this.gradients.get(name)!, {
        ...options,
        learningRate: options.learningRate * rate(parameter),
        weightDecay: parameter.decayed ? options.weightDecay : 0,
        clip,
      });
      // As stored: a resumed run starts from the very same values.
      for (const stored of Object.values(state)) roundToFloat32(stored);
      const average = this.#averages?.get(name);
      average?.forEach((v, i) => average[i] = v + (1 - averageDecay) * (values[i]! - v));
      if (average) roundToFloat32(average);
    }
  }

  report(): Promise<StepReport> {
    return Promise.resolve(this.#report);
  }

  evaluate(batch: Batch): Promise<Required<EvaluationReport>> {
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
    const logits = this.logits(batch), width = this.config.paddedVocabSize;
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

  readAverages(): Promise<Map<string, Float32Array> | undefined> {
    return Promise.resolve(this.#averages && copyOf(this.#averages));
  }

  readMoments(): Promise<Map<string, Moments>> {
    const copies = new Map<string, Moments>();
    for (const [name, m] of this.#m) {
      const v = Float32Array.from(this.#v.get(name)!);
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
    const { intermediateSize: e, stateSize: n, convKernel, layers } = this.config;
    this.#states = Array.from({ length: layers }, () => ({
      conv: new Float64Array(e * (convKernel - 1)),
      scan: new Float64Array(e * n),
    }));
  }

  step(token: number): Promise<Float32Array> {
    const piece = { batch: 1, length: 1, states: this.#states };
    return Promise.resolve(
      Float32Array.from(forward(this.config, this.#parameters, [token], piece).logits),
    );
  }

  destroy(): void {}
}
