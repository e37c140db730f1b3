/** Measuring which choice computes a product fastest on a device. @module */
import type { Device } from "../device.ts";
import { type Matrix, matrixFloats, padded } from "../layout.ts";
import { Plan } from "../plan.ts";
import { choiceKey, type MatmulChoice, matmulChoices } from "./choice.ts";
import { matmul, type Product } from "./mod.ts";

/** A product's shape, as in mod.ts. */
export interface ProductShape {
  product: Product;
  m: number;
  n: number;
  k: number;
}

/** What one choice took. */
export interface TuningFigure extends MatmulChoice {
  ms: number;
}

/**
 * Measures every choice for a shape, sets the device's choice to the fastest and returns the figures,
 * fastest first. Each is run `repeats` times and the best counts, because other load only adds.
 */
export async function tuneMatmul(
  device: Device,
  shape: ProductShape,
  repeats = 3,
): Promise<TuningFigure[]> {
  const { product, m, n, k } = shape, key = choiceKey(product, m, n, k);
  const matrix = (rows: number, cols: number): Matrix => {
    const region = device.allocate("tuning", 4 * matrixFloats(rows, cols));
    return { region, rows, cols, stride: padded(rows) };
  };
  const a = product === "TN" ? matrix(k, m) : matrix(m, k);
  const b = product === "NT" ? matrix(n, k) : matrix(k, n), c = matrix(m, n);
  const figures: TuningFigure[] = [];
  // A read-back waits some 10 ms: short products are repeated until that no longer shows.
  const calls = Math.max(1, Math.min(64, Math.floor(4e9 / (2 * m * n * k))));
  try {
    for (const choice of matmulChoices(device.variant)) {
      device.choices.set(key, choice);
      const plan = new Plan(device);
      for (let i = 0; i < calls; i++) matmul(plan, { product, a, b, c, sameA: i > 0 });
      plan.submit(); // compiles
      await device.idle();
      let ms = Infinity;
      for (let i = 0; i < repeats; i++) {
        const start = performance.now();
        plan.submit();
        await device.idle();
        ms = Math.min(ms, (performance.now() - start) / calls);
      }
      plan.destroy();
      figures.push({ ...choice, ms });
    }
  } finally {
    for (const x of [a, b, c]) device.free(x.region);
  }
  figures.sort((x, y) => x.ms - y.ms);
  const { order, tile } = figures[0]!;
  device.choices.set(key, { order, tile });
  return figures;
}
