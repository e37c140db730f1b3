/**
 * Mamba-1 token by token on the device, with its recurrent state: constant memory and time a token.
 * @module
 */
import type { Device } from "../kernels/device.ts";
import { embeddingForward } from "../kernels/embedding/embedding.ts";
import { columns, fromPanels, type Matrix, padded, type Region } from "../kernels/layout.ts";
import { matmul } from "../kernels/matmul/mod.ts";
import { matvec } from "../kernels/matvec/matvec.ts";
import { Plan } from "../kernels/plan.ts";
import { rmsNormForward } from "../kernels/rmsnorm/rmsnorm.ts";
import { convolutionStep, scanStep } from "../kernels/scan/step.ts";
import { weightTexture } from "../kernels/texture.ts";
import type { MambaConfig } from "./config.ts";
import { Workspace } from "./gpu/activations.ts";
import { scanParameters } from "./gpu/layer.ts";
import { ParameterStore, storedSizes } from "./gpu/store.ts";
import { EMBEDDING } from "./parameters.ts";
import type { RecurrentModel } from "./types.ts";

/** The recurrent form of a model. */
export class RecurrentMamba implements RecurrentModel {
  readonly config: MambaConfig;
  /** Sequences that step together. */
  readonly rows: number;
  #device: Device;
  #store: ParameterStore;
  /** Whether the weights are the model's own, to be freed with it. */
  #own: boolean;
  #workspace: Workspace;
  #textures: GPUTexture[] = [];
  #plan: Plan;
  #tokens: Region;
  #logits: Matrix;
  /** Convolution windows and scan states, layer by layer. */
  #states: { window: Region; state: Region }[] = [];

  /** @ignore Use {@linkcode createRecurrentMamba}. */
  constructor(
    device: Device,
    config: MambaConfig,
    weights: ((name: string) => Float32Array) | ParameterStore,
    rows = 1,
  ) {
    this.rows = rows;
    this.#device = device;
    this.config = config;
    const own = this.#own = typeof weights === "function";
    const store = this.#store = own ? new ParameterStore(device, config, ["value"]) : weights;
    if (own) store.write("value", weights);
    const w = this.#workspace = new Workspace(device), { e, r, np, xDbl } = storedSizes(config);
    // One row's panels touch, so that it is a plain vector.
    const d = config.hiddenSize, stride = rows === 1 ? 1 : padded(rows);
    const matrix = (what: string, cols: number): Matrix => ({
      region: w.words(what, stride * padded(cols)),
      rows,
      cols,
      stride,
    });
    const stream = matrix("residual stream", d), y = matrix("normed", d);
    const mixed = matrix("mixer output", d), inverseRms = w.words("inverse rms", padded(rows));
    const xz = matrix("x and z", 2 * e), u = matrix("u", e), delta = matrix("delta", e);
    const dbl = matrix("delta, B and C", xDbl), out = matrix("scan output", e);
    this.#tokens = w.words("tokens", Math.ceil(rows / 4) * 4);
    this.#logits = matrix("logits", config.paddedVocabSize);

    const plan = this.#plan = new Plan(device), prepare = new Plan(device);
    const multiply = (name: string, x: Matrix, to: Matrix) => {
      // Textures are copies: not of weights that another model lends.
      const weight = store.matrix(name), texture = own ? weightTexture(device, weight) : undefined;
      if (texture) this.#textures.push(texture);
      const label = name.replace(/.*mixer\./, "");
      if (rows === 1) matvec(plan, { weight, texture, x: x.region, y: to.region, label });
      else matmul(plan, { product: "NT", a: x, b: weight, c: to, bTexture: texture, label });
    };
    embeddingForward(plan, { table: store.matrix(EMBEDDING), tokens: this.#tokens, x: stream });
    for (let i = 0; i < config.layers; i++) {
      const name = (kind: string) => `backbone.layers.${i}.${kind}`;
      const window = w.words("window", rows * (config.convKernel - 1) * e || 4);
      const state = w.words("state", rows * np * e), par = w.words("A, D and bias", (np + 2) * e);
      this.#states.push({ window, state });
      scanParameters(prepare, store, i, par);
      rmsNormForward(plan, {
        residual: stream,
        ...(i ? { x: mixed, sum: stream } : {}),
        weight: store.region(name("norm.weight")),
        y,
        inverseRms,
        epsilon: config.normEpsilon,
      });
      multiply(name("mixer.in_proj.weight"), y, xz);
      convolutionStep(plan, {
        x: xz.region,
        weight: store.region(name("mixer.conv1d.weight")),
        bias: store.region(name("mixer.conv1d.bias")),
        window,
        u: u.region,
        rows,
        stride,
        width: config.convKernel,
        channels: config.intermediateSize,
        padded: e,
      });
      multiply(name("mixer.x_proj.weight"), u, dbl);
      multiply(name("mixer.dt_proj.weight"), columns(dbl, 0, r), delta);
      const channels = config.intermediateSize, states = config.stateSize;
      scanStep(plan, {
        u: u.region,
        delta: delta.region,
        bc: dbl.region,
        bcOffset: r,
        par,
        z: xz.region,
        zOffset: e,
        state,
        y: out.region,
        rows,
        stride,
        states,
        channels,
        padded: e,
      });
      multiply(name("mixer.out_proj.weight"), out, mixed);
    }
    rmsNormForward(plan, {
      residual: stream,
      x: mixed,
      sum: stream,
      weight: store.region("backbone.norm_f.weight"),
      y,
      inverseRms,
      epsilon: config.normEpsilon,
    });
    multiply(EMBEDDING, y, this.#logits);
    prepare.submit();
    prepare.destroy();
  }

  reset(): void {
    const encoder = this.#device.gpu.createCommandEncoder();
    for (const { window, state } of this.#states) {
      for (const region of [window, state]) {
        encoder.clearBuffer(region.buffer, region.offset, region.size);
      }
    }
    this.#device.gpu.queue.submit([encoder.finish()]);
  }

  /**
   * Feeds one token to every row without reading logits back: for all of a prompt but its last token.
   * @throws {RangeError} for a token that the model does not have.
   */
  feedRows(tokens: readonly number[]): void {
    if (tokens.length !== this.rows) {
      throw new RangeError(`${tokens.length} tokens came for ${this.rows} rows`);
    }
    const ids = new Uint32Array(Math.ceil(this.rows / 4) * 4);
    tokens.forEach((token, i) => {
      if (!(token >= 0 && token < this.config.paddedVocabSize)) {
        throw new RangeError(`There is no token ${token}`);
      }
      ids[i] = token;
    });
    this.#device.write(this.#tokens, ids);
    this.#plan.submit();
  }

  /** Feeds one token to every row and returns each row's logits, (rows, padded vocabulary). */
  async stepRows(tokens: readonly number[]): Promise<Float32Array[]> {
    this.feedRows(tokens);
    const panels = await this.#device.readFloats(this.#logits.region), { cols } = this.#logits;
    if (this.rows === 1) return [panels.subarray(0, cols)];
    const all = fromPanels(panels, this.rows, cols);
    return tokens.map((_, i) => all.subarray(i * cols, (i + 1) * cols));
  }

  /** {@linkcode feedRows} of a model with one row. */
  feed(token: number): void {
    this.feedRows([token]);
  }

  /** {@linkcode stepRows} of a model with one row. */
  async step(token: number): Promise<Float32Array> {
    return (await this.stepRows([token]))[0]!;
  }

  /**
   * The first row's last width - 1 convolution inputs (oldest first) and scan state of a layer, by
   * channel.
   */
  async readState(layer: number): Promise<{ window: Float32Array; state: Float32Array }> {
    const { window, state } = this.#states[layer]!, { e, np } = storedSizes(this.config);
    const windows = await this.#device.readFloats(window);
    const states = await this.#device.readFloats(state);
    const { intermediateSize, stateSize, convKernel } = this.config, before = convKernel - 1;
    return {
      window: Float32Array.from(
        { length: intermediateSize * before },
        (_, i) => windows[(i % before) * e + Math.floor(i / before)]!,
      ),
      state: Float32Array.from({ length: intermediateSize * stateSize }, (_, i) => {
        const c = Math.floor(i / stateSize), n = i % stateSize;
        return states[((c >> 5) * np + n) * 32 + (c & 31)]!;
      }),
    };
  }

  /** Times every kernel of a step, one by one; see {@linkcode Plan.profile}. */
  profile(): ReturnType<Plan["profile"]> {
    return this.#plan.profile();
  }

  destroy(): void {
    this.#plan.destroy();
    for (const texture of this.#textures) this.#device.free(texture);
    this.#workspace.destroy();
    if (this.#own) this.#store.destroy();
  }
}

/**
 * A model in its recurrent form, on weights that are uploaded or on those that another model on the
 * device holds: then it takes no memory but its state, is slower on CPU drivers, and must go before
 * the other changes. `rows` sequences step together, which costs little more than one.
 * @throws {DeviceError} where the device is too small.
 */
export function createRecurrentMamba(
  device: Device,
  config: MambaConfig,
  weights: ((name: string) => Float32Array) | ParameterStore,
  rows = 1,
): Promise<RecurrentMamba> {
  return device.guard("set up the model", () => new RecurrentMamba(device, config, weights, rows));
}
