import { join } from "../../core/std.ts";
import { VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import {
  defaultChoice,
  matmulChoices,
  sameChoice,
  tileBytes,
  tunedChoices,
} from "../../kernels/matmul/choice.ts";
import { matmul, type Product } from "../../kernels/matmul/mod.ts";
import { shapeChoices, shapeKey, tuneMatmul } from "../../kernels/matmul/tune.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { presetConfig } from "../../model/mamba/config.ts";
import { autotune, productShapes } from "../../model/mamba/gpu/autotune.ts";
import { assert, assertEquals } from "../assert.ts";
import { randoms } from "./randoms.ts";

/** Where each choice is its own program, some must do for the products after the first. */
const FEW = ["64x128x16", "128x128x8", "256x128x8"];

for (const variant of VARIANTS) {
  Deno.test(`every choice of a product gives the same bits: ${variant}`, async () => {
    const device = await openDevice({ variant });
    const bench = new Workbench(device);
    const m = 150;
    const n = 210;
    const k = 70;
    const half = "f16" as const;
    const operands: [Product, "f16"?][] = [["NT"], ["NN"], ["TN"], ["NT", half]];
    for (const [product, type] of operands.slice(0, variant === "gpu-tiled" ? 4 : 3)) {
      const upload = (rows: number, cols: number, seed: number) =>
        bench.matrix(randoms(rows * cols, seed), rows, cols, type);
      const a = product === "TN" ? upload(k, m, 1) : upload(m, k, 1);
      const b = product === "NT" ? upload(n, k, 2) : upload(k, n, 2);
      const types = { a: { type }, b: { type }, c: {} };
      const shape = { product, m, n, k, types };
      let first: Float32Array | undefined;
      for (const choice of shapeChoices(device, shape)) {
        const { order, tile, depth } = choice;
        if (variant === "gpu-tiled") {
          if (order === "m" && (tile !== "64x64" || depth !== 16)) continue;
          if (type && tile !== "64x64" && !choice.half) continue;
          if ((type || product !== "NT") && !FEW.includes(`${tile}x${depth}`)) continue;
        }
        tunedChoices(device).set(shapeKey(shape), choice);
        const c = bench.matrix(undefined, m, n);
        await bench.run((plan) => matmul(plan, { product, a, b, c }));
        const got = await device.readFloats(c.region);
        first ??= got;
        const other = got.findIndex((x, i) => x !== first![i]);
        assertEquals(other, -1, `${product} ${JSON.stringify(choice)}`);
      }
      if (variant === "gpu-tiled") continue; // it would compile them all
      const figures = await tuneMatmul(device, shape, 1);
      assertEquals(figures.length, shapeChoices(device, shape).length);
      assertEquals(tunedChoices(device).get(shapeKey(shape)), figures[0]!.choice);
    }
    bench.clear();
    device.destroy();
  });
}

Deno.test("choices fit the device's shared memory", () => {
  const of = (workgroupBytes: number, half?: boolean) =>
    matmulChoices({ variant: "gpu-tiled", workgroupBytes, half });
  for (const bytes of [16384, 32768, 49152]) {
    for (const choice of of(bytes)) assert(tileBytes(choice) <= bytes, JSON.stringify(choice));
    for (const [m, n, k] of [[8192, 3072, 768], [64, 64, 64], [96, 1536, 8192]] as const) {
      const choice = defaultChoice(m, n, k, { variant: "gpu-tiled", workgroupBytes: bytes });
      assert(of(bytes).some((c) => sameChoice(c, choice)), `${bytes} ${JSON.stringify(choice)}`);
    }
  }
  assertEquals(
    new Set(of(16384).map((c) => c.tile)),
    new Set(["128x128", "128x64", "64x128", "64x64"]),
  );
  assertEquals(of(49152, true).length, 2 * of(49152).length);
  const limits = { variant: "gpu-tiled", workgroupBytes: 49152 } as const;
  assertEquals(defaultChoice(8192, 3072, 768, limits), { order: "n", tile: "128x128", depth: 16 });
  assertEquals(defaultChoice(4096, 768, 768, limits).tile, "128x64");
  assertEquals(defaultChoice(768, 4096, 768, limits).tile, "64x128");
  assertEquals(defaultChoice(512, 96, 768, limits).tile, "64x64");
});

Deno.test("choices are kept in a file, and a damaged file is measured anew", async () => {
  const folder = Deno.makeTempDirSync();
  const file = join(folder, "a", "tuning.json");
  const shapes = [
    { product: "NT" as const, m: 64, n: 96, k: 64 },
    { product: "TN" as const, m: 96, n: 64, k: 64 },
  ];
  try {
    for (const [known, measured] of [[0, 2], [2, 0]]) {
      const device = await openDevice({});
      const summary = await autotune(device, shapes, "full", file);
      assertEquals([summary.known, summary.measured], [known!, measured!]);
      assertEquals(tunedChoices(device).size, 2);
      device.destroy();
    }
    Deno.writeTextFileSync(file, '{"version":2,"choices":{"NT 64 96 64":{"order":"x","tile":7}}}');
    const device = await openDevice({});
    assertEquals((await autotune(device, shapes, "off", file)).known, 0);
    assertEquals(tunedChoices(device).size, 0);
    assertEquals((await autotune(device, shapes, "quick", file)).left, 2);
    assertEquals((await autotune(device, shapes, "full", file)).measured, 2);
    device.destroy();
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("productShapes() lists every product of a step", () => {
  const shapes = productShapes(presetConfig("mamba-130m"), 512, 512);
  assertEquals(shapes.length, 15);
  const flop = (s: typeof shapes, layers: number) =>
    s.reduce((sum, { m, n, k }) => sum + 2 * m * n * k, 0) * layers;
  // 770 MFLOP a token of matrix products, a few more for padded extents.
  const perToken = (flop(shapes.slice(0, 12), 24) + flop(shapes.slice(12), 1)) / 512;
  assert(perToken > 770e6 && perToken < 790e6, String(perToken));
  // In mixed precision the same ones, by the types that their operands have.
  const mixed = productShapes(presetConfig("mamba-130m"), 512, 512, "mixed");
  assertEquals(mixed.map(({ product, m, n, k }) => ({ product, m, n, k })), shapes);
  assertEquals(shapeKey(mixed[0]!), "NT 512 3072 768 abc");
  assertEquals(shapeKey(mixed[11]!), "TN 768 1536 512 mixed");
});
