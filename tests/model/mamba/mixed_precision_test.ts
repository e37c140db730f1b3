import type { Device, DeviceOptions } from "../../../kernels/device.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { createMamba, type Mamba } from "../../../model/mamba/mamba.ts";
import { EMBEDDING } from "../../../model/mamba/parameters.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import { batchOf, values, WIDE, withDevice, worst } from "../device_helpers.ts";

const OPTIONS = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 0.5,
};
const SIZES = { batchSize: 2, sequenceLength: 50, precision: "mixed" as const };

/** One step of a model: gradients of two batches, and an update. */
function step(model: Pick<Mamba, "accumulate" | "update">, number: number): void {
  model.accumulate(batchOf(WIDE, 2, 50), 0.02);
  model.accumulate(batchOf(WIDE, 2, 50, 3), 0.03);
  model.update({ ...OPTIONS, step: number });
}

const EMULATED = { m: 16, n: 16, k: 16, lanes: 32, emulated: true };
const CASES: [string, DeviceOptions][] = [
  ["cpu-subgroup", { variant: "cpu-subgroup" }],
  ["gpu-tiled", { variant: "gpu-tiled" }],
  ["matrix units, emulated", { variant: "gpu-tiled", matrixUnits: EMULATED }],
];

for (const [name, options] of CASES) {
  Deno.test(`mixed precision stays near the float64 model: ${name}`, () =>
    withDevice(options, async (device) => {
      const want = new ReferenceModel(WIDE, 2, 50);
      const got = await createMamba(device, WIDE, SIZES);
      for (const model of [want, got]) {
        model.writeParameters(values(WIDE));
        model.accumulate(batchOf(WIDE, 2, 50), 0.02);
      }
      // Each value passes through a few f16 roundings of at most 4.9e-4 a layer: weights, y, xz, u.
      const gradients = await got.readGradients();
      for (const [name, gradient] of want.gradients) {
        const error = worst(gradients.get(name)!, gradient);
        assert(error < 1e-2, `gradient of ${name} is off by ${error}`);
      }
      for (const model of [want, got]) model.update({ ...OPTIONS, step: 1 });
      for (let i = 2; i <= 4; i++) {
        for (const model of [want, got]) step(model, i);
        const a = await got.report();
        const e = await want.report();
        assertAlmostEquals(a.loss, e.loss, 2e-4 * e.loss, `loss of step ${i}`);
        assertAlmostEquals(a.gradNorm, e.gradNorm, 2e-3 * e.gradNorm, `norm of step ${i}`);
        assertEquals([a.overflow, a.lossScale], [false, 65536]);
      }
      const batch = batchOf(WIDE, 2, 50, 5);
      const positions = [3, 77];
      const a = await got.evaluate(batch);
      const e = await want.evaluate(batch);
      assertAlmostEquals(a.nll, e.nll, 2e-4 * e.nll);
      const all = await got.logits(batch);
      const width = WIDE.paddedVocabSize;
      await got.logitsAt(batch, positions, (logits, i) => {
        const from = positions[i]! * width;
        assertEquals(logits, all.subarray(from, from + width));
      });
      got.destroy();
    }));
}

Deno.test("the f16 copies are the rounded weights after every change of them", () =>
  withDevice({}, async (device) => {
    const model = await createMamba(device, WIDE, { ...SIZES, averageDecay: 0.9 });
    const copies = async () => {
      const { region, type } = model.store.operand(EMBEDDING);
      assertEquals(type, "f16");
      return Float32Array.from(new Float16Array(await device.read(region)));
    };
    const rounded = async () =>
      (await device.readFloats(model.store.region(EMBEDDING))).map(Math.f16round);
    model.writeParameters(values(WIDE));
    const first = await copies();
    assertEquals(first, await rounded());
    step(model, 1);
    const second = await copies();
    assertEquals(second, await rounded());
    assert(worst(second, first) > 0);
    model.swapAverages();
    assertEquals(await copies(), await rounded());
    assert(worst(await copies(), second) > 0);
    model.destroy();
  }));

Deno.test("a gradient beyond f16 leaves the update out and halves the scale until it fits", () =>
  withDevice({}, async (device) => {
    const model = await createMamba(device, WIDE, SIZES);
    model.writeParameters(values(WIDE));
    model.writeLossScale({ scale: 2 ** 24, good: 7, skipped: 0 });
    let skipped = 0;
    let report = undefined as Awaited<ReturnType<Mamba["report"]>> | undefined;
    for (let i = 1; i <= 20; i++) {
      step(model, i);
      report = await model.report();
      assert(Number.isFinite(report.loss));
      assertEquals(report.overflow, !Number.isFinite(report.gradNorm));
      if (!report.overflow) break;
      skipped++;
      const now = await model.readParameters();
      assertEquals(now.get(EMBEDDING), values(WIDE)(EMBEDDING));
      assertEquals(await model.readLossScale(), { scale: 2 ** (24 - skipped), good: 0, skipped });
    }
    assert(skipped > 0 && skipped < 20, `${skipped} updates were left out`);
    assertEquals(await model.readLossScale(), { scale: 2 ** (24 - skipped), good: 1, skipped });
    // The norm is of the unscaled gradients, whatever the scale.
    const plain = await createMamba(device, WIDE, { ...SIZES, precision: "f32" });
    plain.writeParameters(values(WIDE));
    step(plain, 1);
    const want = (await plain.report()).gradNorm;
    assertAlmostEquals(report!.gradNorm, want, 2e-3 * want);
    for (const made of [model, plain]) made.destroy();
  }));

Deno.test("weights that are not finite fail at any scale", () =>
  withDevice({}, async (device) => {
    const model = await createMamba(device, WIDE, SIZES);
    const read = values(WIDE);
    const broken = read(EMBEDDING).slice();
    broken[40] = NaN;
    model.writeParameters((name) => name === EMBEDDING ? broken : read(name));
    model.writeLossScale({ scale: 2, good: 0, skipped: 0 });
    const overflows: (boolean | undefined)[] = [];
    for (let i = 1; i <= 3; i++) {
      step(model, i);
      overflows.push((await model.report()).overflow);
    }
    assertEquals(overflows, [true, false, false]);
    assertEquals(await model.readLossScale(), { scale: 1, good: 0, skipped: 1 });
    model.destroy();
  }));

Deno.test("the memory plan counts f16 at two bytes, and what is allocated", async () => {
  const sizes = { batchSize: 4, sequenceLength: 256 };
  const totals: number[] = [];
  for (const precision of ["f32", "mixed"] as const) {
    await withDevice({ variant: "gpu-tiled" }, async (device) => {
      const model = await createMamba(device, WIDE, { ...sizes, precision });
      const { total, parts } = model.memory;
      const allocated = device.allocatedBytes;
      assert(allocated >= total && allocated < 1.02 * total, `${allocated}, ${total} planned`);
      const copies = parts.find(({ name }) => name === "parameters in f16");
      assertEquals(copies !== undefined, precision === "mixed");
      totals.push(total);
      model.destroy();
    });
  }
  assert(totals[1]! < totals[0]!, `${totals}`);
});

Deno.test("in mixed precision recomputation changes no bit, and a cut head next to none", async () => {
  const gradients: Map<string, Float32Array>[] = [];
  const config = configOfSizes({ hiddenSize: 40, layers: 3, vocabSize: 301 }); // a panel more of ids
  for (const [recompute, bindingLimit] of [[false], [true], [true, 90_000]] as const) {
    await withDevice({ variant: "cpu-subgroup", bindingLimit }, async (device) => {
      const model = await createMamba(device, config, { ...SIZES, recompute });
      model.writeParameters(values(config));
      model.accumulate(batchOf(config, 2, 50), 0.01);
      gradients.push(await model.readGradients());
      model.destroy();
    });
  }
  assertEquals(gradients[1], gradients[0]);
  for (const [name, g] of gradients[0]!) assert(worst(gradients[2]!.get(name)!, g) < 2e-4, name);
});

Deno.test("a device without shader-f16 is refused, and told what to do", () =>
  withDevice({}, async (device) => {
    const { description, features } = device;
    const without = Object.create(device, {
      features: { value: new Set([...features].filter((f) => f !== "shader-f16")) },
      description: { value: description },
    }) as Device;
    const refused = () => Promise.resolve().then(() => createMamba(without, WIDE, SIZES));
    await assertRejects(refused, Error, "needs the feature shader-f16");
  }));
