/**
 * Fresh weights, as the published Mamba code draws them (state-spaces/mamba, `mixer_seq_simple.py`
 * and `mamba_simple.py`).
 * @module
 */
import type { MambaConfig } from "./config.ts";
import { EMBEDDING, type Parameter, parameterList } from "./parameters.ts";
import { Random } from "./random.ts";

/** Seeded initial values of one parameter; each tensor has its own random stream. */
export function initialValues(config: MambaConfig, parameter: Parameter, seed: number) {
  const { name, shape, size } = parameter;
  const values = new Float32Array(size);
  const random = new Random(seed, name);
  const kind = name.replace(/^backbone\.(layers\.\d+\.)?/, "");
  const fill = (draw: (index: number) => number) => {
    for (let i = 0; i < size; i++) values[i] = draw(i);
    return values;
  };
  const within = (bound: number) => fill(() => (2 * random.uniform() - 1) * bound);
  const fanIn = shape.at(-1)!;
  if (name === EMBEDDING) return fill(() => random.normal() * config.initializerRange);
  switch (kind) {
    case "norm.weight":
    case "norm_f.weight":
    case "mixer.D":
      return values.fill(1);
    case "mixer.A_log":
      return fill((i) => Math.log(i % config.stateSize + 1));
    case "mixer.conv1d.bias":
      return within(1 / Math.sqrt(config.convKernel));
    case "mixer.dt_proj.weight":
      return within(1 / Math.sqrt(config.timeStepRank));
    case "mixer.dt_proj.bias":
      return fill(() => inverseSoftplus(initialTimeStep(config, random.uniform())));
    case "mixer.out_proj.weight":
      // One residual branch a layer: keeps the stream's variance independent of the depth.
      return within(1 / Math.sqrt(fanIn * config.layers));
    default: // in_proj, conv1d and x_proj: PyTorch's own, uniform within 1 / sqrt(fan-in)
      return within(1 / Math.sqrt(fanIn));
  }
}

/** Log-uniform in [timeStepMin, timeStepMax], not under the floor; `share` in [0, 1). */
function initialTimeStep(config: MambaConfig, share: number): number {
  const low = Math.log(config.timeStepMin);
  const high = Math.log(config.timeStepMax);
  return Math.max(Math.exp(low + share * (high - low)), config.timeStepFloor);
}

const inverseSoftplus = (y: number) => y + Math.log(-Math.expm1(-y));

/** A reader of seeded initial values by parameter name, for `writeParameters` and model folders. */
export function initialParameters(
  config: MambaConfig,
  seed: number,
): (name: string) => Float32Array {
  const byName = new Map(parameterList(config).map((p) => [p.name, p]));
  return (name) => {
    const parameter = byName.get(name);
    if (!parameter) throw new RangeError(`No parameter is named ${name}`);
    return initialValues(config, parameter, seed);
  };
}
