/**
 * Mamba-1 on the device: forward, backward and AdamW over packed batches, as plans that are built
 * once and replayed.
 * @module
 */
import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../kernels/adamw/adamw.ts";
import type { Device } from "../kernels/device.ts";
import {
  embeddingBackward,
  embeddingForward,
  segmentWords,
  tokenSegments,
} from "../kernels/embedding/embedding.ts";
import type { Matrix, Region } from "../kernels/layout.ts";
import { matmul } from "../kernels/matmul/mod.ts";
import { Plan } from "../kernels/plan.ts";
import { sum, sumOfSquares, sumOfSquaresScratch } from "../kernels/reduce/reduce.ts";
import { rmsNormBackward, rmsNormForward } from "../kernels/rmsnorm/rmsnorm.ts";
import { Workbench } from "../kernels/workbench.ts";
import type { MambaConfig } from "./config.ts";
import { Workspace } from "./gpu/activations.ts";
import { allocateHead, type Head, headPlan } from "./gpu/head.ts";
import {
  type BatchShape,
  type LayerActivations,
  layerActivations,
  layerBackward,
  layerForward,
  layerScratch,
} from "./gpu/layer.ts";
import { ParameterStore } from "./gpu/store.ts";
import { EMBEDDING } from "./parameters.ts";
import type { Batch, Moments, StepReport, TrainableModel, UpdateOptions } from "./types.ts";

const NORM = "backbone.norm_f.weight";

/** What a model is made for. */
export interface MambaOptions extends Partial<BatchShape> {
  /** Rows of a batch (b). */
  batchSize: number;
  /** Tokens of a row (l). */
  sequenceLength: number;
  /** Allocate gradients and moments too; without them only `evaluate` works. By default true. */
  training?: boolean;
}

/** Device words of a batch's inputs. */
interface Inputs {
  tokens: Region;
  starts: Region;
  targets: Region;
  segments: Region;
  /** [scale, 1] */
  scale: Region;
}

/** Mamba-1 on a device. */
export class Mamba implements TrainableModel {
  readonly config: MambaConfig;
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly device: Device;
  readonly store: ParameterStore;
  #workspace: Workspace;
  #inputs: Inputs;
  #nll: Region;
  /** [loss, squared gradient norm] */
  #result: Region;
  #loss: Region;
  #squares: Region;
  #hyper?: Region;
  #forward: Plan;
  #evaluate: Plan;
  #train?: Plan;
  #clear?: Plan;
  #update?: Plan;
  /** What a forward leaves; every layer's only where the model trains. */
  readonly activations: { layers: readonly LayerActivations[]; last: Matrix; hidden: Matrix };
  #fresh = true;
  #staging?: Region;
  #reported?: Promise<StepReport>;

  /** @ignore Use {@linkcode createMamba}. */
  constructor(device: Device, config: MambaConfig, options: MambaOptions) {
    this.device = device;
    this.config = config;
    this.batchSize = options.batchSize;
    this.sequenceLength = options.sequenceLength;
    const training = options.training ?? true;
    this.store = new ParameterStore(
      device,
      config,
      training ? ["value", "gradient", "m", "v"] : [
        "value",
      ],
    );
    const shape = { batch: options.batchSize, length: options.sequenceLength };
    const rows = shape.batch * shape.length, w = this.#workspace = new Workspace(device);
    this.#inputs = {
      tokens: w.words("tokens", rows),
      starts: w.words("starts", rows),
      targets: w.words("targets", rows),
      segments: w.words("token segments", segmentWords(rows)),
      scale: w.words("loss scale", 4),
    };
    this.#nll = w.words("losses", Math.ceil(rows / 4) * 4);
    this.#result = w.words("step result", 128);
    this.#loss = { buffer: this.#result.buffer, offset: 0, size: 16 };
    this.#squares = { buffer: this.#result.buffer, offset: 256, size: 16 };

    const plan = this.#forward = new Plan(device);
    // Without a backward one layer's activations serve all.
    const kept = Array.from(
      { length: training ? config.layers : 1 },
      (_, i) => layerActivations(device, w, config, shape, i),
    );
    const layers = Array.from({ length: config.layers }, (_, i) => kept[i % kept.length]!);
    const mixed = w.matrix("mixer output", rows, config.hiddenSize);
    const last = w.matrix("final stream", rows, config.hiddenSize);
    const hidden = w.matrix("hidden", rows, config.hiddenSize);
    const inverseRms = w.words("final inverse rms", rows);
    this.activations = { layers, last, hidden };
    const head = allocateHead(device, w, rows, config.paddedVocabSize, config.hiddenSize);
    this.#planForward(shape, layers, mixed, { last, hidden, inverseRms });

    const embedding = this.store.matrix(EMBEDDING);
    this.#evaluate = new Plan(device);
    headPlan(this.#evaluate, head, {
      hidden,
      embedding,
      targets: this.#inputs.targets,
      nll: this.#nll,
    });
    if (training) this.#planTraining(shape, layers, head, { last, hidden, inverseRms });
  }

  #planForward(
    shape: BatchShape,
    layers: LayerActivations[],
    mixed: Matrix,
    final: { last: Matrix; hidden: Matrix; inverseRms: Region },
  ): void {
    const plan = this.#forward, { store, config } = this, { starts, tokens } = this.#inputs;
    // The first layer has nothing to add: the embedding is its stream.
    embeddingForward(plan, { table: store.matrix(EMBEDDING), tokens, x: layers[0]!.stream });
    layers.forEach((a, i) => {
      const before = layers[i - 1];
      const input = before ? { stream: before.stream, mixed } : { stream: a.stream };
      layerForward(plan, store, shape, i, input, a, mixed, starts);
    });
    rmsNormForward(plan, {
      residual: layers.at(-1)!.stream,
      x: mixed,
      sum: final.last,
      weight: store.region(NORM),
      y: final.hidden,
      inverseRms: final.inverseRms,
      epsilon: config.normEpsilon,
    });
  }

  #planTraining(
    shape: BatchShape,
    layers: LayerActivations[],
    head: Head,
    final: { last: Matrix; hidden: Matrix; inverseRms: Region },
  ): void {
    const { device, store, config } = this, w = this.#workspace, inputs = this.#inputs;
    const rows = shape.batch * shape.length;
    const plan = this.#train = new Plan(device), scratch = layerScratch(plan, w, config, shape);
    const dhidden = scratch.dy; // free until the last layer's backward
    const dstream = w.matrix("gradient of the residual stream", rows, config.hiddenSize);
    headPlan(plan, head, {
      hidden: final.hidden,
      embedding: store.matrix(EMBEDDING),
      targets: inputs.targets,
      nll: this.#nll,
      gradients: {
        scale: inputs.scale,
        dhidden,
        dembedding: store.matrix(EMBEDDING, "gradient"),
      },
    });
    sum(plan, {
      values: this.#nll,
      length: rows,
      out: this.#loss,
      accumulate: true,
      scale: inputs.scale,
    });
    rmsNormBackward(plan, {
      dy: dhidden,
      sum: final.last,
      weight: store.region(NORM),
      inverseRms: final.inverseRms,
      dstream,
      accumulate: false,
      dweight: store.region(NORM, "gradient"),
      scratch: scratch.partials,
    });
    for (let i = config.layers - 1; i >= 0; i--) {
      layerBackward(plan, store, shape, i, layers[i]!, scratch, dstream, inputs.starts);
    }
    embeddingBackward(plan, {
      dtable: store.matrix(EMBEDDING, "gradient"),
      segments: inputs.segments,
      dx: dstream,
    });

    const gradients = store.arenas.map((a) => a.regions.gradient!);
    this.#clear = new Plan(device);
    for (const region of gradients) this.#clear.clear(region);
    this.#clear.clear(this.#result);

    const hyper = this.#hyper = device.allocate("adamw values", ADAMW_HYPER_BYTES, 64 | 8);
    const update = this.#update = new Plan(device);
    const squares = w.words("square sums", sumOfSquaresScratch(update, gradients));
    sumOfSquares(update, gradients, squares, this.#squares);
    for (const { decay, regions } of store.arenas) {
      adamW(
        update,
        {
          parameter: regions.value!,
          gradient: regions.gradient!,
          m: regions.m!,
          v: regions.v!,
          decay,
        },
        hyper,
        this.#squares,
      );
    }
    this.#staging = device.allocate("step report", 512, GPUBufferUsage.MAP_READ | 8);
    update.copy(this.#result, this.#staging, 512);
  }

  writeParameters(read: (name: string) => Float32Array): void {
    this.store.write("value", read);
  }

  writeMoments(read: (name: string) => Moments): void {
    this.store.write("m", (name) => read(name).m);
    this.store.write("v", (name) => read(name).v);
  }

  #upload(batch: Batch, backward: boolean): void {
    const { device } = this, inputs = this.#inputs, rows = this.batchSize * this.sequenceLength;
    if (batch.tokens.length !== rows) {
      throw new RangeError(`A batch of ${batch.tokens.length} tokens came, not ${rows}`);
    }
    device.write(inputs.tokens, own(batch.tokens));
    device.write(inputs.starts, Uint32Array.from(batch.starts));
    device.write(inputs.targets, own(batch.targets));
    if (backward) device.write(inputs.segments, tokenSegments(batch.tokens));
  }

  accumulate(batch: Batch, scale: number): void {
    if (!this.#train) throw new RangeError("This model was made for evaluation alone");
    this.#upload(batch, true);
    this.device.write(this.#inputs.scale, Float32Array.of(scale, 0, 0, 0));
    const encoder = this.device.gpu.createCommandEncoder();
    if (this.#fresh) this.#clear!.record(encoder);
    this.#fresh = false;
    this.#forward.record(encoder);
    this.#train.record(encoder);
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  update(options: UpdateOptions): void {
    if (!this.#update) throw new RangeError("This model was made for evaluation alone");
    this.device.write(this.#hyper!, adamWHyper(options));
    this.#update.submit();
    this.#fresh = true;
    this.#reported = undefined;
  }

  report(): Promise<StepReport> {
    return this.#reported ??= (async () => {
      const staging = this.#staging!;
      await staging.buffer.mapAsync(GPUMapMode.READ);
      const values = new Float32Array(staging.buffer.getMappedRange().slice(0));
      staging.buffer.unmap();
      this.device.check();
      return { loss: values[0]!, gradNorm: Math.sqrt(values[64]!) };
    })();
  }

  async evaluate(batch: Batch): Promise<{ nll: number; targets: number; rowNll: Float64Array }> {
    this.#upload(batch, false);
    const encoder = this.device.gpu.createCommandEncoder();
    this.#forward.record(encoder);
    this.#evaluate.record(encoder);
    this.device.gpu.queue.submit([encoder.finish()]);
    const losses = await this.device.readFloats(this.#nll);
    const rowNll = new Float64Array(this.batchSize);
    let targets = 0;
    batch.targets.forEach((target, i) => {
      if (target < 0) return;
      rowNll[Math.floor(i / this.sequenceLength)]! += losses[i]!;
      targets++;
    });
    return { nll: rowNll.reduce((a, b) => a + b, 0), targets, rowNll };
  }

  /** The logits of every position, (b l, padded vocabulary), all at once: for goldens and tests. */
  async logits(batch: Batch): Promise<Float32Array> {
    const { hidden } = this.activations, bench = new Workbench(this.device);
    const logits = bench.matrix(undefined, hidden.rows, this.config.paddedVocabSize);
    this.#upload(batch, false);
    this.#forward.submit();
    await bench.run((plan) =>
      matmul(plan, { product: "NT", a: hidden, b: this.store.matrix(EMBEDDING), c: logits })
    );
    const values = await bench.values(logits);
    bench.clear();
    return values;
  }

  async logitsAt(batch: Batch, positions: readonly number[]): Promise<Float32Array[]> {
    const { hiddenSize: d, paddedVocabSize } = this.config, bench = new Workbench(this.device);
    this.#upload(batch, false);
    this.#forward.submit();
    // The head on these rows alone: reading the hidden rows costs less than all rows' logits.
    const all = await bench.values(this.activations.hidden);
    const some = new Float32Array(positions.length * d);
    positions.forEach((p, i) => some.set(all.subarray(p * d, (p + 1) * d), i * d));
    const hidden = bench.matrix(some, positions.length, d);
    const logits = bench.matrix(undefined, positions.length, paddedVocabSize);
    await bench.run((plan) =>
      matmul(plan, { product: "NT", a: hidden, b: this.store.matrix(EMBEDDING), c: logits })
    );
    const values = await bench.values(logits);
    bench.clear();
    return positions.map((_, i) => values.subarray(i * paddedVocabSize, (i + 1) * paddedVocabSize));
  }

  async findNonFinite(): Promise<string | undefined> {
    for (const slot of ["gradient", "value"] as const) {
      for (const [name, values] of await this.store.read(slot)) {
        if (values.some((x) => !Number.isFinite(x))) return name;
      }
    }
  }

  readParameters(): Promise<Map<string, Float32Array>> {
    return this.store.read("value");
  }

  /** The gradients accumulated so far, by name. */
  readGradients(): Promise<Map<string, Float32Array>> {
    return this.store.read("gradient");
  }

  async readMoments(): Promise<Map<string, Moments>> {
    const m = await this.store.read("m"), v = await this.store.read("v");
    return new Map([...m].map(([name, values]) => [name, { m: values, v: v.get(name)! }]));
  }

  /** Times every kernel of a training step, one by one; see {@linkcode Plan.profile}. */
  async profile(): Promise<{ label: string; calls: number; ms: number; flop: number }[]> {
    const all = new Plan(this.device);
    for (const plan of [this.#clear, this.#forward, this.#train]) if (plan) all.append(plan);
    return await all.profile();
  }

  /** Floating-point operations of the matrix products of one micro-step. */
  get matmulFlop(): number {
    const products = / (NT|NN|TN)$/;
    return this.#forward.flop(products) + (this.#train?.flop(products) ?? 0);
  }

  destroy(): void {
    for (const plan of [this.#forward, this.#evaluate, this.#train, this.#clear, this.#update]) {
      plan?.destroy();
    }
    this.#workspace.destroy();
    this.store.destroy();
    if (this.#hyper) this.device.free(this.#hyper);
    if (this.#staging) this.device.free(this.#staging);
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
 * Allocates a model on a device and plans its steps.
 * @throws {DeviceError} where the device is too small.
 */
export function createMamba(
  device: Device,
  config: MambaConfig,
  options: MambaOptions,
): Promise<Mamba> {
  return device.guard("set up the model", () => new Mamba(device, config, options));
}
