import { assert, assertEquals, assertMatch, assertRejects } from "../assert.ts";
import { type Device } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { type Matrix } from "../../kernels/layout.ts";
import {
  type MatrixConfig,
  matrixConfigs,
  type MatrixUnits,
  matrixUnits,
} from "../../kernels/matrix_units.ts";
import { type Tile, tunedChoices } from "../../kernels/matmul/choice.ts";
import { matmul, type Operands, type Product } from "../../kernels/matmul/mod.ts";
import { subgroupMatrixProgram } from "../../kernels/matmul/subgroup_matrix.ts";
import { checkMatrixUnits } from "../../kernels/matmul/unit_check.ts";
import { shapeKey } from "../../kernels/matmul/tune.ts";
import { defaultUnitChoice, unitBytes, unitChoices } from "../../kernels/matmul/unit_choice.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { randoms } from "./randoms.ts";

const config = (types: string, M: number, N: number, K: number): MatrixConfig => {
  const [componentType, resultComponentType] = types.split(" ") as [string, string];
  return { componentType, resultComponentType, M, N, K };
};

Deno.test("the largest shape of f16 to f32 is taken, where subgroups have one size", () => {
  const all = ["shader-f16", "chromium-experimental-subgroup-matrix"];
  const adapter = (configs: MatrixConfig[], least = 32, features = all) => ({
    features: new Set(features),
    info: { subgroupMinSize: least, subgroupMaxSize: 32, subgroupMatrixConfigs: configs },
  });
  const configs = [
    config("f16 f16", 16, 16, 16),
    config("f16 f32", 16, 8, 8),
    config("f16 f32", 16, 8, 16),
    config("i8 i32", 16, 16, 32),
  ];
  assertEquals(matrixUnits(adapter(configs)), { m: 16, n: 8, k: 16, lanes: 32, sized: false });
  configs.push(config("f16 f32", 16, 16, 16), config("f16 f32", 64, 64, 64));
  assertEquals(matrixUnits(adapter(configs)), { m: 16, n: 16, k: 16, lanes: 32, sized: false });
  // Several sizes of subgroups: only where a pipeline can ask for one.
  assertEquals(matrixUnits(adapter(configs, 8)), undefined);
  const sized = matrixUnits(adapter(configs, 8, [...all, "subgroup-size-control"]));
  assertEquals(sized, { m: 16, n: 16, k: 16, lanes: 32, sized: true });
  assertEquals(matrixUnits(adapter(configs, 32, ["shader-f16"])), undefined);
  assertEquals(matrixUnits(adapter(configs, 32, all.slice(1))), undefined);
  assertEquals(matrixUnits(adapter([configs[0]!, configs[3]!])), undefined);
  assertEquals(matrixConfigs(adapter(configs)).length, 6);
  assertEquals(matrixConfigs(adapter(configs, 32, [])), []);
});

Deno.test("choices for matrix units fit shared memory and WebGPU's workgroups", () => {
  const half = { type: "f16" as const };
  const units = { m: 16, n: 16, k: 16, lanes: 32 };
  for (const workgroupBytes of [16384, 32768, 49152]) {
    for (const operands of [{ a: half, b: half, c: {} }, { a: {}, b: {}, c: {} }]) {
      const limits = { workgroupBytes, matrixUnits: units };
      const choices = unitChoices(operands, limits);
      for (const choice of choices) assert(unitBytes(choice, operands) <= workgroupBytes);
      const initial = defaultUnitChoice(8192, 3072, 768, operands, limits);
      if (choices.length) assert(unitBytes(initial, operands) <= workgroupBytes);
    }
  }
  const limits = { workgroupBytes: 49152, matrixUnits: units };
  const of = (m: number, n: number) =>
    defaultUnitChoice(m, n, 512, { a: half, b: half, c: {} }, limits);
  assertEquals(of(8192, 3072), { order: "n", tile: "128x128", depth: 32, stages: 2 });
  assertEquals(of(512, 512), { order: "n", tile: "64x64", depth: 32, stages: 2 });
});

/** One product of random matrices on a device, and its largest error relative to float64. */
async function worstError(
  device: Device,
  product: Product,
  [m, n, k]: [number, number, number],
  operands: Operands,
  { accumulate = false, withResidual = false, large = 1 } = {},
): Promise<{ error: number; bits: Float32Array }> {
  const bench = new Workbench(device);
  const values = (count: number, seed: number, { type }: Pick<Matrix, "type">, scale = 1) =>
    randoms(count, seed).map((x) => type ? Math.f16round(x) : Math.fround(scale * x));
  const a = values(m * k, 1, operands.a, large);
  const b = values(n * k, 2, operands.b);
  const c = values(m * n, 3, operands.c);
  const d = values(m * n, 4, {});
  const [ar, ac] = product === "TN" ? [k, m] : [m, k];
  const [br, bc] = product === "NT" ? [n, k] : [k, n];
  const A = { ...bench.matrix(a, ar, ac, operands.a.type), exponent: operands.a.exponent };
  const B = bench.matrix(b, br, bc, operands.b.type);
  const C = bench.matrix(c, m, n, operands.c.type);
  const residual = withResidual ? bench.matrix(d, m, n) : undefined;
  const { mixed } = operands;
  await bench.run((plan) =>
    matmul(plan, { product, a: A, b: B, c: C, accumulate, residual, mixed })
  );
  const got = await bench.values(C);
  let error = 0;
  let most = 0;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = (accumulate ? c[i * n + j]! : 0) + (withResidual ? d[i * n + j]! : 0);
      for (let x = 0; x < k; x++) {
        sum += (product === "TN" ? a[x * m + i]! : a[i * k + x]!) *
          (product === "NT" ? b[j * k + x]! : b[x * n + j]!);
      }
      const off = Math.abs(sum - got[i * n + j]!);
      if (!(off <= error)) error = off;
      most = Math.max(most, Math.abs(sum));
    }
  }
  // Padding rows are left alone, or a kernel that trusts them would read what is not there.
  const panels = await bench.readPanels(C);
  for (let r = m; r < C.stride; r++) assertEquals(panels[r * 32], 0);
  bench.clear();
  return { error: error / most, bits: got };
}

const EMULATED: MatrixUnits = { m: 16, n: 16, k: 16, lanes: 32, emulated: true };
const f16 = { type: "f16" as const };
const f32 = {};

Deno.test("products on emulated matrix units are right at awkward sizes", async () => {
  const device = await openDevice({ variant: "gpu-tiled", matrixUnits: EMULATED });
  const cases: [Product, Operands, Parameters<typeof worstError>[4], number][] = [
    ["NT", { a: f16, b: f16, c: f32 }, {}, 5e-7],
    ["NN", { a: f16, b: f16, c: f16 }, {}, 6e-4],
    ["TN", { a: f16, b: f16, c: f32 }, { accumulate: true }, 5e-7],
    // An f32 operand is exact to 22 bits, also beyond f16's range of 65,504.
    ["NT", { a: { exponent: 6 }, b: f16, c: f32 }, { withResidual: true, large: 1e6 }, 2e-6],
    ["TN", { a: f32, b: f32, c: f32, mixed: true }, {}, 1e-6],
  ];
  for (const [product, operands, options, limit] of cases) {
    if (operands.c.type && !device.features.has("shader-f16")) continue; // SwiftShader
    for (const size of [[1, 1, 1], [33, 96, 100], [130, 65, 40], [64, 128, 2200]] as const) {
      const { error } = await worstError(device, product, [...size], operands, options);
      assert(error < limit, `${product} ${JSON.stringify(operands)} ${size}: ${error}`);
    }
  }
  // Without f16 in it, a product is f32's and goes the usual way.
  const { error } = await worstError(device, "NT", [33, 96, 100], { a: f32, b: f32, c: f32 });
  assert(error < 3e-7, `${error}`);
  device.destroy();
});

Deno.test("every choice of tile and stages gives the same bits on matrix units", async () => {
  const matrixUnits = { ...EMULATED, n: 8 };
  const types = { a: f16, b: f16, c: f32 };
  const device = await openDevice({ variant: "gpu-tiled", matrixUnits });
  const m = 150;
  const n = 210;
  const k = 70;
  for (const product of ["NT", "NN", "TN"] as const) {
    let first: Float32Array | undefined;
    for (const choice of unitChoices(types, device)) {
      // Large tiles take a CPU driver long to compile.
      const { tile, stages, order } = choice;
      const other = tile === "64x128" && stages === 1;
      if (order === "m" || tile !== "64x64" && !(other && product === "NT")) continue;
      tunedChoices(device).set(shapeKey({ product, m, n, k, types }), choice);
      const { error, bits } = await worstError(device, product, [m, n, k], types);
      assert(error < 5e-7, `${product} ${JSON.stringify(choice)}: ${error}`);
      first ??= bits;
      assertEquals(bits, first);
    }
  }
  device.destroy();
});

Deno.test("programs for real matrix units differ from emulated ones in their operations alone", () => {
  const units = { m: 16, n: 16, k: 16, lanes: 32 };
  const operands = { a: f16, b: f32, c: f32 };
  const text = (tile: Tile, emulated: boolean) =>
    subgroupMatrixProgram(
      "NN",
      operands,
      { order: "n", tile, depth: 32, stages: 1 },
      false,
      emulated ? { ...units, emulated } : units,
    ).code;
  const real = text("128x128", false);
  const emulated = text("128x128", true);
  // A subgroup's 32 x 64 block: 2 x 4 results, two steps of K, B in two parts.
  assertEquals(real.match(/subgroupMatrixMultiplyAccumulate/g)?.length, 2 * 4 * 2 * 2);
  assertEquals(real.match(/subgroupMatrixLoad<Left, row_major>/g)?.length, 2 * 2);
  assertEquals(real.match(/subgroupMatrixLoad<Right, row_major>/g)?.length, 4 * 2 * 2);
  assertMatch(
    real,
    /^enable f16;\nenable subgroups;\nenable chromium_experimental_subgroup_matrix;/,
  );
  const statements = emulated.replaceAll(/\/\/.*/g, "");
  assertEquals(statements.includes("subgroup"), false);
  // How operands come into shared memory, and how C is stored from there.
  const shared = (code: string) =>
    code.split("\n").filter((line) => /^(?!\/\/).*(item|values|store_strip|at = )/.test(line));
  assert(shared(real).length > 30, `${shared(real).length}`);
  assertEquals(shared(real), shared(emulated));
});

Deno.test("matrix units are tried before a model is made in mixed precision", async () => {
  const right = await openDevice({ variant: "gpu-tiled", matrixUnits: EMULATED });
  await checkMatrixUnits(right);
  right.destroy();
  // Deno's WebGPU has no such units: what claims to have them fails by its own compiler.
  const matrixUnits = { ...EMULATED, emulated: false };
  const wrong = await openDevice({ variant: "gpu-tiled", matrixUnits });
  const message = /^Cannot multiply on the matrix units \(16 x 16 x 16.*use --matrix-units off$/s;
  const error = await assertRejects(() => checkMatrixUnits(wrong), DeviceError);
  assertMatch(error.message, message);
  wrong.destroy();
});
