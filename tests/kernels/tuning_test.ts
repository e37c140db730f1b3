import { join } from "../../core/std.ts";
import { openDevice, VARIANTS } from "../../kernels/device.ts";
import { type Matrix, matrixFloats, padded, toPanels } from "../../kernels/layout.ts";
import { choiceKey, matmulChoices } from "../../kernels/matmul/choice.ts";
import { matmul, type Product } from "../../kernels/matmul/mod.ts";
import { tuneMatmul } from "../../kernels/matmul/tune.ts";
import { Plan } from "../../kernels/plan.ts";
import { presetConfig } from "../../model/config.ts";
import { autotune, productShapes } from "../../model/gpu/autotune.ts";
import { assert, assertEquals } from "../assert.ts";
import { randoms } from "./randoms.ts";

for (const variant of VARIANTS) {
  Deno.test(`every choice of a product gives the same bits: ${variant}`, async () => {
    const device = await openDevice({ variant });
    const upload = (rows: number, cols: number, seed: number): Matrix => {
      const region = device.allocate("test", 4 * matrixFloats(rows, cols));
      device.write(region, toPanels(Float32Array.from(randoms(rows * cols, seed)), rows, cols));
      return { region, rows, cols, stride: padded(rows) };
    };
    const m = 150, n = 210, k = 70;
    for (const product of ["NT", "NN", "TN"] as Product[]) {
      const a = product === "TN" ? upload(k, m, 1) : upload(m, k, 1);
      const b = product === "NT" ? upload(n, k, 2) : upload(k, n, 2);
      let first: Float32Array | undefined;
      for (const choice of matmulChoices(variant)) {
        device.choices.set(choiceKey(product, m, n, k), choice);
        const c = upload(m, n, 3), plan = new Plan(device);
        matmul(plan, { product, a, b, c });
        plan.submit();
        const got = await device.readFloats(c.region);
        first ??= got;
        assertEquals(got, first, `${product} ${JSON.stringify(choice)}`);
      }
      const figures = await tuneMatmul(device, { product, m, n, k }, 1);
      assertEquals(figures.length, matmulChoices(variant).length);
      const { order, tile } = figures[0]!;
      assertEquals(device.choices.get(choiceKey(product, m, n, k)), { order, tile });
    }
    device.destroy();
  });
}

Deno.test("choices are kept in a file, and a damaged file is measured anew", async () => {
  const folder = Deno.makeTempDirSync(), file = join(folder, "a", "tuning.json");
  const shapes = [
    { product: "NT" as const, m: 64, n: 96, k: 64 },
    { product: "TN" as const, m: 96, n: 64, k: 64 },
  ];
  try {
    for (const [known, measured] of [[0, 2], [2, 0]]) {
      const device = await openDevice({});
      const summary = await autotune(device, shapes, "full", file);
      assertEquals([summary.known, summary.measured], [known!, measured!]);
      assertEquals(device.choices.size, 2);
      device.destroy();
    }
    Deno.writeTextFileSync(file, '{"version":1,"choices":{"NT 64 96 64":{"order":"x","tile":7}}}');
    const device = await openDevice({});
    assertEquals((await autotune(device, shapes, "off", file)).known, 0);
    assertEquals(device.choices.size, 0);
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
});
