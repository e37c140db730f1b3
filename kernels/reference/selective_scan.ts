// deno-lint-ignore-file pubmamba/no-non-null-assertion -- formulas; a place outside is NaN, which fails
/**
 * Mamba's selective scan (Gu and Dao, 2023, algorithm 2), in float64. For each sequence, channel c
 * and state n, over the steps t:
 *
 *   e[t, c] = softplus(delta[t, c] + deltaBias[c])        (softplus on; else the plain sum)
 *   h[t, c, n] = exp(e[t, c] A[c, n]) h[t-1, c, n] + e[t, c] u[t, c] B[t, n]
 *   o[t, c] = sum over n of h[t, c, n] C[t, n] + D[c] u[t, c]
 *   y[t, c] = o[t, c] silu(z[t, c])                       (with a gate z; else o)
 *
 * Where a document starts, h[t-1] counts as zero.
 * @module
 */
import { sigmoid, silu, siluDerivative, softplus } from "./activations.ts";

/** The operands. b sequences of l steps, d channels, n states. */
export interface SelectiveScanInput {
  batch: number;
  length: number;
  /** (b l, d) */
  u: Float64Array;
  /** (b l, d) before bias and softplus. */
  delta: Float64Array;
  /** (d, n) negative. */
  A: Float64Array;
  /** (b l, n) */
  B: Float64Array;
  /** (b l, n) */
  C: Float64Array;
  /** (d) */
  D?: Float64Array;
  /** (b l, d) */
  z?: Float64Array;
  /** (d) */
  deltaBias?: Float64Array;
  softplus: boolean;
  /** (b, d, n) */
  initialState?: Float64Array;
  /** (b l) 1 where a document starts. */
  starts?: Uint8Array;
}

/** What a forward pass leaves. */
export interface SelectiveScanOutput {
  /** (b l, d) */
  y: Float64Array;
  /** (b, d, n) */
  lastState: Float64Array;
}

const sizes = (input: SelectiveScanInput) => {
  const d = input.u.length / (input.batch * input.length);
  return { d, n: input.A.length / d };
};

/** The step size e at index i of (b l, d), channel c, before softplus. */
const rawStep = (input: SelectiveScanInput, i: number, c: number) =>
  input.delta[i]! + (input.deltaBias?.[c] ?? 0);

/** All states, (b, l + 1, d, n): entry t + 1 is the state after step t, entry 0 the initial one. */
function states(input: SelectiveScanInput): Float64Array {
  const { batch, length, A, B, u, initialState, starts } = input;
  const { d, n } = sizes(input);
  const h = new Float64Array(batch * (length + 1) * d * n);
  for (let s = 0; s < batch; s++) {
    const base = s * (length + 1) * d * n;
    if (initialState) h.set(initialState.subarray(s * d * n, (s + 1) * d * n), base);
    for (let t = 0; t < length; t++) {
      const row = s * length + t;
      const before = base + t * d * n;
      const after = before + d * n;
      for (let c = 0; c < d; c++) {
        const raw = rawStep(input, row * d + c, c);
        const e = input.softplus ? softplus(raw) : raw;
        for (let k = 0; k < n; k++) {
          const previous = starts?.[row] ? 0 : h[before + c * n + k]!;
          h[after + c * n + k] = Math.exp(e * A[c * n + k]!) * previous +
            e * u[row * d + c]! * B[row * n + k]!;
        }
      }
    }
  }
  return h;
}

/** The sum over states plus the skip, before the gate: o at row r, channel c. */
function ungated(input: SelectiveScanInput, h: Float64Array, s: number, t: number, c: number) {
  const { d, n } = sizes(input);
  const row = s * input.length + t;
  const at = ((s * (input.length + 1) + t + 1) * d + c) * n;
  let o = (input.D?.[c] ?? 0) * input.u[row * d + c]!;
  for (let k = 0; k < n; k++) o += h[at + k]! * input.C[row * n + k]!;
  return o;
}

/** Forward. */
export function selectiveScan(input: SelectiveScanInput): SelectiveScanOutput {
  const { batch, length, z } = input;
  const { d, n } = sizes(input);
  const h = states(input);
  const y = new Float64Array(batch * length * d);
  const lastState = new Float64Array(batch * d * n);
  for (let s = 0; s < batch; s++) {
    for (let t = 0; t < length; t++) {
      for (let c = 0; c < d; c++) {
        const i = (s * length + t) * d + c;
        y[i] = ungated(input, h, s, t, c) * (z ? silu(z[i]!) : 1);
      }
    }
    const end = (s * (length + 1) + length) * d * n;
    lastState.set(h.subarray(end, end + d * n), s * d * n);
  }
  return { y, lastState };
}

/** Gradients of {@linkcode selectiveScan}, each shaped as its operand. */
export interface SelectiveScanGradients {
  du: Float64Array;
  ddelta: Float64Array;
  dA: Float64Array;
  dB: Float64Array;
  dC: Float64Array;
  dD: Float64Array;
  dz: Float64Array;
  ddeltaBias: Float64Array;
  dinitialState: Float64Array;
}

/**
 * Backward, from the last step to the first. g = dL/dh[t] gathers what the output at t and the state
 * at t + 1 hand back: g[t] = C[t] do[t] + exp(e[t+1] A) g[t+1] (nothing across a document start).
 * With a = exp(e A): de gets g (A a h[t-1] + u B), dA gets g e a h[t-1], dB gets g e u, du gets g e B.
 * @param dy (b l, d); @param dlast (b, d, n) gradient of the last state, where there is any.
 */
export function selectiveScanBackward(
  input: SelectiveScanInput,
  dy: Float64Array,
  dlast?: Float64Array,
): SelectiveScanGradients {
  const { batch, length, u, A, B, C, D, z, starts } = input;
  const { d, n } = sizes(input);
  const h = states(input);
  const out: SelectiveScanGradients = {
    du: new Float64Array(u.length),
    ddelta: new Float64Array(u.length),
    dA: new Float64Array(A.length),
    dB: new Float64Array(B.length),
    dC: new Float64Array(C.length),
    dD: new Float64Array(d),
    dz: new Float64Array(u.length),
    ddeltaBias: new Float64Array(d),
    dinitialState: new Float64Array(batch * d * n),
  };
  for (let s = 0; s < batch; s++) {
    const g = dlast ? dlast.slice(s * d * n, (s + 1) * d * n) : new Float64Array(d * n);
    for (let t = length - 1; t >= 0; t--) {
      const row = s * length + t;
      const before = (s * (length + 1) + t) * d * n;
      const after = before + d * n;
      for (let c = 0; c < d; c++) {
        const i = row * d + c;
        const raw = rawStep(input, i, c);
        const e = input.softplus ? softplus(raw) : raw;
        const dOut = dy[i]! * (z ? silu(z[i]!) : 1);
        if (z) out.dz[i] = dy[i]! * ungated(input, h, s, t, c) * siluDerivative(z[i]!);
        out.dD[c]! += dOut * u[i]!;
        let du = dOut * (D?.[c] ?? 0);
        let de = 0;
        for (let k = 0; k < n; k++) {
          const j = c * n + k;
          const bk = row * n + k;
          const previous = starts?.[row] ? 0 : h[before + j]!;
          const a = Math.exp(e * A[j]!);
          const grad = g[j]! + C[bk]! * dOut;
          out.dC[bk]! += dOut * h[after + j]!;
          out.dB[bk]! += grad * e * u[i]!;
          out.dA[j]! += grad * e * a * previous;
          de += grad * (A[j]! * a * previous + u[i]! * B[bk]!);
          du += grad * e * B[bk]!;
          g[j] = starts?.[row] ? 0 : a * grad;
        }
        const draw = input.softplus ? de * sigmoid(raw) : de;
        out.du[i] = du;
        out.ddelta[i] = draw;
        out.ddeltaBias[c]! += draw;
      }
    }
    out.dinitialState.set(g, s * d * n);
  }
  return out;
}
