/** Every kernel of a model's steps, as it is planned, without a GPU. @module */
import type { Chosen } from "../../../kernels/alternatives.ts";
import type { Variant } from "../../../kernels/device.ts";
import type { PlannedKernel } from "../../../kernels/plan.ts";
import { planningDevice } from "../../../kernels/planning_device.ts";
import type { MambaConfig } from "../config.ts";
import { RecurrentMamba } from "../recurrent.ts";
import { allocateModel, type Precision } from "./buffers.ts";
import { backwardPlan, evaluationPlan, forwardPlan, updatePlan } from "./step_plans.ts";
import { ParameterStore } from "./store.ts";

/** What the kernels are planned for. */
interface KernelSetting {
  config: MambaConfig;
  variant: Variant;
  precision: Precision;
  batchSize: number;
  sequenceLength: number;
  /** Lanes of the device's subgroups; 0 where it has none. By default what suits the variant. */
  subgroupSize?: number;
  /** Other ways of writing kernels than the default; see `kernels/alternatives.ts`. */
  alternatives?: Chosen;
}

/** The parts of a model's work that kernels are listed by. */
export const KERNEL_STEPS = [
  "train: forward",
  "train: loss and backward",
  "train: update",
  "evaluate: loss",
  "generate: one token",
] as const;

/** A part of a model's work. */
type KernelStep = typeof KERNEL_STEPS[number];

/** A program of a step, and the dispatches that run it. */
export interface StepKernel extends PlannedKernel {
  step: KernelStep;
  /** Dispatches of this program under this name in one step; the description is the first one's. */
  dispatches: number;
}

/** Lists the programs of a model's steps, in the order in which they first run. */
export function plannedKernels(setting: KernelSetting): StepKernel[] {
  const dispatches = [...trainingKernels(setting), ...generationKernels(setting)];
  const distinct = new Map<string, StepKernel>();
  for (const kernel of dispatches) {
    const key = [kernel.step, kernel.label, kernel.code].join("\n");
    const known = distinct.get(key);
    if (known) known.dispatches++;
    else distinct.set(key, kernel);
  }
  return [...distinct.values()];
}

const onceEach = (step: KernelStep, kernels: PlannedKernel[]): StepKernel[] =>
  kernels.map((kernel) => ({ ...kernel, step, dispatches: 1 }));

function trainingKernels(setting: KernelSetting): StepKernel[] {
  const { config, variant, subgroupSize, alternatives } = setting;
  const device = planningDevice({ variant, subgroupSize, device: { alternatives } });
  const options = {
    batchSize: setting.batchSize,
    sequenceLength: setting.sequenceLength,
    precision: setting.precision,
    recompute: false,
  };
  const buffers = allocateModel(device, config, options);
  const planned = { device, config, options, buffers };
  return [
    ...onceEach("train: forward", forwardPlan(planned).kernels()),
    ...onceEach("train: loss and backward", backwardPlan(planned).kernels()),
    ...onceEach("train: update", updatePlan(planned).plan.kernels()),
    ...onceEach("evaluate: loss", evaluationPlan(planned).kernels()),
  ];
}

/** Generation from one prompt, from weights in f16 where the precision is mixed. */
function generationKernels(
  { config, variant, precision, subgroupSize, alternatives }: KernelSetting,
): StepKernel[] {
  const device = planningDevice({ variant, subgroupSize, device: { alternatives } });
  const half = precision === "mixed";
  // Weights of the model's own are packed on CPU drivers, and rounded in mixed precision: there zeros
  // stand for them. Elsewhere none are needed.
  const own = half || variant === "cpu-subgroup";
  const sizes = new Map(
    new ParameterStore(device, config, ["value"]).placements
      .map(({ parameter }) => [parameter.name, parameter.shape.reduce((a, b) => a * b, 1)]),
  );
  const weights = own
    ? (name: string) => new Float32Array(sizes.get(name) ?? 0)
    : new ParameterStore(device, config, ["value"]);
  const model = new RecurrentMamba(device, config, weights, { half });
  return onceEach("generate: one token", model.plans.flatMap((plan) => plan.kernels()));
}
