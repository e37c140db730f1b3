/** The parameters of Mamba-1's mixer (state-spaces/mamba, `mamba_simple.py`). @module */
import type { Mamba1Config } from "./config.ts";
import { drawTimeStepBias, type MixerParameters, within } from "./mixer_parameters.ts";

/** See {@linkcode MixerParameters}. */
export const MAMBA1_PARAMETERS: MixerParameters<Mamba1Config> = {
  list({ hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r, convKernel }) {
    return [
      { name: "A_log", shape: [e, n], decayed: false },
      { name: "D", shape: [e], decayed: false },
      { name: "in_proj.weight", shape: [2 * e, d], decayed: true },
      { name: "conv1d.weight", shape: [e, 1, convKernel], decayed: true },
      { name: "conv1d.bias", shape: [e], decayed: false },
      { name: "x_proj.weight", shape: [r + 2 * n, e], decayed: true },
      { name: "dt_proj.weight", shape: [e, r], decayed: true },
      { name: "dt_proj.bias", shape: [e], decayed: false },
      { name: "out_proj.weight", shape: [d, e], decayed: true },
    ];
  },
  draw(config, name, random) {
    if (name === "A_log") return (i) => Math.log(i % config.stateSize + 1);
    if (name === "D") return () => 1;
    if (name === "dt_proj.weight") return within(1 / Math.sqrt(config.timeStepRank), random);
    if (name === "dt_proj.bias") return drawTimeStepBias(config, random);
  },
  channels: ({ intermediateSize }) => intermediateSize,
  stateValues: ({ intermediateSize, stateSize }) => intermediateSize * stateSize,
};
