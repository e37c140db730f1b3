// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * The recurrence of Mamba-2, state space duality (Dao and Gu 2024, arXiv 2405.21060), in float64, step
 * by step. Heads h of size p share the B and C of their group g = h / (heads / groups). For a head, its
 * channel i and state k, over the steps t:
 *
 *   e[t] = clamp(softplus(dt[t, h] + dtBias[h]), limits)   (softplus on; else the plain sum)
 *   S[t, i, k] = exp(e[t] A[h]) S[t-1, i, k] + e[t] x[t, h, i] B[t, g, k]
 *   o[t, i] = sum over k of S[t, i, k] C[t, g, k] + D x[t, h, i]
 *   y[t, i] = o[t, i] silu(z[t, h, i])                      (with a gate z; else o)
 *
 * Where a document starts, S[t-1] counts as zero. D is of a head, or of each of its channels.
 * @module
 */
import { sigmoid, silu, siluDerivative, softplus } from "./activations.ts";

/** The operands. b sequences of l steps, h heads of size p, g groups, n states. */
export interface SsdInput {
  batch: number;
  length: number;
  heads: number;
  groups: number;
  /** (b l, h, p) */
  x: Float64Array;
  /** (b l, h) before bias and softplus. */
  dt: Float64Array;
  /** (h) negative. */
  A: Float64Array;
  /** (b l, g, n) */
  B: Float64Array;
  /** (b l, g, n) */
  C: Float64Array;
  /** (h) or (h, p) */
  D?: Float64Array;
  /** (b l, h, p) */
  z?: Float64Array;
  /** (h) */
  dtBias?: Float64Array;
  softplus: boolean;
  /** The least and the largest step; none by default. */
  limits?: readonly [number, number];
  /** (b, h, p, n) */
  initialState?: Float64Array;
  /** (b l) 1 where a document starts. */
  starts?: Uint8Array;
}

/** What a forward pass leaves. */
export interface SsdOutput {
  /** (b l, h, p) */
  y: Float64Array;
  /** (b, h, p, n) */
  lastState: Float64Array;
}

/** Sizes that the operands imply. */
function sizes({ batch, length, heads, groups, x, B, D }: SsdInput) {
  const rows = batch * length;
  const p = x.length / (rows * heads);
  const n = B.length / (rows * groups);
  return { rows, p, n, perHead: heads / groups, perChannel: D !== undefined && D.length > heads };
}

/** A step's size before and after softplus and limits. */
function stepSize(input: SsdInput, row: number, head: number) {
  const raw = input.dt[row * input.heads + head]! + (input.dtBias?.[head] ?? 0);
  const free = input.softplus ? softplus(raw) : raw;
  const [least, most] = input.limits ?? [-Infinity, Infinity];
  const e = Math.min(Math.max(free, least), most);
  const slope = e === free ? (input.softplus ? sigmoid(raw) : 1) : 0;
  return { e, slope };
}

/** D of a channel of a head. */
const skipOf = ({ D }: SsdInput, perChannel: boolean, head: number, p: number, i: number) =>
  D?.[perChannel ? head * p + i : head] ?? 0;

/** Moves a head's state (p, n) of sequence s over step t. */
function advance(
  input: SsdInput,
  state: Float64Array,
  row: number,
  head: number,
  e: number,
): void {
  const { p, n, perHead } = sizes(input);
  const group = Math.floor(head / perHead);
  const keep = input.starts?.[row] ? 0 : Math.exp(e * input.A[head]!);
  for (let i = 0; i < p; i++) {
    const gain = e * input.x[(row * input.heads + head) * p + i]!;
    for (let k = 0; k < n; k++) {
      const j = i * n + k;
      state[j] = keep * state[j]! + gain * input.B[(row * input.groups + group) * n + k]!;
    }
  }
}

/** A channel's output before the gate. */
function ungated(
  input: SsdInput,
  state: Float64Array,
  row: number,
  head: number,
  i: number,
): number {
  const { p, n, perHead, perChannel } = sizes(input);
  const group = Math.floor(head / perHead);
  const x = input.x[(row * input.heads + head) * p + i]!;
  let o = skipOf(input, perChannel, head, p, i) * x;
  for (let k = 0; k < n; k++) {
    o += state[i * n + k]! * input.C[(row * input.groups + group) * n + k]!;
  }
  return o;
}

/** The initial state (p, n) of a head of a sequence, as a copy. */
function firstState(input: SsdInput, s: number, head: number): Float64Array {
  const { p, n } = sizes(input);
  const at = (s * input.heads + head) * p * n;
  return input.initialState?.slice(at, at + p * n) ?? new Float64Array(p * n);
}

/** Forward. */
export function ssd(input: SsdInput): SsdOutput {
  const { batch, length, heads, z } = input;
  const { rows, p, n } = sizes(input);
  const y = new Float64Array(rows * heads * p);
  const lastState = new Float64Array(batch * heads * p * n);
  for (let s = 0; s < batch; s++) {
    for (let head = 0; head < heads; head++) {
      const state = firstState(input, s, head);
      for (let t = 0; t < length; t++) {
        const row = s * length + t;
        advance(input, state, row, head, stepSize(input, row, head).e);
        for (let i = 0; i < p; i++) {
          const at = (row * heads + head) * p + i;
          y[at] = ungated(input, state, row, head, i) * (z ? silu(z[at]!) : 1);
        }
      }
      lastState.set(state, (s * heads + head) * p * n);
    }
  }
  return { y, lastState };
}

/** Gradients of {@linkcode ssd}, each shaped as its operand. */
export interface SsdGradients {
  dx: Float64Array;
  ddt: Float64Array;
  dA: Float64Array;
  dB: Float64Array;
  dC: Float64Array;
  dD: Float64Array;
  dz: Float64Array;
  ddtBias: Float64Array;
  dinitialState: Float64Array;
}

/**
 * Backward, from the last step to the first: G = dL/dS[t] gathers what the output at t and the state
 * at t + 1 hand back, G[t] = do[t] C[t] + exp(e[t+1] A) G[t+1] (nothing across a document start). With
 * a = exp(e A): de gets the sum of G (A a S[t-1] + x B), dA that of G e a S[t-1], dx G e B, dB G e x.
 * @param dy (b l, h, p); @param dlast (b, h, p, n) gradient of the last state, where there is any.
 */
export function ssdBackward(
  input: SsdInput,
  dy: Float64Array,
  dlast?: Float64Array,
): SsdGradients {
  const { batch, length, heads, groups, x, A, B, C, z, starts } = input;
  const { rows, p, n, perHead, perChannel } = sizes(input);
  const size = p * n;
  const out: SsdGradients = {
    dx: new Float64Array(x.length),
    ddt: new Float64Array(rows * heads),
    dA: new Float64Array(heads),
    dB: new Float64Array(B.length),
    dC: new Float64Array(C.length),
    dD: new Float64Array(input.D?.length ?? heads),
    dz: new Float64Array(x.length),
    ddtBias: new Float64Array(heads),
    dinitialState: new Float64Array(batch * heads * size),
  };
  for (let s = 0; s < batch; s++) {
    for (let head = 0; head < heads; head++) {
      const group = Math.floor(head / perHead);
      // Entry t is the state before step t.
      const states = new Float64Array((length + 1) * size);
      states.set(firstState(input, s, head));
      for (let t = 0; t < length; t++) {
        const row = s * length + t;
        states.copyWithin((t + 1) * size, t * size, (t + 1) * size);
        const after = states.subarray((t + 1) * size, (t + 2) * size);
        advance(input, after, row, head, stepSize(input, row, head).e);
      }
      const at = (s * heads + head) * size;
      const G = dlast?.slice(at, at + size) ?? new Float64Array(size);
      for (let t = length - 1; t >= 0; t--) {
        const row = s * length + t;
        const { e, slope } = stepSize(input, row, head);
        const a = starts?.[row] ? 0 : Math.exp(e * A[head]!);
        const after = states.subarray((t + 1) * size, (t + 2) * size);
        let de = 0;
        for (let i = 0; i < p; i++) {
          const j = (row * heads + head) * p + i;
          const dOut = dy[j]! * (z ? silu(z[j]!) : 1);
          if (z) out.dz[j] = dy[j]! * ungated(input, after, row, head, i) * siluDerivative(z[j]!);
          out.dD[perChannel ? head * p + i : head]! += dOut * x[j]!;
          let dx = dOut * skipOf(input, perChannel, head, p, i);
          for (let k = 0; k < n; k++) {
            const bk = (row * groups + group) * n + k;
            const grad = G[i * n + k]! + dOut * C[bk]!;
            const before = states[t * size + i * n + k]!;
            out.dC[bk]! += dOut * after[i * n + k]!;
            out.dB[bk]! += grad * e * x[j]!;
            out.dA[head]! += grad * e * a * before;
            de += grad * (A[head]! * a * before + x[j]! * B[bk]!);
            dx += grad * e * B[bk]!;
            G[i * n + k] = a * grad;
          }
          out.dx[j] = dx;
        }
        out.ddt[row * heads + head] = de * slope;
        out.ddtBias[head]! += de * slope;
      }
      out.dinitialState.set(G, at);
    }
  }
  return out;
}
