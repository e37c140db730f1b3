/**
 * The room's door: the kernels and the model against recorded values of the published implementation.
 * `golden_file.ts` reads the recordings, `operations.ts` runs single kernels on them, `models.ts`
 * whole models, which `device_models.ts` makes on a device; `run.ts` goes through them all.
 * @module
 */
export { deviceModels } from "./device_models.ts";
export { MIXED_FACTOR, runGoldens } from "./run.ts";
