/** What a kind of mixer says of its parameters. @module */
import type { Random } from "./random.ts";

/** A parameter of a mixer: its name after `backbone.layers.N.mixer.`, and its extents. */
interface MixerParameter {
  name: string;
  shape: readonly number[];
  /** Whether weight decay applies. */
  decayed: boolean;
}

/** The parameters of a kind of mixer, whose configuration is C. */
export interface MixerParameters<C> {
  /** In the model's order. */
  list(config: C): MixerParameter[];
  /** Draws value `index` of the parameter; undefined where it is drawn like any other weight. */
  draw(config: C, name: string, random: Random): ((index: number) => number) | undefined;
  /** Channels of the convolution. */
  channels(config: C): number;
  /** Values of a layer's recurrent state, for one sequence. */
  stateValues(config: C): number;
}

/** Draws uniformly from -bound to bound. */
export const within = (bound: number, random: Random) => () => (2 * random.uniform() - 1) * bound;

/** The inverse of softplus. */
const inverseSoftplus = (y: number) => y + Math.log(-Math.expm1(-y));

/** Sizes that initial time steps are drawn from. */
interface TimeSteps {
  timeStepMin: number;
  timeStepMax: number;
  timeStepFloor: number;
}

/**
 * Draws biases of delta: the inverse softplus of steps that are log-uniform in [timeStepMin,
 * timeStepMax], not under the floor.
 */
export function drawTimeStepBias(config: TimeSteps, random: Random): () => number {
  const low = Math.log(config.timeStepMin);
  const high = Math.log(config.timeStepMax);
  return () => {
    const step = Math.exp(low + random.uniform() * (high - low));
    return inverseSoftplus(Math.max(step, config.timeStepFloor));
  };
}
