/** Mamba-1's mixer in float64. @module */
import * as ops from "../../kernels/reference/mod.ts";
import type { Mamba1Config } from "./config.ts";
import { add, beside, columns, type ReferenceMixer } from "./reference_mixer.ts";

/** What the forward leaves. Rows are (b l). */
interface Kept {
  /** The convolution's operands: x is the first half of in_proj's output. */
  conv: ops.ConvSiluInput;
  /** (rows, e) the convolution's output after SiLU. */
  u: Float64Array;
  /** (rows, r) the low-rank form of delta. */
  timeStep: Float64Array;
  scan: ops.SelectiveScanInput;
}

/** See {@linkcode ReferenceMixer}. */
export const MAMBA1_REFERENCE: ReferenceMixer<Mamba1Config> = {
  forward(config, weight, normed, { batch, length, starts }, state) {
    const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
    const xz = ops.linear(normed, weight("mixer.in_proj.weight"), d, 2 * e);
    const conv: ops.ConvSiluInput = {
      batch,
      length,
      x: columns(xz, 2 * e, 0, e),
      weight: weight("mixer.conv1d.weight"),
      bias: weight("mixer.conv1d.bias"),
      initial: state?.conv,
      starts,
    };
    const u = ops.convSilu(conv);
    const projected = ops.linear(u, weight("mixer.x_proj.weight"), e, r + 2 * n);
    const timeStep = columns(projected, r + 2 * n, 0, r);
    const scan: ops.SelectiveScanInput = {
      batch,
      length,
      u,
      delta: ops.linear(timeStep, weight("mixer.dt_proj.weight"), r, e),
      A: weight("mixer.A_log").map((v) => -Math.exp(v)),
      B: columns(projected, r + 2 * n, r, r + n),
      C: columns(projected, r + 2 * n, r + n, r + 2 * n),
      D: weight("mixer.D"),
      z: columns(xz, 2 * e, e, 2 * e),
      deltaBias: weight("mixer.dt_proj.bias"),
      softplus: true,
      initialState: state?.scan,
      starts,
    };
    const { y, lastState } = ops.selectiveScan(scan);
    if (state) {
      state.conv = ops.convFinalState({ ...conv, starts: undefined });
      state.scan = lastState;
    }
    const kept: Kept = { conv, u, timeStep, scan };
    return { y, kept };
  },

  // Its seven parameters are those of every kind of layer; see the interface.
  backward(config, weight, normed, _piece, kept, dy, collect) {
    const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
    const { conv, u, timeStep, scan } = kept as Kept;
    const rows = normed.length / d;
    const linear = (name: string, dy: Float64Array, x: Float64Array, k: number, o: number) => {
      const { dx, dweight } = ops.linearBackward(dy, x, weight(name), k, o);
      collect(name, dweight);
      return dx;
    };
    const s = ops.selectiveScanBackward(scan, dy);
    collect("mixer.D", s.dD);
    collect("mixer.A_log", s.dA.map((v, j) => v * (scan.A[j] ?? 0)));
    collect("mixer.dt_proj.bias", s.ddeltaBias);
    const dtimeStep = linear("mixer.dt_proj.weight", s.ddelta, timeStep, r, e);
    const dprojected = beside(rows, dtimeStep, s.dB, s.dC);
    const du = add(s.du, linear("mixer.x_proj.weight", dprojected, u, e, r + 2 * n));
    const { dx, dweight, dbias } = ops.convSiluBackward(conv, du);
    collect("mixer.conv1d.weight", dweight);
    collect("mixer.conv1d.bias", dbias);
    return linear("mixer.in_proj.weight", beside(rows, dx, s.dz), normed, d, 2 * e);
  },
};
