/** Measuring which choice computes a product fastest on a device. @module */
import { type Device } from "../device.ts";
import { elementBytes, type Matrix, matrixFloats, padded } from "../layout.ts";
import { isCpuDriver } from "../open_device.ts";
import { Plan } from "../plan.ts";
import {
  choiceKey,
  defaultChoice,
  type MatmulChoice,
  matmulChoices,
  sameChoice,
  tunedChoices,
} from "./choice.ts";
import { matmul, unitsFor } from "./mod.ts";
import { halfKey, type Operands, type Product, type StoredMatrix } from "./product.ts";
import { defaultUnitChoice, unitChoices } from "./unit_choice.ts";

/** A product's shape: C is (m, n), and each of its elements sums k values. */
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
const LASTING_MS = 20;
/** Most calls of a product in one timing. */
const MOST_CALLS = 256;
/** Floating-point operations worth one timing to begin with. */
const TIMED_FLOP = 4e9;

/** The operands of a product, allocated for measuring. */
interface Operated {
  product: Product;
  a: Matrix;
  b: Matrix;
  c: Matrix;
  mixed?: boolean;
}

/** Allocates the operands of a shape. */
function allocate(device: Device, { product, m, n, k, types = F32 }: ProductShape): Operated {
  const matrix = (rows: number, cols: number, { type }: StoredMatrix): Matrix => {
    const region = device.allocate("tuning", elementBytes({ type }) * matrixFloats(rows, cols));
    return { region, rows, cols, stride: padded(rows), type };
  };
  return {
    product,
    a: product === "TN" ? matrix(k, m, types.a) : matrix(m, k, types.a),
    b: product === "NT" ? matrix(n, k, types.b) : matrix(k, n, types.b),
    c: matrix(m, n, types.c),
    mixed: types.mixed,
  };
}

/** A plan of so many calls of one product. */
function planOf(device: Device, operands: Operated, calls: number): Plan {
  const plan = new Plan(device);
  for (let i = 0; i < calls; i++) matmul(plan, { ...operands, sameA: i > 0 });
  return plan;
}

/** Milliseconds until the device has run a plan; without one, of an empty submission. */
async function timed(device: Device, plan?: Plan): Promise<number> {
  const start = performance.now();
  if (plan) plan.submit();
  else device.gpu.queue.submit([]);
  await device.idle();
  return performance.now() - start;
}

/** All choices of a shape: the one so far and the default first, then in the order of their tables. */
function inOrderOfTrial(
  device: Device,
  shape: ProductShape,
): { choice: MatmulChoice; isDefault: boolean }[] {
  const initial = untuned(device, shape);
  const before = tunedChoices(device).get(shapeKey(shape));
  const rank = (choice: MatmulChoice) => {
    if (before && sameChoice(choice, before)) return 0;
    return sameChoice(choice, initial) ? 1 : 2;
  };
  return shapeChoices(device, shape)
    .toSorted((x, y) => rank(x) - rank(y))
    .map((choice) => ({ choice, isDefault: sameChoice(choice, initial) }));
}

/**
 * Measures every choice for a shape, the one so far and the default first; sets the device's choice to
 * the fastest, and returns the figures, fastest first. Each choice is run `repeats` times and the best
 * time counts, because other load only adds. After `until` (as of performance.now()) no other choice
 * than the first is begun.
 */
export async function tuneMatmul(
  device: Device,
  shape: ProductShape,
  repeats = 3,
  until = Infinity,
): Promise<TuningFigure[]> {
  const { m, n, k } = shape;
  const key = shapeKey(shape);
  const table = tunedChoices(device);
  const onGpu = !isCpuDriver(device.adapter);
  const operands = allocate(device, shape);
  const figures: TuningFigure[] = [];
  // A wait takes some 10 ms of its own: short products are repeated until that no longer shows.
  let calls = Math.max(1, Math.min(64, Math.floor(TIMED_FLOP / (2 * m * n * k))));
  let waiting = 0;
  try {
    if (onGpu) waiting = Math.min(await timed(device), await timed(device), await timed(device));
    for (const { choice, isDefault } of inOrderOfTrial(device, shape)) {
      if (figures.length && performance.now() > until) break;
      table.set(key, choice);
      let plan = planOf(device, operands, calls);
      await timed(device, plan); // compiles
      let ms = await timed(device, plan) - waiting;
      if (onGpu && ms < LASTING_MS / 2 && calls < MOST_CALLS) {
        const more = Math.ceil(LASTING_MS / Math.max(ms, 0.1));
        calls = Math.min(MOST_CALLS, calls * more);
        plan.destroy();
        plan = planOf(device, operands, calls);
        ms = Infinity;
      }
      for (let i = 0; i < repeats; i++) ms = Math.min(ms, await timed(device, plan) - waiting);
      plan.destroy();
      figures.push({ choice, ms: Math.max(ms, 1e-3) / calls, isDefault });
    }
  } finally {
    for (const { region } of [operands.a, operands.b, operands.c]) device.free(region);
  }
  figures.sort((x, y) => x.ms - y.ms);
  const [fastest] = figures;
  if (fastest) table.set(key, fastest.choice);
  return figures;
}
