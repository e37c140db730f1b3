/** The best matrix-product speed of a device: the limit that a training step is compared with. @module */
import type { Device } from "../kernels/device.ts";
import { type Matrix, matrixFloats, padded } from "../kernels/layout.ts";
import { matmul, type Product } from "../kernels/matmul/mod.ts";
import { Plan } from "../kernels/plan.ts";

/** One shape of (m, n, k) and what was reached. */
interface MatmulFigure {
  product: Product;
  m: number;
  n: number;
  k: number;
  gflops: number;
}

/** Shapes of mamba-130m's in_proj over 512 tokens, in the three products of a training step. */
const SHAPES: [Product, number, number, number][] = [
  ["NT", 512, 3072, 768],
  ["NN", 512, 768, 3072],
  ["TN", 3072, 768, 512],
];

/** Measures the products (best of several repeats, so that other load matters least). */
export async function measureMatmul(device: Device, repeats = 5): Promise<MatmulFigure[]> {
  const figures: MatmulFigure[] = [];
  for (const [product, m, n, k] of SHAPES) {
    const matrix = (rows: number, cols: number): Matrix => {
      const floats = matrixFloats(rows, cols);
      const region = device.allocate("bench", 4 * floats);
      device.write(region, new Float32Array(floats).map((_, i) => (i * 37 % 101) / 50 - 1));
      return { region, rows, cols, stride: padded(rows) };
    };
    const a = product === "TN" ? matrix(k, m) : matrix(m, k);
    const b = product === "NT" ? matrix(n, k) : matrix(k, n);
    const c = matrix(m, n);
    const plan = new Plan(device);
    const inner = device.variant === "gpu-tiled" ? 50 : 4;
    // The operands are copied once: the peak is of the products alone.
    for (let i = 0; i < inner; i++) matmul(plan, { product, a, b, c, sameA: i > 0 });
    plan.submit();
    await device.idle();
    let best = Infinity;
    for (let i = 0; i < repeats; i++) {
      const start = performance.now();
      plan.submit();
      await device.idle();
      best = Math.min(best, performance.now() - start);
    }
    figures.push({ product, m, n, k, gflops: inner * 2 * m * n * k / best / 1e6 });
    plan.destroy();
    for (const x of [a, b, c]) device.free(x.region);
  }
  return figures;
}
