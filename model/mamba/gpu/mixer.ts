/**
 * What a kind of mixer says of itself on the device: how its parameters lie, what it keeps, and its
 * forward, backward and single step, from the normed stream to what out_proj reads.
 * @module
 */
import type { Device, Sizing } from "../../../kernels/device.ts";
import type { Matrix, Region } from "../../../kernels/layout.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { linear, linearBackward, type LinearOutput } from "./low_rank.ts";
import type { Slot, StoredParameters } from "./stored.ts";

export type { LaneSlot, Slot, StoredParameters } from "./stored.ts";

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
  /** The source has the stored matrix's columns as rows: (sourceCols, sourceRows). */
  transposed?: boolean;
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

  /** out = x W^T, or of several parts of W's rows each its own output. */
  linear(kind: string, x: Matrix, ...outputs: LinearOutput[]): void {
    linear(
      this.plan,
      this.store,
      { name: this.name(`mixer.${kind}.weight`), label: kind },
      x,
      outputs,
    );
  }

  /** Of out = x W^T: dx (= or +=) dout W, and the gradients of W, or of its adapter. */
  linearBackward(
    kind: string,
    x: Matrix,
    dx: Matrix,
    outputs: readonly LinearOutput[],
    accumulate = false,
  ): void {
    const weight = { name: this.name(`mixer.${kind}.weight`), label: kind };
    linearBackward(this.plan, this.store, weight, x, dx, outputs, accumulate);
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
