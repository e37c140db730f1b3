/** Asking a device's matrix units whether they multiply right. @module */
import type { Device } from "../device.ts";
import { DeviceError } from "../errors.ts";
import { Workbench } from "../workbench.ts";
import { describeUnits } from "./matrix_units.ts";
import { matmul, type Product } from "./mod.ts";

/** Devices that have been found right. */
const right = new WeakSet<Device>();

/** Rows, columns and depth of the products: some tiles are whole, others are cut by an edge. */
const M = 100, N = 96, K = 64;

/** Whole numbers from -4 to 4, whose products any order of summing gives exactly. */
const whole = (count: number, step: number) =>
  Float32Array.from({ length: count }, (_, i) => i * step % 9 - 4);

/**
 * Does nothing on a device without matrix units; else multiplies with them, once a device, in both
 * ways in which they load either operand, an f32 operand among them.
 * @throws {DeviceError} where they cannot be used or a value is wrong.
 */
export async function checkMatrixUnits(device: Device): Promise<void> {
  const { matrixUnits } = device;
  if (!matrixUnits || right.has(device)) return;
  const remedy = "use --matrix-units off", about = `matrix units (${describeUnits(matrixUnits)})`;
  for (const product of ["NT", "TN"] as Product[]) {
    const bench = new Workbench(device), a = whole(M * K, 5), b = whole(N * K, 7);
    let got: Float32Array;
    try {
      const A = product === "NT" ? bench.matrix(a, M, K, "f16") : bench.matrix(a, K, M);
      const B = product === "NT" ? bench.matrix(b, N, K, "f16") : bench.matrix(b, K, N, "f16");
      const C = bench.matrix(undefined, M, N);
      await bench.run((plan) => matmul(plan, { product, a: A, b: B, c: C, mixed: true }));
      got = await bench.values(C);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      throw new DeviceError(
        `Cannot multiply on the ${about} of ${device.description}: ${error.message}; ${remedy}`,
      );
    } finally {
      bench.clear();
    }
    const at = product === "NT"
      ? (i: number, j: number, k: number) => a[i * K + k]! * b[j * K + k]!
      : (i: number, j: number, k: number) => a[k * M + i]! * b[k * N + j]!;
    for (let i = 0; i < M * N; i++) {
      let want = 0;
      for (let k = 0; k < K; k++) want += at(Math.floor(i / N), i % N, k);
      if (got[i] === want) continue;
      throw new DeviceError(
        `The ${about} of ${device.description} compute product ${product} wrongly: ${
          got[i]
        } instead of ${want} at row ${Math.floor(i / N)}, column ${i % N}; ${remedy}`,
      );
    }
  }
  right.add(device);
}
