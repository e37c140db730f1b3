/** A model's parameters on the device as mixers and linear maps see them. @module */
import type { Matrix, Region } from "../../../kernels/layout.ts";

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
  /** Whether a parameter has a gradient. */
  trains(name: string): boolean;
  /** The adapter of a weight; undefined where it has none. */
  adapter(weight: string): Adapter | undefined;
  /** What products with adapters work in, where there are any. */
  readonly lowRank: LowRankBuffers | undefined;
}

/** A weight's adapter. */
export interface Adapter {
  /** (r, in) as products read it; of the embedding (V, r). */
  a: Matrix;
  /** (out, r); of the embedding (d, r). */
  b: Matrix;
  /** Of the embedding: (V, r) in f32. */
  table: Matrix | undefined;
  gradients: { a: Matrix; b: Matrix } | undefined;
  /** s. */
  scale: number;
  /** Whether A learns without some of x's values, which the salt tells from other adapters' ones. */
  dropout: boolean;
  salt: number;
}

/** What all adapters of a model work in. */
export interface LowRankBuffers {
  /** (R, r) s x A^T, and s times the gradient of it. */
  t: Matrix;
  dt: Matrix;
  /** The adapter's part of an output in f16, or of a gradient that a mask is yet to be laid on. */
  wide?: Region;
  /** x without what is dropped, and the state that says what that is. */
  dropped?: { values: Region; state: Region };
}
