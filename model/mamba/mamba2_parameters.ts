/** The parameters of Mamba-2's mixer (state-spaces/mamba, `mamba2.py`). @module */
import { headsOf, type Mamba2Config } from "./config.ts";
import { drawTimeStepBias, type MixerParameters } from "./mixer_parameters.ts";

/** What A is drawn from uniformly, but for its sign. */
const A_RANGE = [1, 16] as const;

/** Channels of the convolution: x, B and C. */
const channels = ({ intermediateSize, groups, stateSize }: Mamba2Config) =>
  intermediateSize + 2 * groups * stateSize;

/** See {@linkcode MixerParameters}. */
export const MAMBA2_PARAMETERS: MixerParameters<Mamba2Config> = {
  list(config) {
    const { hiddenSize: d, intermediateSize: e, convKernel } = config;
    const heads = headsOf(config);
    const wide = channels(config);
    return [
      { name: "dt_bias", shape: [heads], decayed: false },
      { name: "A_log", shape: [heads], decayed: false },
      { name: "D", shape: [heads], decayed: false },
      { name: "in_proj.weight", shape: [e + wide + heads, d], decayed: true },
      { name: "conv1d.weight", shape: [wide, 1, convKernel], decayed: true },
      { name: "conv1d.bias", shape: [wide], decayed: false },
      { name: "norm.weight", shape: [e], decayed: false },
      { name: "out_proj.weight", shape: [d, e], decayed: true },
    ];
  },
  draw(config, name, random) {
    const [low, high] = A_RANGE;
    if (name === "dt_bias") return drawTimeStepBias(config, random);
    if (name === "A_log") return () => Math.log(low + random.uniform() * (high - low));
    if (name === "D" || name === "norm.weight") return () => 1;
  },
  channels,
  stateValues: ({ intermediateSize, stateSize }) => intermediateSize * stateSize,
};
