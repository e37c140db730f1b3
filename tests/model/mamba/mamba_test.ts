import { type Device, VARIANTS } from "../../../kernels/device.ts";
import { Plan } from "../../../kernels/plan.ts";
import { ParameterStore } from "../../../model/mamba/gpu/store.ts";
import { createMamba } from "../../../model/mamba/mamba.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import { batchOf, values, WIDE, WIDE2, withDevice, worst } from "../device_helpers.ts";
import { MINIATURE, MINIATURE2 } from "../helpers.ts";

for (const variant of VARIANTS) {
  Deno.test(`the device's model equals the float64 model, packed: ${variant}`, () =>
    withDevice({ variant }, async (device) => {
      const models = [[MINIATURE, 2, 9], [WIDE, 2, 50], [MINIATURE2, 2, 9], [
        WIDE2,
        2,
        90,
      ]] as const;
      for (const [config, b, l] of models) {
        const read = values(config);
        const want = new ReferenceModel(config, b, l);
        const got = await createMamba(device, config, { batchSize: b, sequenceLength: l });
        for (const model of [want, got]) model.writeParameters(read);
        const first = batchOf(config, b, l);
        const second = batchOf(config, b, l, 3);
        for (const model of [want, got]) {
          model.accumulate(first, 0.02);
          model.accumulate(second, 0.03);
        }
        const gradients = await got.readGradients();
        for (const [name, gradient] of want.gradients) {
          const error = worst(gradients.get(name)!, gradient);
          assert(error < 2e-5, `gradient of ${name} is off by ${error}`);
        }
        for (let step = 1; step <= 3; step++) {
          for (const model of [want, got]) {
            if (step > 1) model.accumulate(first, 0.02);
            model.update({
              step,
              learningRate: 1e-3,
              beta1: 0.9,
              beta2: 0.95,
              epsilon: 1e-8,
              weightDecay: 0.1,
              maxGradNorm: 0.5,
            });
          }
          const a = await got.report();
          const e = await want.report();
          assertAlmostEquals(a.loss, e.loss, 2e-5 * e.loss, `loss of step ${step}`);
          assertAlmostEquals(a.gradNorm, e.gradNorm, 5e-5 * e.gradNorm, `norm of step ${step}`);
        }
        const a = await got.evaluate(second);
        const e = await want.evaluate(second);
        assertEquals(a.targets, e.targets);
        assertAlmostEquals(a.nll, e.nll, 2e-5 * e.nll);
        got.destroy();
      }
      assertEquals(await leakOf(device), 0);
    }));
}

/** Bytes that making and destroying a model leaves behind. */
async function leakOf(device: Device): Promise<number> {
  const before = device.allocatedBytes;
  const model = await createMamba(device, MINIATURE, { batchSize: 1, sequenceLength: 5 });
  model.destroy();
  return device.allocatedBytes - before;
}

for (const variant of ["cpu-subgroup", "gpu-tiled"]) {
  Deno.test(`a small binding limit and a head in chunks change no result: ${variant}`, async () => {
    const b = 2;
    const l = 100;
    const results: { nll: number; gradient: Float32Array }[] = [];
    // 200 rows of 320 columns: one chunk of logits, then two.
    const config = configOfSizes({ hiddenSize: 40, layers: 3, vocabSize: 301 });
    for (const bindingLimit of [undefined, 260_000]) {
      await withDevice({ variant, bindingLimit }, async (device) => {
        const model = await createMamba(device, config, { batchSize: b, sequenceLength: l });
        model.writeParameters(values(config));
        model.accumulate(batchOf(config, b, l), 1 / 160);
        const gradient = (await model.readGradients()).get("backbone.embeddings.weight")!;
        results.push({ nll: (await model.evaluate(batchOf(config, b, l))).nll, gradient });
        model.destroy();
      });
    }
    assertAlmostEquals(results[0]!.nll, results[1]!.nll, 1e-6 * results[0]!.nll);
    assert(worst(results[1]!.gradient, results[0]!.gradient) < 2e-6);
  });
}

Deno.test("a model whose activations a device cannot bind is refused", () =>
  withDevice({ bindingLimit: 80_000 }, async (device) => {
    const sizes = { batchSize: 2, sequenceLength: 100 };
    const refused = () => createMamba(device, WIDE, sizes);
    await assertRejects(refused, Error, "the scan of 2 x 100 tokens needs bindings of");
  }));

Deno.test("a GPU's update is a dispatch for decayed parameters and one for the rest", () =>
  withDevice({ variant: "gpu-tiled" }, async (device) => {
    const dispatch = Plan.prototype.dispatch;
    const labels: string[] = [];
    Plan.prototype.dispatch = function (call) {
      labels.push(call.label);
      return dispatch.call(this, call);
    };
    try {
      const sizes = { batchSize: 1, sequenceLength: 40, averageDecay: 0.9 };
      (await createMamba(device, WIDE, { ...sizes, precision: "mixed" })).destroy();
    } finally {
      Plan.prototype.dispatch = dispatch;
    }
    const update = labels.slice(labels.indexOf("sum of squares"));
    assertEquals(update, [
      "sum of squares",
      "sum of squares",
      "sum",
      "update loss scale",
      "adamw",
      "adamw",
      "exchange",
      "exchange",
    ]);
  }));

for (const config of [WIDE, WIDE2]) {
  Deno.test(`recomputed activations of ${config.kind} give the same bits, for less memory`, () =>
    withDevice({}, async (device) => {
      const read = values(config);
      const batch = batchOf(config, 2, 50);
      const sizes = { batchSize: 2, sequenceLength: 50 };
      const gradients: Map<string, Float32Array>[] = [];
      const bytes: number[] = [];
      for (const recompute of [false, true]) {
        const model = await createMamba(device, config, { ...sizes, recompute });
        model.writeParameters(read);
        model.accumulate(batch, 0.01);
        gradients.push(await model.readGradients());
        bytes.push(model.memory.total);
        model.destroy();
      }
      assertEquals(gradients[1], gradients[0]);
      assert(bytes[1]! < bytes[0]!);
    }));
}

Deno.test("the memory plan counts what is allocated, and recomputes where the rest does not fit", async () => {
  const sizes = { batchSize: 4, sequenceLength: 256 };
  let total = 0;
  await withDevice({ variant: "gpu-tiled" }, async (device) => {
    const before = device.allocatedBytes;
    const model = await createMamba(device, WIDE, sizes);
    total = model.memory.total;
    assert(!model.memory.recompute);
    // Beyond the plan: the small uniforms of each kernel.
    const allocated = device.allocatedBytes - before;
    assert(
      allocated >= total && allocated < 1.02 * total,
      `${allocated} allocated, ${total} planned`,
    );
  });
  await withDevice({ variant: "gpu-tiled", memoryLimit: 0.9 * total }, async (device) => {
    const model = await createMamba(device, WIDE, sizes);
    assert(model.memory.recompute);
    assert(model.memory.total < 0.9 * total);
  });
});

Deno.test("rates scale and freeze parameters, and averages follow them", () =>
  withDevice({}, async (device) => {
    const read = values(WIDE);
    const sizes = { batchSize: 1, sequenceLength: 40 };
    const frozen = "backbone.embeddings.weight";
    const slow = "backbone.layers.0.norm.weight";
    const after: Map<string, Float32Array>[] = [];
    const rates = [
      () => 1,
      (p: { name: string }) => p.name === frozen ? 0 : p.name === slow ? 0.5 : 1,
    ];
    for (const rate of rates) {
      const model = await createMamba(device, WIDE, { ...sizes, rate, averageDecay: 0.75 });
      model.writeParameters(read);
      model.accumulate(batchOf(WIDE, 1, 40), 0.03);
      model.update({
        step: 1,
        learningRate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-12,
        weightDecay: 0,
        maxGradNorm: Infinity,
      });
      const now = await model.readParameters();
      const averages = await model.readAverages();
      for (const [name, values] of now) {
        const want = values.map((x, i) => 0.75 * read(name)[i]! + 0.25 * x);
        const error = worst(averages!.get(name)!, want);
        assert(error < 1e-6, `${name}: ${error}`);
      }
      after.push(now);
      model.destroy();
    }
    assertEquals(after[1]!.get(frozen), read(frozen));
    const [full, half] = after.map((m) => m.get(slow)!.map((x, i) => x - read(slow)[i]!));
    assert(worst(half!, full!.map((x) => x / 2)) < 1e-4);
    const same = "backbone.layers.2.mixer.in_proj.weight";
    assertEquals(after[1]!.get(same), after[0]!.get(same));
  }));

Deno.test("a step whose gradient is not finite updates nothing and names the tensor", () =>
  withDevice({}, async (device) => {
    const model = await createMamba(device, MINIATURE, { batchSize: 1, sequenceLength: 9 });
    const read = values(MINIATURE);
    const name = "backbone.layers.1.mixer.out_proj.weight";
    const broken = read(name).slice();
    broken[3] = NaN;
    model.writeParameters((n) => n === name ? broken : read(n));
    model.accumulate(batchOf(MINIATURE, 1, 9), 1);
    model.update({
      step: 1,
      learningRate: 1e-3,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      maxGradNorm: 1,
    });
    const { gradNorm } = await model.report();
    assert(!Number.isFinite(gradNorm));
    assert((await model.findNonFinite())!.startsWith("backbone."));
    const after = await model.readParameters();
    assertEquals(after.get("backbone.norm_f.weight"), read("backbone.norm_f.weight"));
    model.destroy();
  }));

Deno.test("a model that exceeds the memory limit is refused with what it needs", () =>
  withDevice({ memoryLimit: 100_000 }, async (device) => {
    await assertRejects(
      () => createMamba(device, WIDE, { batchSize: 4, sequenceLength: 64 }),
      Error,
      "The model does not fit: it needs",
    );
  }));

Deno.test("an update above its limits changes nothing, and exchanged averages evaluate", () =>
  withDevice({}, async (device) => {
    const read = values(WIDE);
    const batch = batchOf(WIDE, 2, 40);
    const model = await createMamba(device, WIDE, {
      batchSize: 2,
      sequenceLength: 40,
      averageDecay: 0.5,
    });
    model.writeParameters(read);
    const options = {
      learningRate: 0.01,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      maxGradNorm: 1,
    };
    const step = async (number: number, skipAbove?: { loss: number; gradNorm: number }) => {
      model.accumulate(batch, 1 / 64);
      model.update({ ...options, step: number, skipAbove });
      const report = await model.report();
      return { report, weights: await model.readParameters(), moments: await model.readMoments() };
    };
    const first = await step(1);
    const { loss, gradNorm } = first.report;
    assertEquals(first.report.skipped, false);
    for (
      const limits of [{ loss: loss / 2, gradNorm: Infinity }, {
        loss: Infinity,
        gradNorm: gradNorm / 2,
      }]
    ) {
      const left = await step(2, limits);
      assertEquals(left.report.skipped, true);
      assert(left.report.loss > loss / 2 && left.report.gradNorm > gradNorm / 2);
      assertEquals([left.weights, left.moments], [first.weights, first.moments]);
    }
    const averages = await model.readAverages();
    const done = await step(2, { loss: 2 * loss, gradNorm: 2 * gradNorm });
    assertEquals(done.report.skipped, false);
    assert(worst(done.weights.get("backbone.norm_f.weight")!, read("backbone.norm_f.weight")) > 0);
    const trained = await model.evaluate(batch);
    const after = await model.readAverages();
    assert(
      worst(after!.get("backbone.norm_f.weight")!, averages!.get("backbone.norm_f.weight")!) > 0,
    );
    model.swapAverages();
    assertEquals(await model.readParameters(), after);
    const reference = new ReferenceModel(WIDE, 2, 40);
    reference.writeParameters((name) => after!.get(name)!);
    const [got, want] = [await model.evaluate(batch), await reference.evaluate(batch)];
    assertAlmostEquals(got.nll, want.nll, 1e-4 * want.nll);
    model.swapAverages();
    assertEquals(await model.evaluate(batch), trained);
    assertEquals([await model.readParameters(), await model.readAverages()], [
      done.weights,
      after,
    ]);
    model.destroy();
  }));

Deno.test("a parameter read in pieces equals what was written", () =>
  withDevice({}, async (device) => {
    const store = new ParameterStore(device, WIDE, ["value"]);
    const read = values(WIDE);
    store.write("value", read);
    for (const [name, all] of await store.read("value")) {
      assertEquals(all, read(name), name);
      assertEquals(await store.readOne("value", name, 4096), all, name);
    }
    store.destroy();
  }));
