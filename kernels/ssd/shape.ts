/**
 * State space duality, Mamba-2's recurrence: sizes, buffers and layouts; what it computes is said in
 * `reference/ssd.ts`. Source: Dao and Gu 2024 (arXiv 2405.21060), section 6.
 *
 * A sequence is cut into chunks of Q steps. With L[t, s] = a[s+1] ... a[t] (1 where s = t; 0 where s > t
 * or a document starts in between), a[t] = exp(dt[t] A), and S the state that enters the chunk:
 *
 *     y[t] = sum_s (C[t] . B[s]) L[t, s] dt[s] x[s] + v[t] C[t] S + D x[t]
 *     S'   = keep S + sum_s w[s] B[s] x[s]
 *
 * v[t] is the decay from the chunk's start to t, w[s] dt[s] times the decay from s to its end, keep the
 * decay over the whole chunk; each is 0 where a document starts in between. All sums are matrix
 * products of a chunk; only S goes from chunk to chunk, in order. Decays are exponentials of differences
 * of sums over the chunk, which stay small however long the sequence: of sums within a block of
 * {@linkcode BLOCK} steps and of the blocks before, so that near steps lose nothing to what lies far
 * back. Sums run in a fixed order, so a rerun gives the same bits.
 *
 * Documents are short beside a chunk, and a step sees only its own. Every step knows where its document
 * begins and ends in the chunk, and products run over those steps alone; a chunk's states are summed
 * only where a document goes on into the next chunk. What is left out would have been exactly zero.
 *
 * Layouts (floats; R = padded rows of the batch, pp and np = head size and states padded to 32):
 * - u and du: panel matrices of R rows: x by heads (heads x pp columns), then B by groups (groups x np),
 *   then C. Row = b * length + t. u is f16 with `half`;
 * - y and gy: panel matrices, R rows, heads x pp columns; dt and ddt: R rows, heads;
 * - par and dpar: (3, heads padded to 32): A, D of a head, bias of dt;
 * - steps: (chunk, head, {@linkcode PLANES}, Q): dt, the sums of its decays, v, w, w without dt, and
 *   where the step's document begins and ends; see below;
 * - pairs: panel matrix of R rows and groups x Q columns: C[t] . B[s] of a chunk, for s <= t;
 * - states: (chunk, head, pp / 32, np, 32); state and dstate: the same with sequences for chunks.
 * @module
 */
import { padded, type Region } from "../layout.ts";

/** What is computed. */
export interface SsdShape {
  batch: number;
  length: number;
  heads: number;
  headSize: number;
  groups: number;
  states: number;
  /** dt = softplus(raw + bias) rather than raw + bias. */
  softplus: boolean;
  /** D: one value a head, one a channel, or none. */
  skip: "head" | "channel" | "none";
  /** Documents start where `starts` says. */
  packed: boolean;
  /** `state` holds the initial state (and `dstate` the gradient of the last one). */
  initialState: boolean;
  /** The last state goes to `state`. */
  lastState?: boolean;
  /** The least and the largest dt; none by default. */
  limits?: readonly [number, number];
  /** u is f16. */
  half?: boolean;
  /** Steps of a chunk: a multiple of 32; {@linkcode chunkOf} says what is used by default. */
  chunk?: number;
}

/** Buffers of the forward; see the module's text for layouts. */
export interface SsdForward {
  u: Region;
  /** Raw steps. */
  dt: Region;
  par: Region;
  /** (heads x pp), where D is of channels. */
  skip?: Region;
  starts: Region;
  y: Region;
  /** In: the initial state. Out: the last one. Only where the shape has either. */
  state?: Region;
  /** Kept for the backward. */
  steps: Region;
  /** Kept for the backward. */
  pairs: Region;
  /** Kept for the backward: the states that enter each chunk. */
  states: Region;
}

/** What the backward reads beyond the forward, and what it writes. */
export interface SsdBackward extends SsdForward {
  gy: Region;
  du: Region;
  /** Gradient of the raw steps. */
  ddt: Region;
  dpar: Region;
  /** (heads x pp), where D is of channels. */
  dskip?: Region;
  /** In: gradient of the last state. Out: of the initial state. Only with `initialState`. */
  dstate?: Region;
  /** Scratch, as large as states. */
  dstates: Region;
  /** Scratch, as large as pairs. */
  dpairs: Region;
  /** Scratch: {@linkcode SsdSizes.sums} floats. */
  sums: Region;
}

/** Floats of each buffer that depends on the device or on the chunk. */
export interface SsdSizes {
  par: number;
  state: number;
  steps: number;
  pairs: number;
  states: number;
  sums: number;
}

/** Values that `steps` keeps of each step and head, and the number of each. */
export const PLANES = 8;
/** The step size. */
export const STEP = 0;
/** The sum of dt A log2(e) from the start of the step's block to the step. */
export const LOG_DECAY = 1;
/** The same from the chunk's start to the start of the step's block. */
export const LOG_BEFORE = 2;
/** v: the decay from the chunk's start; 0 past a document's start. */
export const FROM_START = 3;
/** w: dt times the decay to the chunk's end. */
export const INTO_END = 4;
/** The decay to the chunk's end; 0 where a document starts before it. */
export const TO_END = 5;
/** The first step of the step's document; {@linkcode EARLIER} or {@linkcode PAST} where there is none. */
export const FIRST = 6;
/** The step after the last one of the step's document in the chunk. */
export const END = 7;
/** In place of a first step: the document began before the chunk. Documents have different first steps. */
export const EARLIER = -1;
/** In place of a first step: past the sequence's end. */
export const PAST = -2;
/** Steps of a block. */
export const BLOCK = 32;

/** Derived extents. */
export interface SsdExtents {
  /** Head size and states, padded to whole panels. */
  pp: number;
  np: number;
  /** Columns of y, and of u. */
  width: number;
  columns: number;
  /** First columns of B and C in u. */
  b: number;
  c: number;
  /** Padded rows of the batch. */
  stride: number;
  /** Heads padded to a panel. */
  headWidth: number;
}

/** @throws {RangeError} where groups do not divide heads. */
export function ssdExtents(shape: SsdShape): SsdExtents {
  const { batch, length, heads, headSize, groups, states } = shape;
  if (heads % groups) throw new RangeError(`${groups} groups do not divide ${heads} heads`);
  const pp = padded(headSize);
  const np = padded(states);
  const width = heads * pp;
  return {
    pp,
    np,
    width,
    columns: width + 2 * groups * np,
    b: width,
    c: width + groups * np,
    stride: padded(batch * length),
    headWidth: padded(heads),
  };
}

/** The most steps of a chunk. */
const LONGEST_CHUNK = 256;

/**
 * Steps of a chunk: the fewest chunks, of equal length. With documents of a few hundred steps products
 * run over hardly more steps in a long chunk than in a short one, and fewer documents reach over a
 * chunk's end, which costs six products with states.
 */
export function chunkOf({ chunk, length }: Pick<SsdShape, "chunk" | "length">): number {
  return chunk ?? Math.ceil(length / Math.ceil(length / LONGEST_CHUNK) / 64) * 64;
}

/** Whether states go from one chunk to the next, or in or out. */
export const carriesStates = (shape: SsdShape): boolean =>
  shape.length > chunkOf(shape) || shape.initialState || (shape.lastState ?? false);
