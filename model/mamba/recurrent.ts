/**
 * A model token by token on the device, with its recurrent state: constant memory and time per token.
 * @module
 */
import { nth } from "../../core/nth.ts";
import { castToHalf } from "../../kernels/cast/cast.ts";
import type { Device } from "../../kernels/device.ts";
import { embeddingForward } from "../../kernels/embedding/embedding.ts";
import {
  FREE,
  greedySizes,
  greedyStep,
  ofSteps,
  readChoices,
} from "../../kernels/greedy/greedy.ts";
import { fromPanels, type Matrix, padded, type Region } from "../../kernels/layout.ts";
import { matmul } from "../../kernels/matmul/mod.ts";
import { checkMatrixUnits } from "../../kernels/matmul/unit_check.ts";
import { matvec } from "../../kernels/matvec/matvec.ts";
import { packedMatvec, packWeight } from "../../kernels/matvec/packed.ts";
import { Plan } from "../../kernels/plan.ts";
import { rmsNormForward } from "../../kernels/rmsnorm/rmsnorm.ts";
import { weightTexture } from "../../kernels/texture.ts";
import type { MambaConfig } from "./config.ts";
import { Workspace } from "./gpu/activations.ts";
import type { MixerStep, StepState } from "./gpu/mixer.ts";
import { ParameterStore } from "./gpu/store.ts";
import { kindOf } from "./kinds.ts";
import { EMBEDDING } from "./parameters.ts";
import type { BranchingModel, GeneratedToken, RecurrentModel } from "./types.ts";

/** Most tokens that one call of {@linkcode RecurrentMamba.greedy} makes. */
const MOST_STEPS = 32;

/** The recurrent form of a model; {@linkcode createRecurrentMamba} makes one that is ready. */
export class RecurrentMamba implements RecurrentModel, BranchingModel {
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
  /** A mixer's step, and its convolution windows and recurrent states, layer by layer. */
  #mixer: MixerStep;
  #states: StepState[] = [];
  /** Copies of the states, region by region, once they were kept. */
  #kept: Region[] = [];
  /** The choice of a token a row on the device, and what it reads and writes. */
  #greedy: { plan: Plan; progress: Region; forced: Region; history: Region };

  /**
   * Records one step's kernels in the order in which they run; it is longer than 100 lines because that
   * is one list.
   * @ignore Use {@linkcode createRecurrentMamba}.
   */
  constructor(
    device: Device,
    config: MambaConfig,
    weights: ((name: string) => Float32Array) | ParameterStore,
    { rows = 1, half = false }: RecurrentOptions,
  ) {
    this.rows = rows;
    this.#device = device;
    this.config = config;
    const own = this.#own = typeof weights === "function";
    if (half && !own) throw new RangeError("Weights that another model lends are read as they are");
    // Packing rounds as it goes; other ways of reading f16 need the whole weights in f16.
    const packs = own && rows === 1 && device.variant === "cpu-subgroup";
    const copies = half && !packs;
    const plan = this.#plan = new Plan(device);
    const prepare = new Plan(device);
    const store = this.#store = own
      ? new ParameterStore(device, config, copies ? ["value", "half"] : ["value"])
      : weights;
    if (own) store.write("value", weights);
    if (copies) {
      device.requireHalf();
      for (const { from, to } of store.halves) castToHalf(prepare, from, to);
      prepare.submit();
    }
    const w = this.#workspace = new Workspace(device);
    // One row's panels touch, so that it is a plain vector.
    const d = config.hiddenSize;
    const stride = rows === 1 ? 1 : padded(rows);
    const matrix = (what: string, cols: number): Matrix => ({
      region: w.words(what, stride * padded(cols)),
      rows,
      cols,
      stride,
    });
    const stream = matrix("residual stream", d);
    const y = matrix("normed", d);
    const mixed = matrix("mixer output", d);
    const inverseRms = w.words("inverse rms", padded(rows));
    this.#tokens = w.words("tokens", Math.ceil(rows / 4) * 4);
    this.#logits = matrix("logits", config.paddedVocabSize);

    const multiply = (name: string, x: Matrix, to: Matrix) => {
      const weight = copies ? store.operand(name) : store.matrix(name);
      const label = name.replace(/.*mixer\./, "");
      // Textures are copies: not of weights that another model lends.
      const packed = packs ? packWeight(device, weight, half) : undefined;
      if (packed) {
        this.#textures.push(packed.texture);
        packedMatvec(plan, packed, x.region, to.region, label);
        return;
      }
      if (rows === 1) {
        matvec(plan, { weight, x: x.region, y: to.region, label });
        return;
      }
      const texture = own ? weightTexture(device, weight) : undefined;
      if (texture) this.#textures.push(texture);
      matmul(plan, { product: "NT", a: x, b: weight, c: to, bTexture: texture, label });
    };
    const mixer = this.#mixer = kindOf(config).device.step({
      device,
      config,
      store,
      plan,
      prepare,
      rows,
      stride,
      words: (what, count) => w.words(what, count),
      matrix,
      multiply,
    });
    embeddingForward(plan, { table: store.matrix(EMBEDDING), tokens: this.#tokens, x: stream });
    for (let i = 0; i < config.layers; i++) {
      const name = (kind: string) => `backbone.layers.${i}.${kind}`;
      rmsNormForward(plan, {
        residual: stream,
        ...(i ? { x: mixed, sum: stream } : {}),
        weight: store.region(name("norm.weight")),
        y,
        inverseRms,
        epsilon: config.normEpsilon,
      });
      this.#states.push(mixer.layer(i, y));
      multiply(name("mixer.out_proj.weight"), mixer.out, mixed);
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

    const sizes = greedySizes(rows, config.paddedVocabSize, MOST_STEPS);
    const forced = w.words("forced tokens", sizes.forced / 4);
    const history = w.words("choices", sizes.history / 4);
    const progress = w.words("progress", rows);
    const partial = w.words("likeliest", sizes.partial / 4);
    this.#greedy = { plan: new Plan(device), progress, forced, history };
    greedyStep(this.#greedy.plan, {
      logits: this.#logits,
      choices: config.vocabSize,
      tokens: this.#tokens,
      partial,
      progress,
      forced,
      history,
    });
  }

  /** The work of one token: the model, then the choice of the likeliest token. */
  get plans(): readonly Plan[] {
    return [this.#plan, this.#greedy.plan];
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

  /** Every convolution window and recurrent state, each row by row. */
  get #stateRegions(): Region[] {
    return this.#states.flatMap(({ window, state }) => [window, state]);
  }

  clearRow(row: number): void {
    if (!(row >= 0 && row < this.rows)) throw new RangeError(`There is no row ${row}`);
    const encoder = this.#device.gpu.createCommandEncoder();
    for (const { buffer, offset, size } of this.#stateRegions) {
      const own = 4 * Math.floor(size / 4 / this.rows);
      encoder.clearBuffer(buffer, offset + row * own, own);
    }
    this.#device.gpu.queue.submit([encoder.finish()]);
  }

  keepStates(): void {
    if (this.#kept.length === 0) {
      this.#kept = this.#stateRegions.map(({ size }) =>
        this.#workspace.words("kept state", size / 4)
      );
    }
    this.#copyStates(this.#stateRegions, this.#kept);
  }

  restoreStates(): void {
    if (this.#kept.length === 0) throw new RangeError("No states were kept");
    this.#copyStates(this.#kept, this.#stateRegions);
  }

  #copyStates(from: readonly Region[], to: readonly Region[]): void {
    const encoder = this.#device.gpu.createCommandEncoder();
    from.forEach(({ buffer, offset, size }, i) => {
      const target = nth(to, i);
      encoder.copyBufferToBuffer(buffer, offset, target.buffer, target.offset, size);
    });
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
      this.#check(token);
      ids[i] = token;
    });
    this.#device.write(this.#tokens, ids);
    this.#plan.submit();
  }

  /** Feeds one token to every row and returns each row's logits, (rows, padded vocabulary). */
  async stepRows(tokens: readonly number[]): Promise<Float32Array[]> {
    this.feedRows(tokens);
    const panels = await this.#device.readFloats(this.#logits.region);
    const { cols } = this.#logits;
    if (this.rows === 1) return [panels.subarray(0, cols)];
    const all = fromPanels(panels, this.rows, cols);
    return tokens.map((_, i) => all.subarray(i * cols, (i + 1) * cols));
  }

  /**
   * Feeds one token to every row, then, `steps` - 1 times, each row's likeliest next token (the lowest
   * id where several are), and returns every row's choices: one read-back for all of them. Where
   * `forced(step, row)` names a token, that one is fed after step `step` in place of the choice.
   * @throws {RangeError} for a token that the model does not have, and for no or over 32 steps.
   */
  async greedy(
    tokens: readonly number[],
    steps: number,
    forced: (step: number, row: number) => number | undefined = () => undefined,
  ): Promise<GeneratedToken[][]> {
    if (!(steps >= 1 && steps <= MOST_STEPS)) {
      throw new RangeError(`One to ${MOST_STEPS} steps go together, not ${steps}`);
    }
    const { rows } = this;
    const device = this.#device;
    const { plan, progress, history } = this.#greedy;
    const next = Uint32Array.from(
      { length: steps * rows },
      (_, i) => forced(Math.floor(i / rows), i % rows) ?? FREE,
    );
    for (const token of next) if (token !== FREE) this.#check(token);
    device.write(progress, new Uint32Array(rows));
    device.write(this.#greedy.forced, next);
    for (let step = 0; step < steps; step++) {
      if (step === 0) this.feedRows(tokens);
      else this.#plan.submit();
      plan.submit();
    }
    return readChoices(await device.read(ofSteps(history, 16 * rows, steps)), rows, steps);
  }

  /** The most steps of one {@linkcode greedy}. */
  get mostSteps(): number {
    return MOST_STEPS;
  }

  #check(token: number): void {
    if (!(token >= 0 && token < this.config.paddedVocabSize)) {
      throw new RangeError(`There is no token ${token}`);
    }
  }

  /** {@linkcode feedRows} of a model with one row. */
  feed(token: number): void {
    this.feedRows([token]);
  }

  /** {@linkcode stepRows} of a model with one row. */
  async step(token: number): Promise<Float32Array> {
    return nth(await this.stepRows([token]), 0);
  }

  /**
   * The first row's last width - 1 convolution inputs (oldest first) and recurrent state of a layer,
   * as the goldens have them.
   */
  async readState(layer: number): Promise<{ window: Float32Array; state: Float32Array }> {
    const { window, state } = nth(this.#states, layer);
    const windows = await this.#device.readFloats(window);
    const states = await this.#device.readFloats(state);
    return this.#mixer.read({ window: windows, state: states });
  }

  /** Times every kernel of a step, one by one; see {@linkcode Plan.profile}. */
  profile(): ReturnType<Plan["profile"]> {
    return this.#plan.profile();
  }

  destroy(): void {
    this.#plan.destroy();
    this.#greedy.plan.destroy();
    for (const texture of this.#textures) this.#device.free(texture);
    this.#workspace.destroy();
    if (this.#own) this.#store.destroy();
  }
}

/** How a model generates, beyond its sizes. */
export interface RecurrentOptions {
  /** Sequences that step together, which costs little more than one; 1 by default. */
  rows?: number;
  /**
   * Products read the weights rounded to f16, twice as fast where reading them is what takes the time;
   * states, sums and all else stay f32. The device needs shader-f16, but for one row on a CPU driver.
   */
  half?: boolean;
}

/**
 * A model in its recurrent form, on weights that are uploaded or on those that another model on the
 * device holds: then it takes no memory but its state, is slower on CPU drivers, and must go before
 * the other changes.
 * @throws {DeviceError} where the device is too small, or cannot f16.
 */
export async function createRecurrentMamba(
  device: Device,
  config: MambaConfig,
  weights: ((name: string) => Float32Array) | ParameterStore,
  options: RecurrentOptions = {},
): Promise<RecurrentMamba> {
  if (options.half) await checkMatrixUnits(device);
  const model = await device.guard(
    "set up the model",
    () => new RecurrentMamba(device, config, weights, options),
  );
  await device.idle(); // its weights are there: a first token takes what others take
  return model;
}
