/**
 * Fresh weights, as the published Mamba code draws them (state-spaces/mamba, `mixer_seq_simple.py`,
 * `mamba_simple.py` and `mamba2.py`).
 * @module
 */
import type { MambaConfig } from "./config.ts";
import { HEAD_BIAS, HEAD_SPARSE, HEAD_WEIGHT, isCrfParameter } from "./head.ts";
import { kindOf } from "./kinds.ts";
import { adapterModule, EMBEDDING_MODULE } from "./lora.ts";
import { within } from "./mixer_parameters.ts";
import { EMBEDDING, type Parameter, parameterList } from "./parameters.ts";
import { Random } from "./random.ts";

/** Transitions of a conditional random field lie within this at first, as pytorch-crf draws them. */
const FIRST_TRANSITIONS = 0.1;

/** Seeded initial values of one parameter; each tensor has its own random stream. */
export function initialValues(config: MambaConfig, parameter: Parameter, seed: number) {
  const { name, shape, size } = parameter;
  const values = new Float32Array(size);
  const random = new Random(seed, name);
  const fill = (draw: (index: number) => number) => {
    for (let i = 0; i < size; i++) values[i] = draw(i);
    return values;
  };
  const fanIn = shape.at(-1) ?? 1;
  if (name === EMBEDDING) return fill(() => random.normal() * config.initializerRange);
  if (name === HEAD_WEIGHT) return fill(within(1 / Math.sqrt(fanIn), random));
  if (name === HEAD_BIAS || name === HEAD_SPARSE) return values;
  if (isCrfParameter(name)) return fill(within(FIRST_TRANSITIONS, random));
  const adapter = adapterModule(name);
  if (adapter) {
    // As PEFT draws them: the product of A and B is 0 at first.
    const ofEmbedding = adapter.module === EMBEDDING_MODULE;
    if (adapter.part === (ofEmbedding ? "A" : "B")) return values;
    return fill(ofEmbedding ? () => random.normal() : within(1 / Math.sqrt(fanIn), random));
  }
  const mixer = /\.mixer\.(.*)$/.exec(name)?.[1];
  if (mixer === undefined) return values.fill(1); // norms
  const own = kindOf(config).parameters.draw(config, mixer, random);
  if (own) return fill(own);
  if (mixer === "conv1d.bias") return fill(within(1 / Math.sqrt(config.convKernel), random));
  // One residual branch a layer: keeps the stream's variance independent of the depth.
  const branches = mixer === "out_proj.weight" ? config.layers : 1;
  // PyTorch's own, uniform within 1 / sqrt(fan-in).
  return fill(within(1 / Math.sqrt(fanIn * branches), random));
}

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
