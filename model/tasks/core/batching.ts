/**
 * How supervised examples become steps and batches: steps of equally many examples and nearly equally
 * many tokens, and the shape of batches that such steps fill.
 * @module
 */
import { Random } from "../../mamba/random.ts";
import { firstFit } from "./first_fit.ts";

/** What has a length in tokens. */
interface Sized {
  tokens: ArrayLike<number>;
}

/** Steps of an epoch. */
export const stepsPerEpoch = (examples: number, perStep: number): number =>
  Math.ceil(examples / perStep);

/**
 * The examples of steps 0, 1, 2, ... of a run, by step. Every epoch takes each example once, in an order
 * of its own by the seed. Its steps have as many examples as each other, but for one, and nearly as many
 * tokens, so that batches of one shape are filled by all of them: the shuffled examples are dealt out by
 * length, in rounds, each round's longest to the step that has the fewest tokens so far. Within a step
 * they come by length, the longest first, as first fit packs them best.
 */
export function stepExamples<T extends Sized>(
  examples: readonly T[],
  perStep: number,
  seed: number,
): (step: number) => T[] {
  const steps = stepsPerEpoch(examples.length, perStep);
  let known: { epoch: number; steps: T[][] } | undefined;
  return (step) => {
    const epoch = Math.floor(step / steps);
    if (known?.epoch !== epoch) known = { epoch, steps: dealEpoch(examples, steps, seed, epoch) };
    return known.steps[step % steps] ?? [];
  };
}

/** The steps of one epoch. */
function dealEpoch<T extends Sized>(
  examples: readonly T[],
  count: number,
  seed: number,
  epoch: number,
): T[][] {
  const random = new Random(seed, `finetuning order of epoch ${epoch}`);
  const order = shuffled(examples, random).sort((a, b) => b.tokens.length - a.tokens.length);
  const steps = Array.from({ length: count }, () => ({ tokens: 0, examples: [] as T[] }));
  for (let from = 0; from < order.length; from += count) {
    // Sorting is stable: steps that are alike keep their order, which means nothing as yet.
    steps.sort((a, b) => a.tokens - b.tokens);
    order.slice(from, from + count).forEach((example, i) => {
      const step = steps[i];
      step?.examples.push(example);
      if (step) step.tokens += example.tokens.length;
    });
  }
  return shuffled(steps, random).map((step) => step.examples);
}

/** A shuffled copy (Fisher and Yates). */
function shuffled<T>(list: readonly T[], random: Random): T[] {
  const order = [...list];
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const kept = order[i] as T;
    order[i] = order[j] as T;
    order[j] = kept;
  }
  return order;
}

/** The shape of batches of texts. */
export interface BatchShape {
  /** Rows of a batch. */
  rows: number;
  /** Tokens of a row. */
  length: number;
  /** Of the places that are computed, the share that examples fill. */
  fill: number;
}

/** Row lengths are whole multiples of this many tokens. */
const ROW_MULTIPLE = 32;

/** What queueing a batch costs beside its places, in places: a few batches are better than many. */
const BATCH_COST = 32;

/** Steps that a shape is tried on. */
const STEPS_TRIED = 200;

/**
 * The shape of batches that steps of examples fill best. What is computed is always a whole batch, so
 * that an empty place costs as much as a full one.
 * @param shortest tokens that a row must hold at least
 * @param most places that a batch may have, in rows of `shortest`
 */
export function fittingShape(
  examples: readonly Sized[],
  { shortest, perStep, most, seed }: {
    shortest: number;
    perStep: number;
    most: number;
    seed: number;
  },
): BatchShape {
  const ofStep = stepExamples(examples, perStep, seed);
  const tried = Math.min(STEPS_TRIED, stepsPerEpoch(examples.length, perStep));
  const steps = Array.from({ length: tried }, (_, step) => ofStep(step));
  const tokens = steps.flat().reduce((sum, example) => sum + example.tokens.length, 0);
  const places = most * shortest;
  let best: BatchShape & { cost: number } | undefined;
  const multiple = shortest < ROW_MULTIPLE ? shortest : ROW_MULTIPLE;
  for (let length = shortest; length <= Math.min(places, 2 * shortest); length += multiple) {
    const taken = steps.map((step) => firstFit(step, length).length);
    const largest = Math.min(Math.max(1, ...taken), Math.floor(places / length));
    for (let rows = 1; rows <= largest; rows++) {
      const batches = taken.reduce((sum, all) => sum + Math.ceil(all / rows), 0);
      const computed = batches * rows * length;
      const cost = computed + BATCH_COST * batches;
      if (!best || cost < best.cost) best = { rows, length, fill: tokens / computed, cost };
    }
  }
  const { rows, length, fill } = best ?? { rows: 1, length: shortest, fill: 1 };
  return { rows, length, fill };
}
