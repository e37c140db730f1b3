/**
 * Mamba-1 token by token on the device, with its recurrent state: constant memory and time a token.
 * @module
 */
import type { Device } from "../kernels/device.ts";
import { embeddingForward } from "../kernels/embedding/embedding.ts";
import { type Matrix, padded, type Region, subregion } from "../kernels/layout.ts";
import { matvec, weightTexture } from "../kernels/matvec/matvec.ts";
import { Plan } from "../kernels/plan.ts";
import { rmsNormForward } from "../kernels/rmsnorm/rmsnorm.ts";
import { convolutionStep, scanStep } from "../kernels/scan/step.ts";
import type { MambaConfig } from "./config.ts";
import { Workspace } from "./gpu/activations.ts";
import { scanParameters } from "./gpu/layer.ts";
import { ParameterStore, storedSizes } from "./gpu/store.ts";
import { EMBEDDING } from "./parameters.ts";
import type { RecurrentModel } from "./types.ts";

/** The recurrent form of a model. */
export class RecurrentMamba implements RecurrentModel {
  readonly config: MambaConfig;
  #device: Device;
  #store: ParameterStore;
  /** Whether the weights are the model's own, to be freed with it. */
  #own: boolean;
  #workspace: Workspace;
  #textures: GPUTexture[] = [];
  #plan: Plan;
  #token: Region;
  #logits: Region;
  /** Convolution windows and scan states, layer by layer. */
  #states: { window: Region; state: Region }[] = [];

  /** @ignore Use {@linkcode createRecurrentMamba}. */
  constructor(
    device: Device,
    config: MambaConfig,
    weights: ((name: string) => Float32Array) | ParameterStore,
  ) {
    this.#device = device;
    this.config = config;
    const own = this.#own = typeof weights === "function";
    const store = this.#store = own ? new ParameterStore(device, config, ["value"]) : weights;
    if (own) store.write("value", weights);
    const w = this.#workspace = new Workspace(device), { e, r, np, xDbl } = storedSizes(config);
    const d = config.hiddenSize, vector = (what: string, n: number) => w.words(what, padded(n));
    /** A vector as a matrix of one row whose panels touch. */
    const row = (region: Region, cols: number): Matrix => ({ region, rows: 1, cols, stride: 1 });
    const stream = row(vector("residual stream", d), d), y = row(vector("normed", d), d);
    const mixed = row(vector("mixer output", d), d), inverseRms = w.words("inverse rms", 4);
    const xz = vector("x and z", 2 * e), u = vector("u", e), delta = vector("delta", e);
    const dbl = vector("delta, B and C", xDbl), out = vector("scan output", e);
    const part = (region: Region, from: number, count: number) =>
      subregion(region, 4 * from, 4 * count);
    this.#token = w.words("token", 4);
    this.#logits = vector("logits", config.paddedVocabSize);

    const plan = this.#plan = new Plan(device), prepare = new Plan(device);
    const multiply = (name: string, x: Region, to: Region) => {
      // Textures are copies: not of weights that another model lends.
      const weight = store.matrix(name), texture = own ? weightTexture(device, weight) : undefined;
      if (texture) this.#textures.push(texture);
      matvec(plan, { weight, texture, x, y: to, label: name.replace(/.*mixer\./, "") });
    };
    embeddingForward(plan, { table: store.matrix(EMBEDDING), tokens: this.#token, x: stream });
    for (let i = 0; i < config.layers; i++) {
      const name = (kind: string) => `backbone.layers.${i}.${kind}`;
      const window = w.words("window", (config.convKernel - 1) * e || 4);
      const state = w.words("state", np * e), par = w.words("A, D and bias", (np + 2) * e);
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
      multiply(name("mixer.in_proj.weight"), y.region, xz);
      convolutionStep(plan, {
        x: part(xz, 0, e),
        weight: store.region(name("mixer.conv1d.weight")),
        bias: store.region(name("mixer.conv1d.bias")),
        window,
        u,
        width: config.convKernel,
        channels: config.intermediateSize,
        padded: e,
      });
      multiply(name("mixer.x_proj.weight"), u, dbl);
      multiply(name("mixer.dt_proj.weight"), part(dbl, 0, r), delta);
      const channels = config.intermediateSize, states = config.stateSize;
      scanStep(plan, {
        u,
        delta,
        bc: dbl,
        bcOffset: r,
        par,
        z: xz,
        zOffset: e,
        state,
        y: out,
        states,
        channels,
        padded: e,
      });
      multiply(name("mixer.out_proj.weight"), out, mixed.region);
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
    multiply(EMBEDDING, y.region, this.#logits);
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

  /** Feeds a token without reading its logits back: for all of a prompt but the last token. */
  feed(token: number): void {
    if (!(token >= 0 && token < this.config.paddedVocabSize)) {
      throw new RangeError(`There is no token ${token}`);
    }
    this.#device.write(this.#token, Uint32Array.of(token, 0, 0, 0));
    this.#plan.submit();
  }

  async step(token: number): Promise<Float32Array> {
    this.feed(token);
    const logits = await this.#device.readFloats(this.#logits);
    return logits.subarray(0, this.config.paddedVocabSize);
  }

  /** The last width - 1 convolution inputs (oldest first) and the scan state of a layer, by channel. */
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
 * the other changes.
 * @throws {DeviceError} where the device is too small.
 */
export function createRecurrentMamba(
  device: Device,
  config: MambaConfig,
  weights: ((name: string) => Float32Array) | ParameterStore,
): Promise<RecurrentMamba> {
  return device.guard("set up the model", () => new RecurrentMamba(device, config, weights));
}
