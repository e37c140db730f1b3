import { VARIANTS } from "../../../kernels/device.ts";
import { type MambaConfig, withoutHead } from "../../../model/mamba/config.ts";
import {
  huggingFaceConfig,
  parseConfig,
  stateSpacesConfig,
} from "../../../model/mamba/config_file.ts";
import type { HeadConfig } from "../../../model/mamba/head.ts";
import { initialValues } from "../../../model/mamba/initialize.ts";
import { createMamba } from "../../../model/mamba/mamba.ts";
import { parameterList } from "../../../model/mamba/parameters.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import type { Batch, ItemBatch } from "../../../model/mamba/types.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { join } from "../../../core/std.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { batchOf, values, WIDE, WIDE2, withDevice, worst } from "../device_helpers.ts";
import { MINIATURE, MINIATURE2, withFolder } from "../helpers.ts";

const softmax: HeadConfig = { loss: "softmax", labels: 3, slots: 2, crf: false, context: "both" };
const HEADS: readonly HeadConfig[] = [
  softmax,
  { loss: "softmax", labels: 5, slots: 2, crf: true, context: "both" },
  { loss: "sigmoid", labels: 35, slots: 3, crf: false, context: "forward" },
  { loss: "squared", labels: 1, slots: 1, crf: false, context: "forward" },
  { loss: "softmax", labels: 3, slots: 2, crf: true, context: "both", sparse: 70 },
  { loss: "softmax", labels: 13, slots: 2, crf: false, context: "forward", sparse: 33 },
];

/** Items of uneven slots; their sequences are of 1, 2, 3, ... items; the last two weigh nothing. */
function itemsOf(
  { loss, labels, slots, sparse }: HeadConfig,
  rows: number,
  count: number,
): ItemBatch {
  const entries = [];
  for (let item = 0; item < count; item++) {
    for (let slot = 0; slot < slots; slot++) {
      const rowsOfSlot = 1 + (item + slot) % 2;
      for (let j = 0; j < rowsOfSlot; j++) {
        const row = (item * 5 + slot * 7 + j) % rows;
        entries.push({ item, slot, row, weight: 1 / rowsOfSlot });
      }
    }
  }
  const sequences = [0];
  for (let size = 1; (sequences.at(-1) ?? 0) < count; size++) {
    sequences.push(Math.min(count, (sequences.at(-1) ?? 0) + size));
  }
  const each = loss === "sigmoid" ? labels : 1;
  const target = (i: number) =>
    loss === "softmax" ? (i * 2 + 1) % labels : loss === "sigmoid" ? i % 3 % 2 : Math.sin(i);
  return {
    count,
    entries,
    sequences,
    targets: Array.from({ length: count * each }, (_, i) => target(i)),
    weights: Array.from({ length: count }, (_, i) => i < count - 2 ? 0.5 + i % 2 : 0),
    ...(sparse
      ? {
        sparse: Array.from(
          { length: count },
          (_, i) => Array.from({ length: i % 4 }, (_, j) => (i * 11 + j * 37) % sparse),
        ),
      }
      : {}),
  };
}

const headed = (config: MambaConfig, head: HeadConfig): MambaConfig => ({ ...config, head });

function batchWith(head: HeadConfig, config: MambaConfig, b: number, l: number, seed = 0): Batch {
  const count = Math.floor(b * l / 2) - 1 - seed % 2;
  const items = itemsOf(head, b * l, count);
  return { ...batchOf(config, b, l, seed), items, dropoutSeed: 40 + seed };
}

Deno.test("the reference's gradients of a headed model equal finite differences", async () => {
  for (const [i, head] of HEADS.entries()) {
    const config = headed(i % 2 ? MINIATURE2 : MINIATURE, head);
    const read = values(config);
    const batch = batchWith(head, config, 2, 9);
    const model = new ReferenceModel(config, 2, 9);
    const lossWith = async (name: string, at: number, value: number) => {
      const changed = read(name).slice();
      changed[at] = value;
      model.writeParameters((n) => n === name ? changed : read(n));
      return [changed[at] ?? NaN, (await model.evaluate(batch)).nll] as const;
    };
    model.writeParameters(read);
    model.accumulate(batch, 0.25);
    const gradients = new Map(model.gradients.entries().map(([n, g]) => [n, g.slice()]));
    let largest = 0;
    for (const { name, size } of parameterList(config)) {
      for (let k = 0; k < 3; k++) {
        const at = (k * 37 + 11) % size;
        const middle = read(name)[at] ?? NaN;
        const [above, high] = await lossWith(name, at, middle + 1e-4);
        const [below, low] = await lossWith(name, at, middle - 1e-4);
        const want = 0.25 * (high - low) / (above - below);
        const got = gradients.get(name)?.[at] ?? NaN;
        largest = Math.max(largest, Math.abs(want));
        assert(
          Math.abs(got - want) < 1e-4 * Math.max(0.1, Math.abs(want)),
          `${head.loss}, ${name}: ${got} ${want}`,
        );
      }
    }
    assert(largest > 0.01, "nothing to compare");
  }
});

Deno.test("dropout of the reference: gradients are of what was dropped, and evaluation drops nothing", async () => {
  const config = headed(MINIATURE, softmax);
  const read = values(config);
  const batch = batchWith(softmax, config, 2, 9);
  const plain = new ReferenceModel(config, 2, 9);
  const terms = { dropout: 0.3, tokenDropout: 0.1, stateDropout: 0.2 };
  const model = new ReferenceModel(config, 2, 9, terms);
  for (const m of [plain, model]) m.writeParameters(read);
  assertEquals((await model.evaluate(batch)).nll, (await plain.evaluate(batch)).nll);
  const update = {
    step: 1,
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0,
    maxGradNorm: Infinity,
  };
  const lossOf = async (seed: number, name = "", at = 0, moved = 0) => {
    const changed = name ? read(name).slice() : new Float32Array();
    if (name) changed[at] = (changed[at] ?? 0) + moved;
    model.writeParameters((n) => n === name ? changed : read(n));
    model.accumulate({ ...batch, dropoutSeed: seed }, 1);
    const gradient = model.gradients.get(name || "backbone.norm_f.weight")?.[at] ?? NaN;
    model.update(update);
    return { loss: (await model.report()).loss, gradient, value: changed[at] ?? 0 };
  };
  const loss = (await lossOf(7)).loss;
  assert(loss !== (await plain.evaluate(batch)).nll);
  assert(loss !== (await lossOf(8)).loss);
  assertEquals((await lossOf(7)).loss, loss);
  for (const at of [31, 55, 72]) {
    const name = "backbone.embeddings.weight";
    const high = await lossOf(7, name, at, 1e-4);
    const low = await lossOf(7, name, at, -1e-4);
    const want = (high.loss - low.loss) / (high.value - low.value);
    const { gradient } = await lossOf(7, name, at, 0);
    assert(Math.abs(gradient - want) < 1e-4 * Math.max(0.1, Math.abs(want)), `${gradient} ${want}`);
  }
});

for (const variant of VARIANTS) {
  Deno.test(`a headed model on the device equals the float64 model: ${variant}`, () =>
    withDevice({ variant }, async (device) => {
      const cases = HEADS.flatMap((head, i) =>
        [[i % 2 ? WIDE2 : WIDE, 2, 50, head], [i % 2 ? MINIATURE : MINIATURE2, 2, 9, head]] as const
      );
      for (const [sizes, b, l, head] of cases) {
        const config = headed(sizes, head);
        const what = `${config.kind}, ${head.loss}, crf ${head.crf}`;
        const read = values(config);
        const dropouts = head.crf ? { dropout: 0.2, tokenDropout: 0.1, stateDropout: 0.3 } : {};
        const want = new ReferenceModel(config, b, l, dropouts);
        const got = await createMamba(device, config, {
          batchSize: b,
          sequenceLength: l,
          items: b * l,
          ...dropouts,
          recompute: head.loss === "sigmoid",
        });
        for (const model of [want, got]) model.writeParameters(read);
        // The second batch has fewer items: nothing of the first's may be left.
        const first = batchWith(head, config, b, l);
        const second = batchWith(head, config, b, l, 3);
        for (const model of [want, got]) {
          model.accumulate(first, 0.02);
          model.accumulate(second, 0.03);
        }
        const evaluated = await got.evaluate(second);
        const expected = await want.evaluate(second);
        assertEquals(evaluated.targets, expected.targets);
        assertAlmostEquals(evaluated.nll, expected.nll, 2e-5 * expected.nll, what);
        const logits = await got.labelLogits(second);
        const wanted = await want.labelLogits(second);
        assertEquals(logits.length, wanted.length);
        assert(worst(logits, wanted) < 2e-5, `${what}: logits`);
        const gradients = await got.readGradients();
        // As strict as for a language model's, but for two of Mamba-2's: the gradients of A_log and of
        // delta's bias have one value per head, a sum of a term per token and channel. In these cases
        // the terms cancel to a thousandth and less of the largest gradient of all (3e-5 of 3.2 at the
        // worst), and what is left of f32's digits is that much less. Their error is measured beside a
        // three hundredth of the largest gradient, which is still within two roundings of its terms.
        const largest = (values: Iterable<number>) => Math.max(...[...values].map(Math.abs));
        const all = largest([...want.gradients.values()].map(largest));
        for (const [name, gradient] of want.gradients) {
          const cancels = config.kind === "mamba2" && /\.(A_log|dt_bias)$/.test(name);
          const own = largest(gradient);
          const beside = cancels ? Math.max(own, all / 300) : own;
          const error = worst(gradients.get(name) ?? [], gradient) * own / beside;
          assert(error < 2e-5, `${what}: the gradient of ${name} is off by ${error}`);
        }
        const update = {
          step: 1,
          learningRate: 1e-3,
          beta1: 0.9,
          beta2: 0.95,
          epsilon: 1e-8,
          weightDecay: 0.1,
          maxGradNorm: 0.5,
        };
        for (const model of [want, got]) model.update(update);
        const a = await got.report();
        const e = await want.report();
        assertAlmostEquals(a.loss, e.loss, 2e-5 * e.loss, `${what}: loss`);
        assertAlmostEquals(a.gradNorm, e.gradNorm, 5e-5 * e.gradNorm, `${what}: norm`);
        // What is uploaded comes back as it was, and decays nothing of the head.
        got.writeParameters(read);
        for (const [name, back] of await got.readParameters()) assertEquals(back, read(name), name);
        got.destroy();
      }
    }));
}

Deno.test("a headed model in mixed precision stays near the float64 model", () =>
  withDevice({}, async (device) => {
    for (const [sizes, head] of [[WIDE, HEADS[1] ?? softmax], [WIDE2, softmax]] as const) {
      const config = headed(sizes, head);
      const shape = { batchSize: 2, sequenceLength: 50, precision: "mixed", items: 100 } as const;
      const want = new ReferenceModel(config, 2, 50);
      const got = await createMamba(device, config, shape);
      const batch = batchWith(head, config, 2, 50);
      for (const model of [want, got]) {
        model.writeParameters(values(config));
        model.accumulate(batch, 0.02);
      }
      // As for other models: each value passes through a few f16 roundings of at most 4.9e-4 a layer.
      const gradients = await got.readGradients();
      for (const [name, gradient] of want.gradients) {
        const error = worst(gradients.get(name) ?? [], gradient);
        assert(error < 1e-2, `${config.kind}: the gradient of ${name} is off by ${error}`);
      }
      assert(worst(await got.labelLogits(batch), await want.labelLogits(batch)) < 1e-2);
      got.destroy();
    }
  }));

Deno.test("a head has a place of its own in config.json and in the weights, and none for mamba_ssm", () =>
  withFolder((folder) => {
    for (const [i, sizes] of [MINIATURE, MINIATURE2].entries()) {
      const head: HeadConfig = HEADS[1] ?? softmax;
      const config = headed(sizes, head);
      assertEquals(parseConfig(huggingFaceConfig(config), "config.json").head, head);
      const path = join(folder, String(i));
      const read = values(config);
      writeModelFolder(path, { config, read });
      const opened = openModelFolder(path);
      assertEquals(opened.config.head, head);
      for (const { name } of parameterList(config)) assertEquals(opened.read(name), read(name));
      opened.close();
      assertThrows(() => stateSpacesConfig(config), Error, "head of labels");
      // As a language model it is what it was.
      assertEquals(withoutHead(config), sizes);
    }
    const broken = {
      ...huggingFaceConfig(headed(MINIATURE, softmax)),
      pubmamba_head: { loss: "x" },
    };
    assertThrows(
      () => parseConfig(broken, "config.json"),
      Error,
      "pubmamba_head.loss must be one of softmax, sigmoid, squared",
    );
  }));

Deno.test("a fresh head is drawn by the seed and is not decayed", () => {
  const config = headed(MINIATURE, { ...softmax, crf: true });
  const own = parameterList(config).filter(({ name }) => /^(classifier|crf)\./.test(name));
  assertEquals(own.map(({ name, shape, decayed }) => [name, shape, decayed]), [
    ["classifier.weight", [3, 20], false],
    ["classifier.bias", [3], false],
    ["crf.start_transitions", [3], false],
    ["crf.end_transitions", [3], false],
    ["crf.transitions", [3, 3], false],
  ]);
  for (const parameter of own) {
    const one = initialValues(config, parameter, 1);
    assertEquals(one, initialValues(config, parameter, 1));
    if (parameter.name === "classifier.bias") {
      assertEquals(one, new Float32Array(3));
      continue;
    }
    assert(one.some((x, i) => x !== initialValues(config, parameter, 2)[i]));
    assert(one.every((x) => Math.abs(x) <= (parameter.name.startsWith("crf") ? 0.1 : 20 ** -0.5)));
  }
});
