/**
 * The door to Mamba on a device. A model's buffers are laid out by `store.ts` and `placement.ts`
 * (parameters), `buffers.ts`, `layer_buffers.ts` and `activations.ts` (what a batch needs), within
 * `memory_plan.ts`; `layer.ts` and `head.ts` are forward and backward as in the paper, which
 * `step_plans.ts` records once; `snapshot.ts` keeps tensors aside for a checkpoint, `autotune.ts`
 * measures which program is fastest. Where ranks share the steps, `rank_slices.ts` says which of them
 * owns which part of the parameters, and `rank_exchange.ts` sends gradients and values between them.
 * @module
 */
export { deviceModel } from "../device_model.ts";
export { recurrentModel } from "../recurrent_model.ts";
