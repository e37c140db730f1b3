/** Weights for measuring speed: of the right size and scale, made at the speed of memory. @module */
import { fail } from "../core/errors.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import { initialValues } from "../model/mamba/initialize.ts";
import { EMBEDDING, parameterList } from "../model/mamba/parameters.ts";
import { Random } from "../model/mamba/random.ts";

/** Values that large tensors repeat. */
const REPEATED = 1 << 16;

/** A reader of parameters by name: small tensors as a run draws them, large ones from few numbers. */
export function quickParameters(config: MambaConfig): (name: string) => Float32Array {
  const byName = new Map(parameterList(config).map((p) => [p.name, p]));
  const random = new Random(1, "bench");
  const noise = Float32Array.from({ length: REPEATED }, () => 2 * random.uniform() - 1);
  return (name) => {
    const parameter = byName.get(name) ?? fail(`there is no parameter ${name}`);
    const { size, shape } = parameter;
    if (size <= REPEATED) return initialValues(config, parameter, 1);
    const layers = /out_proj/.test(name) ? config.layers : 1;
    const bound = name === EMBEDDING
      ? config.initializerRange
      : 1 / Math.sqrt((shape.at(-1) ?? 1) * layers);
    const values = new Float32Array(size);
    values.set(noise.map((x) => x * bound));
    for (let done = REPEATED; done < size; done *= 2) {
      values.copyWithin(done, 0, Math.min(done, size - done));
    }
    return values;
  };
}
