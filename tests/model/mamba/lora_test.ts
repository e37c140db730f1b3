import { VARIANTS } from "../../../kernels/device.ts";
import { type MambaConfig, withoutLora } from "../../../model/mamba/config.ts";
import { createMamba } from "../../../model/mamba/mamba.ts";
import {
  adapterModule,
  adapterNames,
  chooseModules,
  loraScale,
  merged,
  weightName,
} from "../../../model/mamba/lora.ts";
import {
  parameterList,
  trainedCount,
  trainedParameters,
  withLora,
} from "../../../model/mamba/parameters.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { UserError } from "../../../core/errors.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { batchOf, values, WIDE, WIDE2, withDevice, worst } from "../device_helpers.ts";
import { MINIATURE, MINIATURE2 } from "../helpers.ts";

const LORA = { targets: "linear,embedding", rank: 5, alpha: 8, dropout: 0, rootScale: false };
const UPDATE = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 0.5,
};
const adapted = (config: MambaConfig, changes: Partial<typeof LORA> = {}) =>
  withLora(config, { ...LORA, ...changes });

Deno.test("the reference's gradients of adapters agree with finite differences", async () => {
  for (const sizes of [MINIATURE, MINIATURE2]) {
    const config = adapted(sizes, { rank: 3, alpha: 4, rootScale: true });
    assertAlmostEquals(loraScale(config.lora ?? fails()), 4 / Math.sqrt(3), 1e-12);
    const read = values(config);
    const batch = batchOf(config, 2, 9);
    const lossOf = (name: string, at: number, change: number) => {
      const model = new ReferenceModel(config, 2, 9);
      model.writeParameters((other) => {
        if (other !== name) return read(other);
        const changed = read(other).slice();
        changed[at] = (changed[at] ?? 0) + change;
        return changed;
      });
      model.accumulate(batch, 0.02);
      model.update({ ...UPDATE, step: 1, learningRate: 0 });
      return model.report();
    };
    const model = new ReferenceModel(config, 2, 9);
    model.writeParameters(read);
    model.accumulate(batch, 0.02);
    // Only adapters have gradients at all.
    assertEquals(
      [...model.gradients.keys()],
      trainedParameters(config).map(({ name }) => name),
    );
    assert([...model.gradients.keys()].every((name) => adapterModule(name)));
    for (const [name, gradient] of model.gradients) {
      const at = Math.floor(gradient.length / 2);
      // Parameters are stored in f32: what was added is what the difference is divided by.
      const value = read(name)[at] ?? 0;
      const [high, low] = [Math.fround(value + 1e-3), Math.fround(value - 1e-3)];
      const more = await lossOf(name, at, high - value);
      const less = await lossOf(name, at, low - value);
      const slope = (more.loss - less.loss) / (high - low);
      assertAlmostEquals(gradient[at] ?? NaN, slope, 1e-6 + 1e-4 * Math.abs(slope), name);
    }
  }
});

function fails(): never {
  throw new Error("nothing there");
}

/** What the float64 model makes of two micro-batches and three updates. */
interface Expected {
  gradients: ReadonlyMap<string, Float32Array | Float64Array>;
  updates: { loss: number; gradNorm: number }[];
  nll: number;
}

/** What was expected of a model before: the float64 model is slow, and the same for every variant. */
const expectations = new Map<MambaSize, Promise<Expected>>();

type MambaSize = readonly [MambaConfig, number, number, number];

/** The models, batch sizes, sequence lengths and ranks that are compared. */
const MODELS: readonly MambaSize[] = [
  [MINIATURE, 1, 17, 1],
  [WIDE, 2, 50, 5],
  [MINIATURE2, 2, 9, 33],
  [WIDE2, 1, 257, 5],
];

/** Runs the float64 model through what the device's model is run through. */
async function expect([sizes, b, l, rank]: MambaSize): Promise<Expected> {
  const config = adapted(sizes, { rank });
  const model = new ReferenceModel(config, b, l);
  model.writeParameters(values(config));
  model.accumulate(batchOf(config, b, l), 0.02);
  model.accumulate(batchOf(config, b, l, 3), 0.03);
  const gradients = new Map([...model.gradients].map(([name, values]) => [name, values.slice()]));
  const updates: Expected["updates"] = [];
  for (let step = 1; step <= 3; step++) {
    if (step > 1) model.accumulate(batchOf(config, b, l), 0.02);
    model.update({ ...UPDATE, step });
    updates.push(await model.report());
  }
  const { nll } = await model.evaluate(batchOf(config, b, l, 3));
  return { gradients, updates, nll };
}

/** {@linkcode expect}, once for each model. */
function expected(size: MambaSize): Promise<Expected> {
  const known = expectations.get(size) ?? expect(size);
  expectations.set(size, known);
  return known;
}

for (const variant of VARIANTS) {
  Deno.test(`adapters on the device equal the float64 model's: ${variant}`, () =>
    withDevice({ variant }, async (device) => {
      for (const [i, size] of MODELS.entries()) {
        const [sizes, b, l, rank] = size;
        const want = await expected(size);
        // Both ways with one variant; with the others, each model in one of them.
        const ways = variant === VARIANTS[0] ? [false, true] : [i % 2 === 0];
        for (const recompute of ways) {
          const config = adapted(sizes, { rank });
          const read = values(config);
          const options = { batchSize: b, sequenceLength: l, recompute };
          const got = await createMamba(device, config, options);
          got.writeParameters(read);
          got.accumulate(batchOf(config, b, l), 0.02);
          got.accumulate(batchOf(config, b, l, 3), 0.03);
          const gradients = await got.readGradients();
          assertEquals([...gradients.keys()], [...want.gradients.keys()]);
          for (const [name, gradient] of want.gradients) {
            const error = worst(gradients.get(name) ?? [], gradient);
            assert(error < 2e-5, `gradient of ${name} of ${config.kind} is off by ${error}`);
          }
          for (const [i, e] of want.updates.entries()) {
            const step = i + 1;
            if (step > 1) got.accumulate(batchOf(config, b, l), 0.02);
            got.update({ ...UPDATE, step });
            const a = await got.report();
            assertAlmostEquals(a.loss, e.loss, 2e-5 * e.loss, `loss of step ${step}`);
            assertAlmostEquals(a.gradNorm, e.gradNorm, 5e-5 * e.gradNorm, `norm of step ${step}`);
          }
          const a = await got.evaluate(batchOf(config, b, l, 3));
          assertAlmostEquals(a.nll, want.nll, 2e-5 * want.nll);
          // What is frozen is as it was, to the bit.
          const now = await got.readParameters();
          for (const { name, frozen } of parameterList(config)) {
            if (frozen) assertEquals(worst(now.get(name) ?? [], read(name)), 0, name);
          }
          got.destroy();
        }
      }
    }));
}

Deno.test("adapters in mixed precision: near the float64 model, the base in f16 alone", async () => {
  for (const variant of ["cpu-subgroup", "gpu-tiled"]) {
    await withDevice({ variant }, async (device) => {
      for (const sizes of [WIDE, WIDE2]) {
        const config = adapted(sizes);
        // What the device holds of the base: rounded to f16.
        const stored = (name: string) => {
          const { frozen, shape } = parameterList(config).find((p) => p.name === name) ?? fails();
          const own = values(config)(name);
          return frozen && shape.length === 2 && name.endsWith(".weight")
            ? own.map(Math.f16round)
            : own;
        };
        const want = new ReferenceModel(config, 2, 50);
        const options = { batchSize: 2, sequenceLength: 50, precision: "mixed" as const };
        const got = await createMamba(device, config, options);
        want.writeParameters(stored);
        got.writeParameters(values(config));
        for (const model of [want, got]) model.accumulate(batchOf(config, 2, 50), 0.02);
        const gradients = await got.readGradients();
        for (const [name, gradient] of want.gradients) {
          const error = worst(gradients.get(name) ?? [], gradient);
          assert(error < 1e-2, `gradient of ${name} of ${config.kind} is off by ${error}`);
        }
        for (let step = 1; step <= 2; step++) {
          for (const model of [want, got]) {
            if (step > 1) model.accumulate(batchOf(config, 2, 50), 0.02);
            model.update({ ...UPDATE, step });
          }
          const a = await got.report();
          const e = await want.report();
          assertAlmostEquals(a.loss, e.loss, 2e-4 * e.loss, `loss of step ${step}`);
          assertAlmostEquals(a.gradNorm, e.gradNorm, 2e-3 * e.gradNorm, `norm of step ${step}`);
        }
        const now = await got.readParameters();
        for (const { name, frozen } of parameterList(config)) {
          if (frozen) assertEquals(now.get(name), stored(name), name);
        }
        const weight = got.store.operand("backbone.layers.0.mixer.in_proj.weight");
        assertEquals(weight.type, "f16");
        for (const arena of got.store.arenas) {
          const slots = Object.keys(arena.regions).sort().join();
          const wanted = arena.halfAlone
            ? "half"
            : arena.frozen
            ? "value"
            : arena.decay
            ? "gradient,half,m,v,value"
            : "gradient,m,v,value";
          assertEquals(slots, wanted);
        }
        got.destroy();
      }
    });
  }
});

Deno.test("dropout of adapters: the gradient is that of the masked loss, and evaluation has none", async () => {
  await withDevice({}, async (device) => {
    const config = adapted(WIDE, { targets: "linear", dropout: 0.3 });
    const plain = adapted(WIDE, { targets: "linear" });
    const batch = { ...batchOf(config, 2, 50), dropoutSeed: 77 };
    const read = values(config);
    const sizes = { batchSize: 2, sequenceLength: 50 };
    const model = await createMamba(device, config, sizes);
    const lossAt = async (
      name: string,
      change: (values: Float32Array) => Float32Array,
      seed = 77,
    ) => {
      model.writeParameters((other) => other === name ? change(read(other)) : read(other));
      model.accumulate({ ...batch, dropoutSeed: seed }, 0.02);
      model.update({ ...UPDATE, step: 1, learningRate: 0 });
      return (await model.report()).loss;
    };
    model.writeParameters(read);
    model.accumulate(batch, 0.02);
    const gradients = await model.readGradients();
    const steep = new Set<string>();
    for (const [name, gradient] of gradients) {
      // Along the gradient's own direction, where the difference is the largest.
      const norm = Math.hypot(...gradient);
      const along = (length: number) => (own: Float32Array) =>
        own.map((x, i) => x + length * (gradient[i] ?? 0) / norm);
      const slope = (await lossAt(name, along(0.01)) - await lossAt(name, along(-0.01))) / 0.02;
      // The loss is in f32: a difference of two is good to 1e-6, and a slope to 5e-5.
      assertAlmostEquals(slope, norm, 0.02 * norm + 5e-5, name);
      if (norm > 5e-3) steep.add(name.replace(/.*mixer\./, ""));
    }
    for (const kind of ["in_proj", "x_proj", "out_proj"]) {
      for (const part of ["A", "B"]) assert(steep.has(`${kind}.lora_${part}.weight`), kind + part);
    }
    const same = (own: Float32Array) => own;
    const one = await lossAt("", same);
    assertEquals(await lossAt("", same), one);
    assert(await lossAt("", same, 78) !== one, "the seed draws the mask");
    const other = await createMamba(device, plain, sizes);
    for (const each of [model, other]) each.writeParameters(read);
    const [a, b] = [await model.evaluate(batch), await other.evaluate(batch)];
    assertAlmostEquals(a.nll, b.nll, 1e-6 * b.nll);
    for (const each of [model, other]) each.destroy();
  });
});

Deno.test("merged adapters: the float64 sum rounded once, and the same model to rounding", async () => {
  await withDevice({}, async (device) => {
    for (const sizes of [WIDE, WIDE2]) {
      const config = adapted(sizes);
      const { lora } = config;
      if (!lora) throw new Error("no adapters");
      const read = values(config);
      const shapes = new Map(parameterList(config).map((p) => [p.name, p.shape]));
      const whole = new Map(lora.modules.map((module) => {
        const name = weightName(module);
        const { a, b } = adapterNames(module);
        const shape = shapes.get(name) ?? [];
        return [name, merged(lora, module, shape, read(name), read(a), read(b))];
      }));
      const name = "backbone.layers.1.mixer.in_proj.weight";
      const { a, b } = adapterNames("backbone.layers.1.mixer.in_proj");
      const [row, col] = [7, 11];
      let sum = 0;
      for (let k = 0; k < 5; k++) sum += (read(b)[row * 5 + k] ?? 0) * (read(a)[k * 40 + col] ?? 0);
      const at = row * 40 + col;
      const exact = (read(name)[at] ?? NaN) + 8 / 5 * sum;
      assertAlmostEquals(whole.get(name)?.[at] ?? NaN, exact, 6e-8 * Math.abs(exact));
      const shape = { batchSize: 2, sequenceLength: 50, training: false };
      const apart = await createMamba(device, config, shape);
      const one = await createMamba(device, withoutLora(config), shape);
      apart.writeParameters(read);
      one.writeParameters((other) => whole.get(other) ?? read(other));
      const batch = batchOf(config, 2, 50);
      const [x, y] = [await apart.evaluate(batch), await one.evaluate(batch)];
      assertAlmostEquals(x.nll, y.nll, 2e-6 * y.nll);
      assert(worst(await apart.logits(batch), await one.logits(batch)) < 2e-5);
      for (const model of [apart, one]) model.destroy();
    }
  });
});

Deno.test("adapters take memory for themselves alone, and patterns that mean nothing are refused", () => {
  const modules = ["in_proj", "x_proj", "dt_proj", "out_proj"].flatMap((kind) =>
    [0, 1, 2].map((layer) => `backbone.layers.${layer}.mixer.${kind}`)
  );
  assertEquals(chooseModules("out_proj, in_proj", modules).length, 6);
  assertEquals(chooseModules("layers.1.*", modules).length, 4);
  assertEquals(chooseModules("layers.*.in_proj", modules).length, 3);
  const refused = (patterns: string, message: string) =>
    assertThrows(() => chooseModules(patterns, modules), UserError, message);
  refused(
    "in_proj,q_proj",
    'Cannot adapt "q_proj" by LoRA: no matrix of the model has such a name',
  );
  refused("proj", 'Cannot adapt "proj"');
  refused(" ", "no matrix is named");
  assertThrows(() => adapted(WIDE2, { targets: "x_proj" }), UserError, 'Cannot adapt "x_proj"');
  const config = adapted(WIDE, { targets: "in_proj", rank: 4 });
  assertEquals(trainedCount(config), 3 * 4 * (40 + 160));
  return withDevice({ variant: "gpu-tiled" }, async (device) => {
    const sizes = { batchSize: 2, sequenceLength: 50, averageDecay: 0.9 };
    const before = device.allocatedBytes;
    const model = await createMamba(device, config, sizes);
    const { total, parts } = model.memory;
    const allocated = device.allocatedBytes - before;
    assert(allocated >= total && allocated < 1.1 * total, `${allocated} against ${total}`);
    // As stored, a rank of 4 takes a panel of 32; three layers' A (32, 64) and B (160 -> 192, 32).
    const bytes = (name: string) => parts.find((part) => part.name === name)?.bytes;
    for (const slot of ["gradients", "first moments", "second moments", "averages"]) {
      assertEquals(bytes(slot), 4 * 3 * 32 * (64 + 192), slot);
    }
    model.destroy();
    assertEquals(device.allocatedBytes, before);
  });
});
