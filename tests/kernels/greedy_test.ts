import { VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { FREE, greedySizes, greedyStep, readChoices } from "../../kernels/greedy/greedy.ts";
import { matrixFloats, padded, toPanels } from "../../kernels/layout.ts";
import { packedMatvec, packWeight } from "../../kernels/matvec/packed.ts";
import { Plan } from "../../kernels/plan.ts";
import { argmax, logSumExp } from "../../model/mamba/sampling.ts";
import { assert, assertAlmostEquals, assertEquals } from "../assert.ts";
import { randoms } from "./randoms.ts";

Deno.test("packed products equal float64 ones, whole and in parts", async (t) => {
  const sizes = [[1, 1], [7, 33], [80, 96], [129, 31], [70, 200], [1001, 64]] as const;
  for (const bindingLimit of [undefined, 1 << 17]) {
    const device = await openDevice({ variant: "cpu-subgroup", bindingLimit });
    for (const [rows, cols] of sizes) {
      for (const half of [false, true]) {
        await t.step(`${rows} x ${cols}, ${half ? "f16" : "f32"}, ${bindingLimit}`, async () => {
          const w = randoms(rows * cols, 1);
          const x = randoms(cols, 2);
          const stride = padded(rows);
          const region = device.allocate("weight", 4 * matrixFloats(rows, cols));
          device.write(region, toPanels(Float32Array.from(w), rows, cols));
          const input = device.allocate("x", 4 * padded(cols));
          const wide = new Float32Array(padded(cols));
          wide.set(x);
          device.write(input, wide);
          const y = device.allocate("y", 4 * rows);
          const plan = new Plan(device);
          const weight = packWeight(device, { region, rows, cols, stride }, half);
          assert(weight, "the variant packs");
          await device.guard("multiply", () => packedMatvec(plan, weight, input, y));
          plan.submit();
          const got = await device.readFloats(y);
          for (let r = 0; r < rows; r++) {
            let want = 0;
            let scale = 0;
            for (let c = 0; c < cols; c++) {
              const v = w[r * cols + c]!;
              const product = (half ? Math.f16round(v) : v) * x[c]!;
              want += product;
              scale += Math.abs(product);
            }
            assertAlmostEquals(got[r]!, want, 1e-6 * scale + 1e-12, `row ${r}`);
          }
        });
      }
    }
    device.destroy();
  }
});

for (const variant of VARIANTS) {
  Deno.test(`the device chooses the likeliest token, the lowest of several: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (const [rows, cols, choices] of [[1, 2080, 2051], [5, 131, 130], [3, 4, 4]] as const) {
        const steps = 3;
        const stride = rows === 1 ? 1 : padded(rows);
        const values = Float32Array.from(randoms(rows * cols, 7), (v) => 4 * v);
        // Twice the largest in one row; larger ones among those that may not be chosen.
        values[2] = values[Math.min(cols, choices) - 1] = 50;
        for (let r = 0; r < rows; r++) {
          for (let c = choices; c < cols; c++) values[r * cols + c] = 60;
        }
        const panels = rows === 1 ? values.slice() : toPanels(values, rows, cols);
        const logits = device.allocate("logits", 4 * stride * padded(cols));
        device.write(logits, panels);
        const sizes = greedySizes(rows, cols, steps);
        const [partial, forced, history, progress, tokens] = [
          sizes.partial,
          sizes.forced,
          sizes.history,
          4 * rows,
          4 * rows,
        ].map((bytes, i) => device.allocate(`region ${i}`, bytes));
        const next = new Uint32Array(steps * rows).fill(FREE);
        next[1 * rows] = 3; // after step 1, row 0 is told what comes
        device.write(forced!, next);
        const plan = new Plan(device);
        await device.guard("choose", () =>
          greedyStep(plan, {
            logits: { region: logits, rows, cols, stride },
            choices,
            tokens: tokens!,
            partial: partial!,
            progress: progress!,
            forced: forced!,
            history: history!,
          }));
        const fed: number[][] = [];
        for (let s = 0; s < steps; s++) {
          plan.submit();
          fed.push([...new Uint32Array(await device.read(tokens!)).subarray(0, rows)]);
        }
        const got = readChoices(await device.read(history!), rows, steps);
        for (let r = 0; r < rows; r++) {
          const row = values.slice(r * cols, (r + 1) * cols);
          const want = argmax(row, choices);
          for (let s = 0; s < steps; s++) {
            assertEquals(got[r]![s]!.token, want);
            assertAlmostEquals(got[r]![s]!.logProbability, row[want]! - logSumExp(row), 1e-5);
            assertEquals(fed[s]![r], s === 1 && r === 0 ? 3 : want);
          }
        }
      }
    } finally {
      device.destroy();
    }
  });
}
