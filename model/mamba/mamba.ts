/**
 * A model on the device: forward, backward and AdamW over packed batches, as plans that are built
 * once and replayed.
 * @module
 */
import { fail } from "../../core/errors.ts";
import type { Ranks } from "../../core/mpi/ranks.ts";
import { float32At, float64At, nth } from "../../core/nth.ts";
import { adamWHyper, skipLimits } from "../../kernels/adamw/adamw.ts";
import {
  decodeLossScale,
  encodeLossScale,
  FIRST_LOSS_SCALE,
  type LossScale,
} from "../../kernels/adamw/loss_scale.ts";
import { checkHalf } from "../../kernels/cast/cast.ts";
import { dropoutState } from "../../kernels/dropout/dropout.ts";
import { checkMatrixUnits } from "../../kernels/matmul/unit_check.ts";
import { type Device } from "../../kernels/device.ts";
import { isCpuDriver } from "../../kernels/open_device.ts";
import { tokenSegments } from "../../kernels/embedding/embedding.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { type Matrix, subregion } from "../../kernels/layout.ts";
import { matmul } from "../../kernels/matmul/mod.ts";
import { Plan } from "../../kernels/plan.ts";
import { Workbench } from "../../kernels/workbench.ts";
import type { MambaConfig } from "./config.ts";
import {
  allocateModel,
  type MambaOptions,
  type ModelBuffers,
  RESULT_BYTES,
} from "./gpu/buffers.ts";
import { autotune, autotuneAlternatives, productShapes } from "./gpu/autotune.ts";
import { type Dropouts, stateSeed } from "./dropouts.ts";
import { headChunk } from "./gpu/head.ts";
import { readLabelLogits, uploadItems } from "./gpu/label_head.ts";
import { LaneSums, lossRegions } from "./gpu/lanes.ts";
import { freeExchange, RankExchange } from "./gpu/rank_exchange.ts";
import { isSliced } from "./gpu/rank_slices.ts";
import type { LayerActivations } from "./gpu/layer_buffers.ts";
import { headAdapter } from "./gpu/low_rank.ts";
import {
  backwardPlan,
  clearPlan,
  evaluationPlan,
  exchangePlan,
  forwardPlan,
  roundPlan,
  type UpdatePlan,
  updatePlan,
} from "./gpu/step_plans.ts";
import { takeSnapshot } from "./gpu/snapshot.ts";
import { chooseMemoryPlan, type MemoryPlan, memoryPlan } from "./gpu/memory_plan.ts";
import { type ParameterStore, slotOf } from "./gpu/store.ts";
import { EMBEDDING, trainedParameters } from "./parameters.ts";
import type {
  Batch,
  EvaluationReport,
  ModelSnapshot,
  Moments,
  StepReport,
  TrainableModel,
  UpdateOptions,
} from "./types.ts";

export type { MambaOptions, Precision } from "./gpu/buffers.ts";
export type { MemoryPlan } from "./gpu/memory_plan.ts";

/** Positions whose logits are on the host at a time: 64 of 50,280 ids take 13 MB. */
const LOGITS_AT_ONCE = 64;

/** A model on a device. */
export class Mamba implements TrainableModel {
  /** Its sizes. */
  readonly config: MambaConfig;
  readonly batchSize: number;
  /** Tokens of a row (l). */
  readonly sequenceLength: number;
  /** Where it lives. */
  readonly device: Device;
  /** Its parameters there. */
  readonly store: ParameterStore;
  /** What was planned to be allocated. */
  readonly memory: MemoryPlan;
  /** What a forward leaves; every layer's only where the model trains without recomputation. */
  readonly activations: { layers: readonly LayerActivations[]; last: Matrix; hidden: Matrix };
  #buffers: ModelBuffers;
  #forward: Plan;
  #evaluate: Plan;
  #train?: Plan;
  #clear?: Plan;
  #update?: UpdatePlan;
  /** Exchanges values and averages. */
  #exchange?: Plan;
  #limits = skipLimits(undefined);
  /** Rounds the matrices to f16, in mixed precision. */
  #round?: Plan;
  #fresh = true;
  /** The shares that training drops. */
  #dropouts: Dropouts;
  #lanes?: LaneSums;
  #rankExchange?: RankExchange;
  readonly #ranks: Ranks | undefined;
  /** Of the running means, where an update says nothing else. */
  #averageDecay: number | undefined;
  #reported?: Promise<StepReport>;

  /** @ignore Use {@linkcode createMamba}. */
  constructor(device: Device, config: MambaConfig, options: MambaOptions, memory: MemoryPlan) {
    this.device = device;
    this.config = config;
    this.batchSize = options.batchSize;
    this.sequenceLength = options.sequenceLength;
    this.memory = memory;
    this.#dropouts = options;
    this.#averageDecay = options.averageDecay;
    const planned = { ...options, recompute: memory.recompute };
    const buffers = this.#buffers = allocateModel(device, config, planned);
    const { store, layers, last, hidden } = buffers;
    this.store = store;
    this.activations = { layers, last, hidden };
    const setting = { device, config, options: planned, buffers };
    this.#round = roundPlan(setting);
    this.#forward = forwardPlan(setting);
    this.#evaluate = evaluationPlan(setting);
    if (!buffers.training) return;
    this.#train = backwardPlan(setting);
    this.#clear = clearPlan(setting);
    this.#update = updatePlan(setting);
    this.#lanes = new LaneSums(device, buffers, options.lanes ?? 1);
    this.#ranks = options.ranks;
    const { exchange, squares } = buffers.training;
    if (options.ranks && store.sliced && exchange) {
      this.#rankExchange = new RankExchange(device, {
        ranks: options.ranks,
        buckets: store.sliced.buckets.filter(({ range }) => range.rate !== 0),
        losses: lossRegions(buffers.result),
        partials: squares,
        buffers: exchange,
      });
    }
    this.#exchange = exchangePlan(setting);
  }

  writeParameters(read: (name: string) => Float32Array): void {
    this.store.write("value", read);
    if (this.store.keeps("average")) this.store.write("average", read);
    this.#round?.submit();
    this.#fresh = true; // gradients of other values
    this.#lanes?.restart();
  }

  /** Uploads the running means of a run that goes on; {@linkcode writeParameters} starts them. */
  writeAverages(read: (name: string) => Float32Array): void {
    this.store.write("average", read);
  }

  /** The running means of the parameters, where the model keeps them. */
  get keepsAverages(): boolean {
    return this.store.keeps("average");
  }

  async readAverages(): Promise<Map<string, Float32Array> | undefined> {
    return this.store.keeps("average") ? await this.#readSlot("average") : undefined;
  }

  /** One slot of every parameter; of a sliced one every rank has to call it, and rank 0 alone gets it. */
  async #readSlot(slot: "m" | "v" | "average"): Promise<Map<string, Float32Array>> {
    if (!this.store.sliced) return await this.store.read(slot);
    const found = new Map<string, Float32Array>();
    for (const { name } of trainedParameters(this.config)) {
      const values = await this.readTensor(slot, name);
      if (values) found.set(name, values);
    }
    return found;
  }

  swapAverages(): void | Promise<void> {
    if (!this.#exchange) return;
    this.#exchange.submit();
    if (this.#rankExchange) return this.#gatherValues(this.#rankExchange);
    this.#round?.submit();
  }

  /** Every rank gets the values that the others own. */
  async #gatherValues(exchange: RankExchange): Promise<void> {
    await exchange.gather(({ range, inArena, size }) =>
      subregion(slotOf(nth(this.store.arenas, range.arena).regions, "value"), inArena, size)
    );
    this.#round?.submit();
  }

  writeMoments(read: (name: string) => Moments): void {
    this.store.write("m", (name) => read(name).m);
    this.store.write("v", (name) => read(name).v);
  }

  #upload(batch: Batch, backward: boolean, hiddenAlone = false): void {
    const { device } = this;
    const { inputs } = this.#buffers;
    const rows = this.batchSize * this.sequenceLength;
    if (batch.tokens.length !== rows) {
      throw new RangeError(`A batch of ${batch.tokens.length} tokens came, not ${rows}`);
    }
    device.write(inputs.tokens, own(batch.tokens));
    device.write(inputs.starts, Uint32Array.from(batch.starts));
    device.write(inputs.targets, own(batch.targets));
    if (backward) device.write(inputs.segments, tokenSegments(batch.tokens));
    const { labels, training } = this.#buffers;
    if (labels && !hiddenAlone) {
      if (!batch.items) throw new RangeError("A batch came without items for the head of labels");
      uploadItems(device, labels, batch.items);
    }
    const { dropout = 0, tokenDropout = 0, stateDropout = 0 } = backward ? this.#dropouts : {};
    const seed = batch.dropoutSeed ?? 0;
    const dropped = this.store.lowRank?.dropped;
    if (dropped) {
      const rate = backward ? this.config.lora?.dropout ?? 0 : 0;
      device.write(dropped.state, dropoutState(seed, rate));
    }
    if (training?.dropout) {
      device.write(training.dropout, dropoutState(seed, dropout, tokenDropout));
    }
    if (training?.stateDropout) {
      device.write(training.stateDropout, dropoutState(stateSeed(seed), stateDropout));
    }
  }

  accumulate(batch: Batch, scale: number, before?: () => void): void {
    if (!this.#train) throw new RangeError("This model was made for evaluation alone");
    this.#upload(batch, true);
    this.device.write(this.#buffers.inputs.scale, Float32Array.of(scale, 0, 0, 0));
    const encoder = this.device.gpu.createCommandEncoder();
    if (this.#fresh) this.#clear?.record(encoder);
    this.#fresh = false;
    this.#forward.record(encoder);
    this.#train.record(encoder);
    const commands = [encoder.finish()];
    before?.();
    this.device.gpu.queue.submit(commands);
  }

  endLane(): void {
    if (this.#lanes?.endLane()) this.#fresh = true;
  }

  update(options: UpdateOptions): void | Promise<void> {
    if (!this.#update) throw new RangeError("This model was made for evaluation alone");
    const exchange = this.#rankExchange;
    if (!exchange) return this.#apply(this.#update, options);
    return this.#updateOwned(exchange, this.#update, options);
  }

  /** The update of one of several ranks: it sums and updates what it owns, and gets the others' values. */
  async #updateOwned(
    exchange: RankExchange,
    update: UpdatePlan,
    options: UpdateOptions,
  ): Promise<void> {
    await exchange.sum();
    update.partials?.submit();
    await exchange.gatherPartials();
    this.#apply(update, options);
    await this.#gatherValues(exchange);
  }

  #apply(update: UpdatePlan, options: UpdateOptions): void {
    const { averageDecay = this.#averageDecay } = options;
    this.device.write(update.hyper, adamWHyper({ ...options, averageDecay }));
    this.#limits = skipLimits(options.skipAbove);
    update.plan.submit();
    this.#fresh = true;
    this.#lanes?.restart();
    this.#reported = undefined;
  }

  report(): Promise<StepReport> {
    const limits = this.#limits;
    return this.#reported ??= (async () => {
      if (!this.#update) throw new RangeError("This model was made for evaluation alone");
      const { staging } = this.#update;
      await staging.buffer.mapAsync(GPUMapMode.READ);
      const values = new Float32Array(staging.buffer.getMappedRange().slice(0));
      staging.buffer.unmap();
      this.device.check();
      const loss = float32At(values, 0);
      const squares = float32At(values, 64);
      const skipped = loss > limits.loss || squares > limits.squares;
      const { plain, lossScale } = this.#buffers.training ?? {};
      const report = {
        loss,
        gradNorm: Math.sqrt(squares),
        skipped,
        ...(plain ? { plainLoss: values[128] ?? NaN } : {}),
      };
      if (!lossScale) return report;
      const { overflow, scale } = decodeLossScale(values.subarray(RESULT_BYTES / 4));
      return { ...report, overflow, lossScale: scale };
    })();
  }

  async readLossScale(): Promise<LossScale | undefined> {
    const region = this.#buffers.training?.lossScale?.state;
    if (!region) return undefined;
    const { scale, good, skipped } = decodeLossScale(await this.device.readFloats(region));
    return { scale, good, skipped };
  }

  writeLossScale(scale: LossScale | undefined): void {
    const region = this.#buffers.training?.lossScale?.state;
    if (region) this.device.write(region, encodeLossScale(scale ?? FIRST_LOSS_SCALE));
  }

  async evaluate(batch: Batch): Promise<Required<EvaluationReport>> {
    this.#upload(batch, false);
    const encoder = this.device.gpu.createCommandEncoder();
    this.#forward.record(encoder);
    this.#evaluate.record(encoder);
    this.device.gpu.queue.submit([encoder.finish()]);
    const { labels } = this.#buffers;
    if (labels) {
      const positionNll = await this.device.readFloats(labels.losses);
      const nll = positionNll.reduce((a, b) => a + b, 0);
      return { nll, targets: batch.items?.count ?? 0, rowNll: Float64Array.of(nll), positionNll };
    }
    const losses = await this.device.readFloats(this.#buffers.nll);
    const rowNll = new Float64Array(this.batchSize);
    let targets = 0;
    batch.targets.forEach((target, i) => {
      if (target < 0) return;
      const row = Math.floor(i / this.sequenceLength);
      rowNll[row] = float64At(rowNll, row) + float32At(losses, i);
      targets++;
    });
    const positionNll = losses.subarray(0, batch.targets.length);
    return { nll: rowNll.reduce((a, b) => a + b, 0), targets, rowNll, positionNll };
  }

  async labelLogits(batch: Batch): Promise<Float32Array> {
    const { labels } = this.#buffers;
    if (!labels) throw new RangeError("This model has no head of labels");
    this.#upload(batch, false);
    const encoder = this.device.gpu.createCommandEncoder();
    this.#forward.record(encoder);
    this.#evaluate.record(encoder);
    this.device.gpu.queue.submit([encoder.finish()]);
    return await readLabelLogits(this.device, labels, batch.items?.count ?? 0);
  }

  /** The logits of every position, (b l, padded vocabulary), all at once: for goldens and tests. */
  async logits(batch: Batch): Promise<Float32Array> {
    const { hidden } = this.activations;
    const bench = new Workbench(this.device);
    const logits = bench.matrix(undefined, hidden.rows, this.config.paddedVocabSize);
    this.#upload(batch, false, true);
    this.#forward.submit();
    await bench.run((plan) => this.#languageHead(plan, hidden, logits));
    const values = await bench.values(logits);
    bench.clear();
    return values;
  }

  /** Appends the logits of hidden rows. */
  #languageHead(plan: Plan, hidden: Matrix, logits: Matrix): void {
    matmul(plan, { product: "NT", a: hidden, b: this.store.operand(EMBEDDING), c: logits });
    headAdapter(plan, this.store)?.forward(hidden, logits);
  }

  async logitsAt(
    batch: Batch,
    positions: readonly number[],
    use: (logits: Float32Array, index: number) => void,
  ): Promise<void> {
    const { hiddenSize: d, paddedVocabSize: width } = this.config;
    const bench = new Workbench(this.device);
    this.#upload(batch, false, true);
    this.#forward.submit();
    // The head on these rows alone: reading the hidden rows costs less than all rows' logits.
    const all = await bench.values(this.activations.hidden);
    const { type } = this.activations.hidden;
    for (let first = 0; first < positions.length; first += LOGITS_AT_ONCE) {
      const some = positions.slice(first, first + LOGITS_AT_ONCE);
      const values = new Float32Array(some.length * d);
      some.forEach((p, i) => values.set(all.subarray(p * d, (p + 1) * d), i * d));
      const hidden = bench.matrix(values, some.length, d, type);
      const c = bench.matrix(undefined, some.length, width);
      await bench.run((plan) => this.#languageHead(plan, hidden, c));
      const logits = await bench.values(c);
      bench.clear();
      some.forEach((_, i) => use(logits.subarray(i * width, (i + 1) * width), first + i));
    }
  }

  async findNonFinite(): Promise<string | undefined> {
    for (const slot of ["gradient", "value"] as const) {
      for (const [name, values] of await this.store.read(slot)) {
        if (values.some((x) => !Number.isFinite(x))) return name;
      }
    }
  }

  snapshot(): Promise<ModelSnapshot | undefined> {
    const lossScale = this.#buffers.training?.lossScale?.state;
    const available = availableBytes(this.device);
    return takeSnapshot(this.device, this.store, { available, lossScale, ranks: this.#ranks });
  }

  /** Every parameter by its Hugging Face name, row-major. */
  readParameters(): Promise<Map<string, Float32Array>> {
    return this.store.read("value");
  }

  async readTensor(
    slot: "value" | "m" | "v" | "average",
    name: string,
  ): Promise<Float32Array | undefined> {
    const { sliced } = this.store;
    if (!this.store.keeps(slot)) return undefined;
    if (!sliced || !isSliced(slot)) return await this.store.readOne(slot, name);
    const exchange = this.#rankExchange ?? fail("a planned model holds no values");
    const { rank, size } = sliced.place;
    const { arena, floats, offset, unpack } = this.store.place(name);
    const parts = this.store.partsOf(name);
    const lengths = Array.from({ length: size }, () => 0);
    for (const part of parts) lengths[part.rank] = nth(lengths, part.rank) + part.to - part.from;
    const own = parts.filter((part) => part.rank === rank)
      .map(({ from, to, kept }) => sliced.region(slot, arena, kept, to - from));
    const all = await exchange.collect(own, lengths);
    if (!all) return undefined;
    // By rank as they came, to where they lie.
    const block = new Uint8Array(4 * floats);
    const starts = lengths.map((_, r) => lengths.slice(0, r).reduce((sum, n) => sum + n, 0));
    for (const { rank: owner, from, to } of parts) {
      const at = nth(starts, owner);
      block.set(all.subarray(at, at + to - from), from - 4 * offset);
      starts[owner] = at + to - from;
    }
    return unpack(new Float32Array(block.buffer));
  }

  /** The gradients accumulated so far, by name, without the loss scale. */
  async readGradients(): Promise<Map<string, Float32Array>> {
    const gradients = await this.store.read("gradient");
    const lossScale = await this.readLossScale();
    if (!lossScale) return gradients;
    return new Map([...gradients].map(([name, g]) => [name, g.map((x) => x / lossScale.scale)]));
  }

  /** AdamW's moments of every parameter. */
  async readMoments(): Promise<Map<string, Moments>> {
    const m = await this.#readSlot("m");
    const v = await this.#readSlot("v");
    const second = (name: string) => v.get(name) ?? fail(`${name} has no second moment`);
    return new Map([...m].map(([name, values]) => [name, { m: values, v: second(name) }]));
  }

  /** Times every kernel of a training step, one by one; see {@linkcode Plan.profile}. */
  profile(): ReturnType<Plan["profile"]> {
    return this.#wholeStep().profile();
  }

  /**
   * When each kernel of a training step runs on the device; see {@linkcode Plan.timeline}. The update
   * is one of them: weights and moments are to be written afterwards.
   */
  timeline(): ReturnType<Plan["timeline"]> {
    const all = this.#wholeStep();
    if (this.#update) all.append(this.#update.plan);
    this.#fresh = true;
    return all.timeline();
  }

  /** Gradients from zero, forward, backward; no update, so that nothing changes but gradients. */
  #wholeStep(): Plan {
    const all = new Plan(this.device);
    for (const plan of [this.#clear, this.#forward, this.#train]) if (plan) all.append(plan);
    return all;
  }

  /** Floating-point operations of the matrix products of one micro-step. */
  get matmulFlop(): number {
    // Not those of state space duality: how many they are depends on where documents lie.
    const products = / (NT|NN|TN)$/;
    return this.#forward.flop(products) + (this.#train?.flop(products) ?? 0);
  }

  /** Frees all that it allocated. */
  destroy(): void {
    for (const plan of [this.#forward, this.#evaluate, this.#train, this.#clear]) plan?.destroy();
    for (const plan of [this.#update?.plan, this.#exchange, this.#round]) plan?.destroy();
    this.#lanes?.destroy();
    this.#rankExchange?.destroy();
    const { exchange } = this.#buffers.training ?? {};
    if (exchange) freeExchange(this.device, exchange);
    this.#update?.partials?.destroy();
    this.#buffers.workspace.destroy();
    this.store.destroy();
    if (!this.#update) return;
    this.device.free(this.#update.hyper);
    this.device.free(this.#update.staging);
  }
}

/** The same view, on a buffer that is surely not shared (as WebGPU's types ask). */
function own<T extends Uint32Array | Int32Array>(
  array: T,
): ArrayBufferView<ArrayBuffer> {
  return (array.buffer instanceof ArrayBuffer
    ? array
    : array.slice()) as unknown as ArrayBufferView<
      ArrayBuffer
    >;
}

/**
 * Allocates a model on a device and plans its steps. Activations are recomputed in the backward where
 * `options.recompute` says so, or where they would not fit, or turn out not to.
 * @throws {DeviceError} that says what is needed and what there is, where the device is too small.
 */
export async function createMamba(
  device: Device,
  config: MambaConfig,
  options: MambaOptions,
): Promise<Mamba> {
  if (options.precision === "mixed") {
    await checkHalf(device);
    await checkMatrixUnits(device);
  }
  const memory = chooseMemoryPlan(device, config, options, availableBytes(device));
  const rows = options.batchSize * options.sequenceLength;
  const { chunkRows } = headChunk(device, rows, config.paddedVocabSize);
  const shapes = productShapes(config, rows, chunkRows, options.precision);
  const mode = options.autotune ?? "off";
  await autotune(device, shapes, mode);
  const { batchSize: batch, sequenceLength: length } = options;
  await autotuneAlternatives(device, { config, batch, length }, mode);
  const make = async (memory: MemoryPlan) => {
    let model: Mamba | undefined;
    try {
      return await device.guard("set up the model", () => {
        return model = new Mamba(device, config, options, memory);
      });
    } catch (error) {
      model?.destroy();
      throw error;
    }
  };
  try {
    return await make(memory);
  } catch (error) {
    // WebGPU does not say how much memory there is: it shows.
    const smaller = (options.training ?? true) && options.recompute === undefined;
    const full = error instanceof DeviceError && error.outOfMemory;
    if (!full || !smaller || memory.recompute) throw error;
    return await make(memoryPlan(device, config, { ...options, recompute: true }));
  }
}

/**
 * What may still be allocated: the user's limit; on CPU drivers also the machine's free memory,
 * because those accept any allocation and the process would be killed later.
 */
export function availableBytes(device: Device): number {
  const limited = device.memoryLimit - device.allocatedBytes;
  if (!isCpuDriver(device.adapter)) return limited;
  try {
    return Math.min(limited, Deno.systemMemoryInfo().available);
  } catch {
    return limited; // not permitted to look
  }
}
