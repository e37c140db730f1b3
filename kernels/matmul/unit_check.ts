/** Asking a device's matrix units whether they multiply right. @module */
import type { Device } from "../device.ts";
import { DeviceError } from "../errors.ts";
import { describeUnits, type MatrixUnits } from "../matrix_units.ts";
import { Workbench } from "../workbench.ts";
import { matmul } from "./mod.ts";

/** Devices that have been found right. */
const RIGHT = new WeakSet<Device>();

/** The ways in which the units load their operands: panels along K, and panels along m and n. */
const PRODUCTS = ["NT", "TN"] as const;
type CheckedProduct = typeof PRODUCTS[number];

/** Rows of C, columns of C and values of K: some tiles are whole, others are cut by an edge. */
const M = 100;
const N = 96;
const K = 64;

/** Whole numbers from -4 to 4, whose products any order of summing gives exactly. */
const wholeNumbers = (count: number, step: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => i * step % 9 - 4);

/** The values of A and of B, row after row. */
const A = wholeNumbers(M * K, 5);
const B = wholeNumbers(N * K, 7);

/**
 * Does nothing on a device without matrix units; else multiplies with them, once per device, in both
 * ways in which they load either operand, an f32 operand among them.
 * @throws {DeviceError} where they cannot be used or a value is wrong.
 */
export async function checkMatrixUnits(device: Device): Promise<void> {
  const { matrixUnits } = device;
  if (!matrixUnits || RIGHT.has(device)) return;
  for (const product of PRODUCTS) await checkProduct(device, matrixUnits, product);
  RIGHT.add(device);
}

async function checkProduct(
  device: Device,
  units: MatrixUnits,
  product: CheckedProduct,
): Promise<void> {
  const remedy = "use --matrix-units off";
  const about = `matrix units (${describeUnits(units)})`;
  let got: Float32Array;
  try {
    got = await multiplied(device, product);
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    throw new DeviceError(
      `Cannot multiply on the ${about} of ${device.description}: ${error.message}; ${remedy}`,
    );
  }
  for (let row = 0; row < M; row++) {
    for (let column = 0; column < N; column++) {
      const value = got[row * N + column];
      const right = element(product, row, column);
      if (value === right) continue;
      throw new DeviceError(
        `The ${about} of ${device.description} compute product ${product} wrongly: ` +
          `${value} instead of ${right} at row ${row}, column ${column}; ${remedy}`,
      );
    }
  }
}

/** The product as the device computes it. */
async function multiplied(device: Device, product: CheckedProduct): Promise<Float32Array> {
  const bench = new Workbench(device);
  try {
    const a = product === "NT" ? bench.matrix(A, M, K, "f16") : bench.matrix(A, K, M);
    const b = product === "NT" ? bench.matrix(B, N, K, "f16") : bench.matrix(B, K, N, "f16");
    const c = bench.matrix(undefined, M, N);
    await bench.run((plan) => matmul(plan, { product, a, b, c, mixed: true }));
    return await bench.values(c);
  } finally {
    bench.clear();
  }
}

/** One element of the product. */
function element(product: CheckedProduct, row: number, column: number): number {
  let sum = 0;
  for (let k = 0; k < K; k++) {
    const a = product === "NT" ? A[row * K + k] : A[k * M + row];
    const b = product === "NT" ? B[column * K + k] : B[k * N + column];
    sum += (a ?? NaN) * (b ?? NaN);
  }
  return sum;
}
