/** Mamba-2's mixer in float64. @module */
import * as ops from "../../kernels/reference/mod.ts";
import { headsOf, type Mamba2Config } from "./config.ts";
import { MAMBA2_PARAMETERS } from "./mamba2_parameters.ts";
import { beside, columns, type ReferenceMixer } from "./reference_mixer.ts";

/** What the forward leaves. Rows are (b l). */
interface Kept {
  /** The convolution's operands: x, B and C before it. */
  conv: ops.ConvSiluInput;
  ssd: ops.SsdInput;
  norm: ops.GatedRmsNormInput;
}

/** Columns of in_proj's output: z, then what is convolved, then delta. */
const widths = (config: Mamba2Config) => {
  const e = config.intermediateSize;
  const wide = MAMBA2_PARAMETERS.channels(config);
  return { e, wide, states: (wide - e) / 2, all: e + wide + headsOf(config) };
};

/** See {@linkcode ReferenceMixer}. */
export const MAMBA2_REFERENCE: ReferenceMixer<Mamba2Config> = {
  forward(config, weight, normed, { batch, length, starts }, state) {
    const { e, wide, states, all } = widths(config);
    const projected = ops.linear(normed, weight("mixer.in_proj.weight"), config.hiddenSize, all);
    const conv: ops.ConvSiluInput = {
      batch,
      length,
      x: columns(projected, all, e, e + wide),
      weight: weight("mixer.conv1d.weight"),
      bias: weight("mixer.conv1d.bias"),
      initial: state?.conv,
      starts,
    };
    const u = ops.convSilu(conv);
    const ssd: ops.SsdInput = {
      batch,
      length,
      heads: headsOf(config),
      groups: config.groups,
      x: columns(u, wide, 0, e),
      B: columns(u, wide, e, e + states),
      C: columns(u, wide, e + states, wide),
      dt: columns(projected, all, e + wide, all),
      A: weight("mixer.A_log").map((v) => -Math.exp(v)),
      D: weight("mixer.D"),
      dtBias: weight("mixer.dt_bias"),
      softplus: true,
      limits: config.timeStepLimit,
      initialState: state?.scan,
      starts,
    };
    const { y: x, lastState } = ops.ssd(ssd);
    const norm: ops.GatedRmsNormInput = {
      x,
      z: columns(projected, all, 0, e),
      weight: weight("mixer.norm.weight"),
      epsilon: config.normEpsilon,
      groups: config.groups,
      normBeforeGate: config.normBeforeGate,
    };
    if (state) {
      state.conv = ops.convFinalState({ ...conv, starts: undefined });
      state.scan = lastState;
    }
    const kept: Kept = { conv, ssd, norm };
    return { y: ops.gatedRmsNorm(norm), kept };
  },

  // Its seven parameters are those of every kind of layer; see the interface.
  backward(config, weight, normed, _piece, kept, dy, collect) {
    const { conv, ssd, norm } = kept as Kept;
    const { hiddenSize } = config;
    const rows = normed.length / hiddenSize;
    const n = ops.gatedRmsNormBackward(norm, dy);
    collect("mixer.norm.weight", n.dweight);
    const s = ops.ssdBackward(ssd, n.dx);
    collect("mixer.D", s.dD);
    collect("mixer.A_log", s.dA.map((v, j) => v * (ssd.A[j] ?? 0)));
    collect("mixer.dt_bias", s.ddtBias);
    const { dx, dweight, dbias } = ops.convSiluBackward(conv, beside(rows, s.dx, s.dB, s.dC));
    collect("mixer.conv1d.weight", dweight);
    collect("mixer.conv1d.bias", dbias);
    const name = "mixer.in_proj.weight";
    const dprojected = beside(rows, n.dz, dx, s.ddt);
    const { all } = widths(config);
    const linear = ops.linearBackward(dprojected, normed, weight(name), hiddenSize, all);
    collect(name, linear.dweight);
    return linear.dx;
  },
};
