/** What a device reaches at best, for comparison: a plain copy, and a large matrix product. @module */
import { type Device } from "./device.ts";
import { isCpuDriver } from "./open_device.ts";
import { type Matrix, matrixFloats, padded } from "./layout.ts";
import { matmul } from "./matmul/mod.ts";
import { Plan } from "./plan.ts";

/** Measured limits of a device. */
export interface Peaks {
  /** Bytes a second, read and written, of a copy between buffers. */
  bandwidth: number;
  /** Floating-point operations a second of a large product, in the precision asked for. */
  products: number;
}

/** Bytes of the buffers that a copy moves between: far more than a GPU's caches hold. */
export const copyBytes = (device: Device): number =>
  Math.min(isCpuDriver(device.adapter) ? 1 << 26 : 1 << 29, device.bufferLimit);

/** The shortest of several replays of a plan, in seconds, without the cost of a submit. */
async function shortest(plan: Plan, replays: number): Promise<number> {
  const { device } = plan;
  const once = async (count: number) => {
    const encoder = device.gpu.createCommandEncoder();
    const start = performance.now();
    for (let i = 0; i < count; i++) plan.record(encoder);
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    return (performance.now() - start) / 1000;
  };
  await once(1); // compiles, and touches memory
  let floor = Infinity;
  let best = Infinity;
  for (let i = 0; i < 3; i++) floor = Math.min(floor, await once(0));
  for (let i = 0; i < 3; i++) best = Math.min(best, (await once(replays) - floor) / replays);
  return Math.max(best, 1e-7);
}

/**
 * Bytes a second of a copy between buffers.
 * @throws {DeviceError} where the device has no room for them.
 */
export async function measureBandwidth(device: Device): Promise<number> {
  const bytes = copyBytes(device);
  const [from, to] = await device.guard("measure a copy", () => [
    device.allocate("copy", bytes),
    device.allocate("copy", bytes),
  ]) as [ReturnType<Device["allocate"]>, ReturnType<Device["allocate"]>];
  const plan = new Plan(device);
  plan.copy(from, to);
  try {
    return 2 * bytes / await shortest(plan, isCpuDriver(device.adapter) ? 2 : 20);
  } finally {
    plan.destroy();
    device.free(from);
    device.free(to);
  }
}

/** Operations a second of a large square product, of f16 operands where `half` says so. */
async function measureProducts(device: Device, half: boolean): Promise<number> {
  const cpu = isCpuDriver(device.adapter);
  const n = cpu ? 512 : 4096;
  const type: Matrix["type"] = half ? "f16" : undefined;
  const matrices = await device.guard(
    "measure a product",
    () =>
      [type, type, undefined].map((type): Matrix => {
        const bytes = (type ? 2 : 4) * matrixFloats(n, n);
        const region = device.allocate("product", bytes);
        return { region, rows: n, cols: n, stride: padded(n), type };
      }),
  );
  const [a, b, c] = matrices as [Matrix, Matrix, Matrix];
  const plan = new Plan(device);
  try {
    await device.guard(
      "plan a product",
      () => matmul(plan, { product: "NT", a, b, c, mixed: half }),
    );
    return 2 * n ** 3 / await shortest(plan, cpu ? 2 : 10);
  } finally {
    plan.destroy();
    matrices.forEach(({ region }) => device.free(region));
  }
}

/**
 * Both, for one precision.
 * @throws {DeviceError} where the device has no room.
 */
export async function measureRoofs(device: Device, half: boolean): Promise<Peaks> {
  if (half) device.requireHalf();
  return {
    bandwidth: await measureBandwidth(device),
    products: await measureProducts(device, half),
  };
}
