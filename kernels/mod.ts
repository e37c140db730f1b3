/**
 * The device and its kernels for programs: matrices up, a plan of kernels, matrices down.
 *
 * ```ts
 * import { matmul, openDevice, Workbench } from "pubmamba/kernels";
 *
 * const device = await openDevice();
 * const bench = new Workbench(device);
 * const a = bench.matrix([1, 2, 3, 4, 5, 6], 2, 3); // (2, 3), row-major
 * const b = bench.matrix([1, 0, 0, 0, 1, 0], 2, 3);
 * const c = bench.matrix(undefined, 2, 2);
 * await bench.run((plan) => matmul(plan, { product: "NT", a, b, c })); // C = A B^T
 * const values = await bench.values(c); // 1, 2, 4, 5
 * if (values.join() !== "1,2,4,5") throw new Error(`The device computes ${values}`);
 * bench.clear();
 * device.destroy();
 * ```
 * @module
 */
export {
  type Alternative,
  type AlternativeName,
  ALTERNATIVES,
  type Chosen,
} from "./alternatives.ts";
export { type Device, type DeviceOptions, type Provider, type Variant } from "./device.ts";
export { DeviceError } from "./errors.ts";
export type { Matrix, Region } from "./layout.ts";
export { matmul, type MatmulCall, type Product } from "./matmul/mod.ts";
export type { MatrixUnits } from "./matrix_units.ts";
export { openDevice } from "./open_device.ts";
export type { Bound, KernelCall, KernelTime, Plan, PlannedKernel, Spread } from "./plan.ts";
export type { ProviderName } from "./providers.ts";
export type { Program, ProgramBinding } from "./wgsl/writer.ts";
export { Workbench } from "./workbench.ts";
