import { assert } from "../assert.ts";
import { type Device, openDevice, type Variant, VARIANTS } from "../../kernels/device.ts";
import { fromPanels, type Matrix, matrixFloats, padded, toPanels } from "../../kernels/layout.ts";
import { matmul, type Product } from "../../kernels/matmul/mod.ts";
import { Plan } from "../../kernels/plan.ts";

/** Numbers in (-1, 1) from a small linear congruential generator. */
function noise(n: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed >>> 0;
  return new Float32Array(n).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function upload(device: Device, values: Float32Array, rows: number, cols: number): Matrix {
  const region = device.allocate("test", 4 * matrixFloats(rows, cols));
  device.write(region, toPanels(values, rows, cols));
  return { region, rows, cols, stride: padded(rows) };
}

/** C = (C +) product(A, B) in float64. */
function reference(
  product: Product,
  [m, n, k]: [number, number, number],
  a: Float32Array,
  b: Float32Array,
  c: Float32Array | undefined,
): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = c ? c[i * n + j]! : 0;
      for (let x = 0; x < k; x++) {
        sum += (product === "TN" ? a[x * m + i]! : a[i * k + x]!) *
          (product === "NT" ? b[j * k + x]! : b[x * n + j]!);
      }
      out[i * n + j] = sum;
    }
  }
  return out;
}

async function worstError(
  device: Device,
  product: Product,
  size: [number, number, number],
  accumulate: boolean,
): Promise<number> {
  const [m, n, k] = size, ash: [number, number] = product === "TN" ? [k, m] : [m, k];
  const bsh: [number, number] = product === "NT" ? [n, k] : [k, n];
  const a = noise(m * k, 1), b = noise(n * k, 2), c = noise(m * n, 3);
  const A = upload(device, a, ...ash), B = upload(device, b, ...bsh), C = upload(device, c, m, n);
  const plan = new Plan(device);
  await device.guard("plan", () => matmul(plan, { product, a: A, b: B, c: C, accumulate }));
  plan.submit();
  const got = fromPanels(await device.readFloats(C.region), m, n);
  const want = reference(product, size, a, b, accumulate ? c : undefined);
  let error = 0, max = 0;
  want.forEach((w, i) => {
    const e = Math.abs(w - got[i]!);
    if (!(e <= error)) error = e;
    max = Math.max(max, Math.abs(w));
  });
  plan.destroy();
  for (const x of [A, B, C]) device.free(x.region);
  return error / max;
}

const SIZES: [number, number, number][] = [
  [1, 1, 1],
  [17, 33, 5],
  [32, 32, 32],
  [33, 96, 257],
  [130, 65, 40],
  [257, 160, 100],
];

for (const variant of VARIANTS) {
  Deno.test(`matmul equals float64 at awkward sizes: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (const product of ["NT", "NN", "TN"] as Product[]) {
        for (const size of SIZES) {
          for (const accumulate of [false, true]) {
            const error = await worstError(device, product, size, accumulate);
            assert(error < 2e-6, `${product} ${size} accumulate ${accumulate}: ${error}`);
          }
        }
      }
    } finally {
      device.destroy();
    }
  });

  Deno.test(`matmul cut to a small binding limit gives the same values: ${variant}`, async () => {
    // 64 rows x 32 columns x 4 bytes: one panel of 64 rows
    const device = await openDevice({ variant: variant as Variant, bindingLimit: 64 * 32 * 4 * 2 });
    try {
      for (const product of ["NT", "NN", "TN"] as Product[]) {
        const error = await worstError(device, product, [60, 64, 60], false);
        assert(error < 2e-6, `${product}: ${error}`);
        if (product !== "TN") {
          const wide = await worstError(device, product, [64, 96, 60], true);
          assert(wide < 2e-6, `${product} wide: ${wide}`);
        }
        if (product === "NT") {
          const deep = await worstError(device, product, [60, 60, 200], false);
          assert(deep < 2e-6, `${product} deep: ${deep}`);
        }
      }
    } finally {
      device.destroy();
    }
  });
}
