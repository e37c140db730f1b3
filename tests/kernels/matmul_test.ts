import { assert, assertEquals, assertRejects } from "../assert.ts";
import { type Device, type Variant, VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { splits } from "../../kernels/matmul/choice.ts";
import { matmul, type Product } from "../../kernels/matmul/mod.ts";
import { splitBytes, splitOf } from "../../kernels/matmul/split.ts";
import { linearCongruential } from "../../kernels/random.ts";
import { Workbench } from "../../kernels/workbench.ts";

/** Numbers from -1 to 1. */
function noise(n: number, seed: number): Float32Array<ArrayBuffer> {
  const next = linearCongruential(seed);
  return new Float32Array(n).map(() => next() / 2 ** 31 - 1);
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

/** Which matrices are f16. */
type Types = { a?: "f16"; b?: "f16"; c?: "f16" };

async function worstError(
  device: Device,
  product: Product,
  size: [number, number, number],
  accumulate: boolean,
  types: Types = {},
  withResidual = false,
): Promise<number> {
  const [m, n, k] = size;
  const ash: [number, number] = product === "TN" ? [k, m] : [m, k];
  const bsh: [number, number] = product === "NT" ? [n, k] : [k, n];
  const bench = new Workbench(device);
  const stored = (values: Float32Array, type?: "f16") => type ? values.map(Math.f16round) : values;
  const a = stored(noise(m * k, 1), types.a);
  const b = stored(noise(n * k, 2), types.b);
  const c = noise(m * n, 3);
  const C = bench.matrix(c, m, n, types.c);
  const A = bench.matrix(a, ...ash, types.a);
  const B = bench.matrix(b, ...bsh, types.b);
  const d = withResidual ? noise(m * n, 4) : undefined;
  const residual = d && bench.matrix(d, m, n);
  await bench.run((plan) => matmul(plan, { product, a: A, b: B, c: C, accumulate, residual }));
  const got = await bench.values(C);
  const want = reference(product, size, a, b, accumulate ? c : undefined);
  let error = 0;
  let max = 0;
  d?.forEach((x, i) => want[i]! += x);
  want.forEach((w, i) => {
    const e = Math.abs(w - got[i]!);
    if (!(e <= error)) error = e;
    max = Math.max(max, Math.abs(w));
  });
  bench.clear();
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

/** What a model of mixed precision multiplies; see model/gpu/layer.ts. */
const MIXED: [Product, Types][] = [
  ["NT", { a: "f16", b: "f16", c: "f16" }],
  ["NT", { a: "f16", b: "f16" }],
  ["NT", { b: "f16" }],
  ["NN", { b: "f16" }],
  ["NN", { a: "f16", b: "f16" }],
  ["TN", { b: "f16" }],
  ["TN", { a: "f16", b: "f16" }],
];

/** The same for cpu-plain, whose programs take long to compile and load each operand on its own. */
const MIXED_PLAIN = MIXED.filter(([product, { a, c }]) => a && (c || product !== "NT"));

for (const variant of VARIANTS) {
  Deno.test(`matmul of f16 matrices equals float64 at awkward sizes: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (const [product, types] of variant === "cpu-plain" ? MIXED_PLAIN : MIXED) {
        // Operands are exact in f16 and sums are f32, so only rounding C costs anything: half a unit
        // of its 11 bits.
        const limit = types.c ? 2 ** -11 + 2e-6 : 2e-6;
        for (const size of SIZES) {
          for (const accumulate of types.c ? [false] : [false, true]) {
            const error = await worstError(device, product, size, accumulate, types);
            assert(error < limit, `${product} ${JSON.stringify(types)} ${size}: ${error}`);
          }
        }
      }
      const bench = new Workbench(device);
      const half = () => bench.matrix(undefined, 32, 32, "f16");
      const call = { product: "NT", a: half(), b: half(), c: half(), accumulate: true } as const;
      await assertRejects(() => bench.run((plan) => matmul(plan, call)), RangeError, "not kept");
      bench.clear();
    } finally {
      device.destroy();
    }
  });

  Deno.test(`matmul equals float64 at awkward sizes: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (const product of ["NT", "NN", "TN"] as Product[]) {
        for (const size of SIZES) {
          for (const accumulate of [false, true]) {
            const error = await worstError(device, product, size, accumulate);
            assert(error < 2e-6, `${product} ${size} accumulate ${accumulate}: ${error}`);
          }
          if (product !== "NT") continue;
          const added = await worstError(device, product, size, false, {}, true);
          assert(added < 2e-6, `${product} ${size} with a residual: ${added}`);
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
        // TN: A is cut along its columns, B and C along theirs.
        const both = await worstError(device, product, [100, 120, 60], false, {}, product === "NT");
        assert(both < 2e-6, `${product} along both axes: ${both}`);
        if (product !== "TN") {
          const wide = await worstError(device, product, [64, 96, 60], true);
          assert(wide < 2e-6, `${product} wide: ${wide}`);
        }
        if (product === "NT") {
          const deep = await worstError(device, product, [60, 60, 200], false);
          assert(deep < 2e-6, `${product} deep: ${deep}`);
          // Twice as many columns fit, and C is rounded after each cut.
          const half = { a: "f16", b: "f16", c: "f16" } as const;
          const rounded = await worstError(device, product, [60, 60, 400], false, half);
          assert(rounded < 2e-3, `${product} f16: ${rounded}`);
        }
      }
    } finally {
      device.destroy();
    }
  });
}

Deno.test("splits() cuts K where an output is small, by the shape alone", () => {
  const cases: [[number, number, number], number][] = [
    [[96, 1536, 8192], 16], // x_proj's weight gradient: 12 tiles, 16 x 512 of K
    [[1536, 64, 32768], 42], // dt_proj's: 12 tiles, 504 workgroups
    [[3072, 768, 8192], 3], // in_proj's: 144 tiles
    [[8192, 3072, 768], 1], // forward
    [[50304, 768, 2048], 1],
    [[64, 64, 1023], 1],
    [[64, 64, 1024], 2],
  ];
  for (const [[m, n, k], parts] of cases) assertEquals(splits(m, n, k), parts, `${m} ${n} ${k}`);
  // Lengths are whole panels and leave no part empty.
  for (let k = 1024; k < 40000; k += 1321) {
    const { parts, length } = splitOf(64, 64, k, 2 ** 31);
    assert(length % 32 === 0 && (parts - 1) * length < k && parts * length >= k, String(k));
  }
  // Scratch binds: two parts of 16 KiB, not four.
  assertEquals(splitOf(64, 64, 4096, 32768), { parts: 2, length: 2048 });
  assertEquals(splitBytes(64, 64, 4096, 2 ** 31), 8 * 16384);
  assertEquals(splitBytes(64, 64, 1000, 2 ** 31), 0);
});

Deno.test("matmul cut along K equals float64: gpu-tiled", async () => {
  const device = await openDevice({ variant: "gpu-tiled" });
  const half = "f16" as const;
  try {
    for (
      const [product, size, types] of [
        ["TN", [70, 40, 2100], {}],
        ["TN", [33, 130, 3100], { a: half, b: half }],
        ["NT", [5, 65, 2048], { c: half }],
      ] as [Product, [number, number, number], Types][]
    ) {
      assert(splitOf(...size, device.bindingLimit).parts > 1, `${size}`);
      for (const accumulate of types.c ? [false] : [false, true]) {
        const error = await worstError(device, product, size, accumulate, types, !accumulate);
        const limit = types.c ? 2 ** -11 + 2e-6 : 2e-6;
        assert(error < limit, `${product} ${size} accumulate ${accumulate}: ${error}`);
      }
    }
  } finally {
    device.destroy();
  }
});
