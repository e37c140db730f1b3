/** Measuring which choice computes a product fastest on a device. @module */
import { type Device } from "../device.ts";
import { isCpuDriver } from "../open_device.ts";
import { elementBytes, type Matrix, matrixFloats, padded } from "../layout.ts";
import { Plan } from "../plan.ts";
import {
  choiceKey,
  defaultChoice,
  type MatmulChoice,
  matmulChoices,
  sameChoice,
} from "./choice.ts";
import { halfKey, matmul, type Operands, type Product, unitsFor } from "./mod.ts";
import { defaultUnitChoice, unitChoices } from "./unit_choice.ts";

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
  /** Whether it is the choice without tuning. */
  isDefault: boolean;
}

/** The choice that a shape has without tuning. */
function untuned(device: Device, { m, n, k, types }: ProductShape): MatmulChoice {
  const { variant, workgroupBytes } = device;
  return types && unitsFor(device, types)
    ? defaultUnitChoice(m, n, k, types, device)
    : defaultChoice(m, n, k, { variant, workgroupBytes });
}

/** Milliseconds that one timing lasts on a GPU, so that the wait for its end does not count. */
const LASTING_MS = 20, MOST_CALLS = 256;

/**
 * Measures every choice for a shape, the one so far and the default first, sets the device's choice to
 * the fastest and returns the figures, fastest first. Each is run `repeats` times and the best counts, because other
 * load only adds. None is begun after `until` (as of performance.now()) but the first.
 */
export async function tuneMatmul(
  device: Device,
  shape: ProductShape,
  repeats = 3,
  until = Infinity,
): Promise<TuningFigure[]> {
  const { product, m, n, k, types = F32 } = shape, key = shapeKey(shape);
  const matrix = (rows: number, cols: number, { type }: Pick<Matrix, "type">): Matrix => {
    const region = device.allocate("tuning", elementBytes({ type }) * matrixFloats(rows, cols));
    return { region, rows, cols, stride: padded(rows), type };
  };
  const a = product === "TN" ? matrix(k, m, types.a) : matrix(m, k, types.a);
  const b = product === "NT" ? matrix(n, k, types.b) : matrix(k, n, types.b);
  const c = matrix(m, n, types.c), figures: TuningFigure[] = [];
  const build = (calls: number) => {
    const plan = new Plan(device);
    for (let i = 0; i < calls; i++) {
      matmul(plan, { product, a, b, c, sameA: i > 0, mixed: types.mixed });
    }
    return plan;
  };
  const time = async (plan?: Plan) => {
    const start = performance.now();
    if (plan) plan.submit();
    else device.gpu.queue.submit([]);
    await device.idle();
    return performance.now() - start;
  };
  const initial = untuned(device, shape), before = device.choices.get(key);
  const first = (c: MatmulChoice) =>
    before && sameChoice(c, before) ? 2 : Number(sameChoice(c, initial));
  const choices = shapeChoices(device, shape).map((choice) => ({
    choice,
    isDefault: sameChoice(choice, initial),
  })).sort((x, y) => first(y.choice) - first(x.choice));
  // A wait takes some 10 ms of its own: short products are repeated until that no longer shows.
  let calls = Math.max(1, Math.min(64, Math.floor(4e9 / (2 * m * n * k)))), waiting = 0;
  try {
    if (!isCpuDriver(device.adapter)) {
      waiting = Math.min(await time(), await time(), await time());
    }
    for (const { choice, isDefault } of choices) {
      if (figures.length && performance.now() > until) break;
      device.choices.set(key, choice);
      let plan = build(calls);
      await time(plan); // compiles
      let ms = await time(plan) - waiting;
      if (!isCpuDriver(device.adapter) && ms < LASTING_MS / 2 && calls < MOST_CALLS) {
        const more = Math.ceil(LASTING_MS / Math.max(ms, 0.1));
        calls = Math.min(MOST_CALLS, calls * more);
        plan.destroy();
        plan = build(calls);
        ms = Infinity;
      }
      for (let i = 0; i < repeats; i++) ms = Math.min(ms, await time(plan) - waiting);
      plan.destroy();
      figures.push({ choice, ms: Math.max(ms, 1e-3) / calls, isDefault });
    }
  } finally {
    for (const x of [a, b, c]) device.free(x.region);
  }
  figures.sort((x, y) => x.ms - y.ms);
  device.choices.set(key, figures[0]!.choice);
  return figures;
}
