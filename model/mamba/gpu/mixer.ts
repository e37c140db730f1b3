/**
 * What a kind of mixer says of itself on the device: how its parameters lie, what it keeps, and its
 * forward, backward and single step, from the normed stream to what out_proj reads.
 * @module
 */
import type { Device, Sizing } from "../../../kernels/device.ts";
import type { Matrix, Region } from "../../../kernels/layout.ts";
import { matmul } from "../../../kernels/matmul/mod.ts";
import type { Plan } from "../../../kernels/plan.ts";

/** What a stored tensor holds for each of its values. */
export type Slot = "value" | "gradient" | "m" | "v" | "average" | "half" | LaneSlot;

/** A sum of lanes' gradients that waits for another; see lanes.ts. */
export type LaneSlot = `lane${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9}`;

/** A model's parameters on the device, as mixers read them; names are the full ones. */
export interface StoredParameters {
  /** A parameter as it lies in memory. */
  region(name: string, slot?: Slot, floats?: number): Region;
  /** A parameter as a panel matrix, padded extents included. */
  matrix(name: string, slot?: Slot): Matrix;
  /** A weight as products read it: in mixed precision, its copy in f16. */
  operand(name: string): Matrix;
  /** Whether every parameter has this slot. */
  keeps(slot: Slot): boolean;
}

/** A batch's extents. */
export interface BatchShape {
  batch: number;
  length: number;
}

/** How a parameter is stored as a matrix: extents, and where rows and columns of the source go. */
export interface MatrixForm {
  /** Rows as stored. */
  rows: number;
  cols: number;
  sourceRows: number;
  sourceCols: number;
  rowOf: (row: number) => number;
  /** Where columns go; absent where they stay. */
  colOf?: (col: number) => number;
}

/** How a parameter is stored as a flat vector: its floats, and where each value goes. */
export interface VectorForm {
  floats: number;
  at: (index: number) => number;
}

/** What allocates a layer's buffers. */
export interface MixerAllocation<C> {
  device: Sizing;
  config: C;
  shape: BatchShape;
  /** Of what mixed precision keeps in f16. */
  half?: "f16";
  /** A matrix of the batch's rows. */
  matrix(what: string, cols: number, type?: "f16"): Matrix;
  words(what: string, count: number): Region;
}

/** What a mixer keeps from its forward for its backward: more, which its kind knows. */
export interface MixerActivations {
  /** (R, e as stored) what out_proj reads. */
  out: Matrix;
}

/** Scratch that all layers' backward passes share: more, which the kind knows. */
export interface MixerScratch {
  /** (R, e as stored) gradient of the mixer's output. */
  dout: Matrix;
  /** For column sums: {@linkcode DeviceMixer.partials} floats, or more. */
  partials: Region;
}

/** One layer of a plan. */
export class LayerCall<C> {
  constructor(
    readonly plan: Plan,
    readonly store: StoredParameters,
    readonly config: C,
    readonly shape: BatchShape,
    readonly index: number,
    /** (R) u32: 1 where a sequence or a document starts. */
    readonly starts: Region,
  ) {}

  /** The full name of a parameter of the layer. */
  name(name: string): string {
    return `backbone.layers.${this.index}.${name}`;
  }

  /** A parameter of the layer, flat. */
  region(name: string, slot: Slot = "value", floats?: number): Region {
    return this.store.region(this.name(name), slot, floats);
  }

  /** A weight of the mixer as products read it. */
  operand(kind: string): Matrix {
    return this.store.operand(this.name(`mixer.${kind}.weight`));
  }

  /** The gradient of a weight of the mixer. */
  gradient(kind: string): Matrix {
    return this.store.matrix(this.name(`mixer.${kind}.weight`), "gradient");
  }

  /** out = x W^T. */
  linear(kind: string, x: Matrix, out: Matrix): void {
    this.linearOf(kind, this.operand(kind), x, out);
  }

  /** out = x W^T of some rows of a weight; `sameX` where x is the product's before. */
  linearOf(label: string, weight: Matrix, x: Matrix, out: Matrix, sameX = false): void {
    matmul(this.plan, { product: "NT", a: x, b: weight, c: out, label, sameA: sameX });
  }

  /** Of out = x W^T: dx (= or +=) dout W, and dW += dout^T x. */
  linearBackward(
    kind: string,
    dout: Matrix,
    x: Matrix,
    dx: Matrix,
    { accumulate = false, weight = this.operand(kind), gradient = this.gradient(kind) } = {},
  ): void {
    const { plan } = this;
    matmul(plan, { product: "NN", a: dout, b: weight, c: dx, accumulate, label: kind });
    matmul(plan, {
      product: "TN",
      a: dout,
      b: x,
      c: gradient,
      accumulate: true,
      sameA: true,
      label: kind,
      mixed: this.store.keeps("half"),
    });
  }
}

/** A product of a mixer's weight (out, input) with activations, for tuning. */
interface MixerProduct {
  out: number;
  input: number;
  /** Which of x, y and the gradient of y (g) are f16 in mixed precision. */
  half: string;
}

/** What a mixer's single step works with. */
interface StepSetting<C> {
  device: Device;
  config: C;
  store: StoredParameters;
  /** Replayed at every token. */
  plan: Plan;
  /** Runs once. */
  prepare: Plan;
  rows: number;
  /** Rows allocated in every matrix: 1 for one row, so that it is a plain vector. */
  stride: number;
  words(what: string, count: number): Region;
  matrix(what: string, cols: number): Matrix;
  /** to = x W^T of a parameter, by its full name. */
  multiply(name: string, x: Matrix, to: Matrix): void;
}

/** A layer's recurrent state. */
export interface StepState {
  window: Region;
  state: Region;
}

/** A mixer's single step, over buffers that all layers share. */
export interface MixerStep {
  /** What out_proj reads. */
  out: Matrix;
  /** Appends a layer's step from y, the normed stream. */
  layer(index: number, y: Matrix): StepState;
  /** The first row's window, (channels, width - 1), and state, in the reference's order. */
  read(values: { window: Float32Array; state: Float32Array }): {
    window: Float32Array;
    state: Float32Array;
  };
}

/** What a mixer's textures depend on besides. */
interface TextureUse {
  training: boolean;
  half: boolean;
}

/** A kind of mixer on the device, whose configuration is C. */
export interface DeviceMixer<C> {
  /** How a parameter, by its name after `mixer.`, is stored as a matrix; undefined for vectors. */
  matrixForm(config: C, name: string): MatrixForm | undefined;
  /** How another is stored; undefined for values that lie as they are. */
  vectorForm(config: C, name: string): VectorForm | undefined;
  /** Names of parameters that lie together, in this order. */
  together: readonly string[];
  activations(to: MixerAllocation<C>): MixerActivations;
  /** Floats of {@linkcode MixerScratch.partials} for so many rows. */
  partials(device: Sizing, config: C, rows: number): number;
  scratch(to: MixerAllocation<C>, partials: Region): MixerScratch;
  /** Fills `a` from y, the normed stream. */
  forward(call: LayerCall<C>, y: Matrix, a: MixerActivations): void;
  /** From s.dout to dy; gradients of parameters are added to. */
  backward(
    call: LayerCall<C>,
    y: Matrix,
    a: MixerActivations,
    s: MixerScratch,
    dy: Matrix,
  ): void;
  /** The products of in_proj and those within. */
  products(config: C, mixed: boolean): MixerProduct[];
  /** Width of out_proj's input as stored, and whether mixed precision keeps it in f16. */
  output(config: C): { width: number; half: boolean };
  /** Columns of the widest matrix of activations. */
  widest(config: C): number;
  /** Bytes of the largest region that is bound, besides matrices and what products cut. */
  largestBinding(device: Sizing, config: C, shape: BatchShape, training: boolean): number;
  /** Bytes of textures of its own. */
  textureBytes(device: Sizing, config: C, shape: BatchShape, how: TextureUse): number;
  step(setting: StepSetting<C>): MixerStep;
}
