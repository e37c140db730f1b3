/** Measuring which choice computes a product fastest on a device. @module */
import type { Device } from "../device.ts";
import { elementBytes, type Matrix, matrixFloats, padded } from "../layout.ts";
import { Plan } from "../plan.ts";
import { choiceKey, type MatmulChoice, matmulChoices } from "./choice.ts";
import { halfKey, matmul, type Operands, type Product, unitsFor } from "./mod.ts";
import { unitChoices } from "./unit_choice.ts";

/** A product's shape, as in mod.ts. */
export interface ProductShape {
  product: Product;
  m: number;
  n: number;
  k: number;
  /** Which matrices are f16; none by default. */
  types?: Operands;
}

/** Names a shape in a device's table of choices. */
export const shapeKey = ({ product, m, n, k, types }: ProductShape): string =>
  choiceKey(product, m, n, k, types && halfKey(types));

/** The choices for a shape on a device. */
export const shapeChoices = (device: Device, { types }: ProductShape): MatmulChoice[] => {
  const { variant, workgroupBytes } = device;
  if (types && unitsFor(device, types)) return unitChoices(types, device);
  return matmulChoices({ variant, workgroupBytes, half: !!(types?.a.type || types?.b.type) });
};

const F32: Operands = { a: {}, b: {}, c: {} };

/** What one choice took. */
export interface TuningFigure {
  choice: MatmulChoice;
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
  const { product, m, n, k, types = F32 } = shape, key = shapeKey(shape);
  const matrix = (rows: number, cols: number, { type }: Pick<Matrix, "type">): Matrix => {
    const region = device.allocate("tuning", elementBytes({ type }) * matrixFloats(rows, cols));
    return { region, rows, cols, stride: padded(rows), type };
  };
  const a = product === "TN" ? matrix(k, m, types.a) : matrix(m, k, types.a);
  const b = product === "NT" ? matrix(n, k, types.b) : matrix(k, n, types.b);
  const c = matrix(m, n, types.c), figures: TuningFigure[] = [];
  // A read-back waits some 10 ms: short products are repeated until that no longer shows.
  const calls = Math.max(1, Math.min(64, Math.floor(4e9 / (2 * m * n * k))));
  try {
    for (const choice of shapeChoices(device, shape)) {
      device.choices.set(key, choice);
      const plan = new Plan(device);
      for (let i = 0; i < calls; i++) {
        matmul(plan, { product, a, b, c, sameA: i > 0, mixed: types.mixed });
      }
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
      figures.push({ choice, ms });
    }
  } finally {
    for (const x of [a, b, c]) device.free(x.region);
  }
  figures.sort((x, y) => x.ms - y.ms);
  device.choices.set(key, figures[0]!.choice);
  return figures;
}
