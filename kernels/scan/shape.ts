/**
 * The selective scan of Mamba-1: sizes, buffers and the WGSL that both forms share.
 *
 * For channel d, state n and time t of one sequence, with delta = softplus(raw + bias):
 *
 *     h[t] = exp(delta[t] A[d,n]) h[t-1] + delta[t] B[t,n] u[t]        (h = 0 where a document starts)
 *     y[t] = (sum_n C[t,n] h[t] + D[d] u[t]) * silu(z[t])
 *
 * Source: Gu and Dao, "Mamba" (arXiv 2312.00752), algorithm 2. Nothing of size (b, d, l, n) is
 * stored: the forward keeps the state every few steps, the backward recomputes from there. Sums run
 * in a fixed order (no atomics), so a rerun gives the same bits.
 *
 * Layouts (floats; R = padded rows of the batch, W = padded channels, np = states rounded up to 4):
 * - u, delta, z, y and their gradients: panel matrices of R rows and W columns, row = b * length + t.
 *   With `half`, u, z and dz are f16: what comes from f16 products and goes into them. Delta, B, C,
 *   states and y never are: y reaches 1e6, which f16 cannot hold;
 * - bc: one panel, (R, 32): row (b, t) holds B at 0..np-1 and C at np..2np-1 (so n <= 16);
 * - par: (np + 2, W): A by state, then D, then the bias of delta;
 * - starts: (R) u32, 1 where a document starts. There 1e30 takes delta's place in the decay alone, which
 *   makes exp2(A * 1e30) = 0;
 * - state: (b, W/32, np, 32): in, the initial state where there is one; out, the last state.
 * @module
 */
import { padded, type Region } from "../layout.ts";
import { uniforms, type WgslWriter } from "../wgsl/mod.ts";

/** What is scanned. */
export interface ScanShape {
  batch: number;
  length: number;
  channels: number;
  states: number;
  /** delta = softplus(raw + bias) rather than raw + bias. */
  softplus: boolean;
  bias: boolean;
  /** The D term. */
  skip: boolean;
  /** The z gate. */
  gate: boolean;
  /** Documents start where `starts` says. */
  packed: boolean;
  /** `state` holds the initial state (and `dstate` the gradient of the last one). */
  initialState: boolean;
  /** u, z and dz are f16. */
  half?: boolean;
  /**
   * The form for GPUs: how many segments of a sequence walk side by side, at most; by default enough
   * to fill a GPU. Another number rounds otherwise.
   */
  segments?: number;
  /** The form for GPUs: steps of a stage; see {@linkcode stageOf}. */
  stage?: number;
  /** The form for GPUs: steps of a block of the walk back; see {@linkcode blockOf}. */
  block?: number;
}

/** The form for GPUs: time steps of a stage; see `alternatives.ts`. */
export const stageOf = ({ stage = 16 }: Pick<ScanShape, "stage">): number => stage;
/** The form for GPUs: steps whose states a thread keeps in registers in the backward. */
export const blockOf = ({ block = 4 }: Pick<ScanShape, "block">): number => block;

/** Buffers of the forward; see the module's text for layouts. */
export interface ScanForward {
  u: Region;
  delta: Region;
  bc: Region;
  par: Region;
  z?: Region;
  starts?: Region;
  y: Region;
  state: Region;
  /** States kept for the backward: {@linkcode ScanSizes.checkpoints} floats. */
  checkpoints: Region;
  /** The form for GPUs: states of segments, then their sums of delta. */
  sums: Region;
}

/** What the backward reads beyond the forward, and what it writes. */
export interface ScanBackward extends ScanForward {
  /** In: the gradient of y. Out: that of u, in its place. */
  gy: Region;
  /** Gradient of the raw delta. */
  ddelta: Region;
  dz?: Region;
  /** Gradient of bc, one panel. */
  dbc: Region;
  /** Gradient of par, (np + 2, W). */
  dpar: Region;
  /** In: gradient of the last state. Out: of the initial state. Only with `initialState`. */
  dstate?: Region;
  /** Scratch: gradients of bc by panel, then of par by sequence and segment. */
  parts: Region;
  /** Scratch of the form for GPUs, as large as sums. */
  dcheckpoints: Region;
}

/** Floats of each buffer that depends on the form. */
export interface ScanSizes {
  par: number;
  state: number;
  checkpoints: number;
  sums: number;
  /** Both kinds of parts together; those of bc come first. */
  parts: number;
  dbcParts: number;
  dcheckpoints: number;
}

/** Derived extents. */
export interface Extents {
  np: number;
  quads: number;
  panels: number;
  /** Padded rows of the batch. */
  stride: number;
  width: number;
}

/** @throws {RangeError} for more than 16 states. */
export function extents(shape: ScanShape): Extents {
  const quads = Math.ceil(shape.states / 4);
  if (shape.states < 1 || quads > 4) {
    throw new RangeError(`A selective scan takes 1 to 16 states, not ${shape.states}`);
  }
  const width = padded(shape.channels);
  return {
    np: quads * 4,
    quads,
    panels: width / 32,
    stride: padded(shape.batch * shape.length),
    width,
  };
}

/** The uniform values of every kernel of the scan. */
export const SCAN_PARAMS = uniforms({
  length: "u32",
  /** R: padded rows of the batch. */
  rows: "u32",
  panels: "u32",
  /** Pieces of a sequence at whose start the state is kept. */
  chunks: "u32",
  /** Where in `parts` the parts of dpar begin, in floats. */
  dpar_parts: "u32",
  /** Stages of a segment. */
  segment: "u32",
  segments: "u32",
  /** Where in `sums` (and `dcheckpoints`) the sums of delta begin, in floats. */
  sums: "u32",
});

/** How u, z and dz are stored; every load and store of theirs converts. */
export const storedVector = (s: ScanShape): string => s.half ? "vec4h" : "vec4f";
/** As {@linkcode storedVector}, of one value. */
export const storedScalar = (s: ScanShape): string => s.half ? "f16" : "f32";

/** Buffers by the name of the binding: their element, with a "!" where they are written. */
export type ScanBuffers = Record<string, string>;

/** Binds the uniform values as p, then storage buffers. */
export function bindScan(w: WgslWriter, buffers: ScanBuffers): void {
  w.uniforms("p", SCAN_PARAMS);
  for (const [name, type] of Object.entries(buffers)) {
    w.storage(name, type.replace("!", ""), type.endsWith("!") ? "read_write" : "read");
  }
}

/** Buffers that exist only in some shapes. */
export const when = (yes: boolean, buffers: ScanBuffers): ScanBuffers => yes ? buffers : {};
