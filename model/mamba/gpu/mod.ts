/**
 * The door to Mamba on a device. A model's buffers are laid out by `store.ts` and `placement.ts`
 * (parameters), `buffers.ts`, `layer_buffers.ts` and `activations.ts` (what a batch needs), within
 * `memory_plan.ts`; `layer.ts` and `head.ts` are forward and backward as in the paper, which
 * `step_plans.ts` records once; `snapshot.ts` keeps tensors aside for a checkpoint, `autotune.ts`
 * measures which program is fastest.
 * @module
 */
export { deviceModel, type DeviceModelOptions, planMemory } from "../device_model.ts";
export {
  createMamba,
  type Mamba,
  type MambaOptions,
  type MemoryPlan,
  type Precision,
} from "../mamba.ts";
export { createRecurrentMamba, type RecurrentOptions } from "../recurrent.ts";
export { recurrentModel } from "../recurrent_model.ts";
export { type AutotuneMode, productShapes } from "./autotune.ts";
export { headChunk } from "./head.ts";
export { layoutOf, type Placement } from "./placement.ts";
