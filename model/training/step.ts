/** One optimizer update, as pretraining and fine-tuning do it alike. @module */
import {
  type CountedBatch,
  Random,
  type StepReport,
  type TrainableModel,
  type UpdateOptions,
} from "../mamba/mod.ts";
import { ALONE, type Job } from "./job.ts";
import type { StepBatches } from "./rows.ts";
import type { StepMetrics } from "./metrics.ts";
import { scheduleFactor } from "./schedule.ts";
import type { TrainConfig } from "./configuration.ts";

/** A process's micro-batches of an update, and the factor that each one's summed loss is multiplied by. */
export interface StepGradients {
  batches: CountedBatch[];
  /** 1 over the targets of the whole step, so that accumulation equals one large batch. */
  scale: number;
}

/** What a process computes of a step that it may share with others. */
export interface StepPart extends StepBatches {
  /** Which of the step's micro-batches the first one is. */
  first: number;
  /** Lanes that they are dealt to; see gpu/lanes.ts. */
  lanes: number;
}

/** All of a step, in one lane. */
export function wholeStep(batches: CountedBatch[]): StepPart {
  const scored = batches.reduce((sum, batch) => sum + batch.scored, 0);
  return { batches, scored, first: 0, lanes: 1 };
}

/**
 * Queues a step's gradients, or a process's part of them. `before` is called once the first batch is
 * prepared and before it is queued. Whatever has to wait for the device waits there, since the next
 * work is ready by then. What is dropped, where the model trains with dropout, follows from `draw`: the
 * run's seed and the step.
 */
export function queueGradients(
  model: TrainableModel,
  { batches, scored, first, lanes }: StepPart,
  draw: { seed: number; step: number },
  before?: () => void,
): StepGradients {
  const random = new Random(draw.seed, `dropout of step ${draw.step}`);
  for (let other = 0; other < first; other++) random.integer(2 ** 32); // of other processes
  for (const batch of batches) batch.dropoutSeed = random.integer(2 ** 32);
  const scale = scored ? 1 / scored : 0;
  const each = batches.length / lanes;
  batches.forEach((batch, i) => {
    model.accumulate(batch, scale, i ? undefined : before);
    if (lanes > 1 && (i + 1) % each === 0) model.endLane();
  });
  return { batches, scale };
}

/**
 * The decay of the running means in update `step`: at most the configured one, and at first less, so
 * that a mean which starts at random weights forgets them: min(decay, (1 + n) / (10 + n)), as
 * TensorFlow's ExponentialMovingAverage has it with `num_updates`.
 */
const warmingDecay = (decay: number, step: number): number =>
  Math.min(decay, (1 + step) / (10 + step));

/**
 * The values of update `step` of `steps`, as configured.
 * @param random whether the run began with random weights, which its averages are to forget
 */
export function updateOptions(
  { optimizer, schedule, average }: Pick<TrainConfig, "optimizer" | "schedule" | "average">,
  step: number,
  steps: number,
  random = false,
): UpdateOptions {
  return {
    ...(random && average.decay ? { averageDecay: warmingDecay(average.decay, step) } : {}),
    step,
    learningRate: optimizer.learning_rate * scheduleFactor(schedule, step, steps),
    beta1: optimizer.beta1,
    beta2: optimizer.beta2,
    epsilon: optimizer.epsilon,
    weightDecay: optimizer.weight_decay,
    maxGradNorm: optimizer.max_grad_norm || Infinity,
  };
}

/** A step's line of metrics. `tokens` counts the run's so far, `own` the step's, in `seconds`. */
export function stepMetrics(
  { loss, plainLoss, gradNorm, skipped, overflow, lossScale }: StepReport,
  at: { step: number; learningRate: number; tokens: number; own: number; seconds: number },
): StepMetrics {
  return {
    step: at.step,
    tokens: at.tokens,
    loss,
    ...(plainLoss === undefined ? {} : { plain_loss: plainLoss }),
    learning_rate: at.learningRate,
    grad_norm: gradNorm,
    tokens_per_second: Number((at.own / at.seconds).toPrecision(6)),
    ...(skipped || overflow ? { skipped: 1 } : {}),
    ...(lossScale === undefined ? {} : { loss_scale: lossScale }),
  };
}

/**
 * What is wrong with a step, such as "the loss is NaN, with values that are not finite in NAME".
 * @param bad the figure that is wrong; by default one that is not finite.
 */
export async function describeFailure(
  model: TrainableModel,
  { batches, scale }: StepGradients,
  { loss, gradNorm }: Pick<StepReport, "loss" | "gradNorm">,
  bad: "loss" | "gradient norm" = Number.isFinite(loss) ? "gradient norm" : "loss",
  job: Job = ALONE,
): Promise<string> {
  const what = `the ${bad} is ${bad === "loss" ? loss : gradNorm}`;
  if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return what;
  // The next step's gradients may be in place of this one's: add these again to find the cause.
  for (const batch of batches) model.accumulate(batch, scale);
  const [tensor] = (await job.gather(await model.findNonFinite() ?? "")).filter(Boolean);
  return tensor ? `${what}, with values that are not finite in ${tensor}` : what;
}
