import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { openCheckpoint } from "../../../model/training/checkpoint.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { EMBEDDING, parameterList } from "../../../model/mamba/parameters.ts";
import { resolveConfig } from "../../../model/training/configuration.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { trainRun } from "../../../model/training/run.ts";
import { trainingTerms } from "../../../model/training/terms.ts";
import { presetConfig } from "../../../model/mamba/config.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { inventedCorpus, makeReference, silentReporter, withFolder } from "../helpers.ts";

const model = presetConfig("tiny", { vocabSize: 21, endOfText: 0 });
const terms = (config: unknown) => trainingTerms(resolveConfig(config, "test"), model);

Deno.test("trainingTerms() slows layers by their depth and freezes by pattern", () => {
  assertEquals(terms({}), {});
  const { rate } = terms({ optimizer: { layer_decay: 0.5, freeze: "*.norm.weight, *norm_f*" } });
  const rates = new Map(parameterList(model).map((p) => [p.name, rate!(p)]));
  assertEquals(rates.get(EMBEDDING), 0.25);
  assertEquals(rates.get("backbone.layers.0.mixer.D"), 0.5);
  assertEquals(rates.get("backbone.layers.1.mixer.in_proj.weight"), 1);
  assertEquals(rates.get("backbone.layers.1.norm.weight"), 0);
  assertEquals(rates.get("backbone.norm_f.weight"), 0);
  const optimizer = { layer_decay: 0.5, embedding_full_rate: true, decay_all: true };
  const full = terms({ optimizer });
  const byName = new Map(parameterList(model).map((p) => [p.name, full.rate!(p)]));
  assertEquals(byName.get(EMBEDDING), 1);
  assertEquals(byName.get("backbone.norm_f.weight"), 1);
  assertEquals(byName.get("backbone.layers.0.mixer.D"), 0.5);
  assertEquals(full.decayAll, true);
  const { objective, averageDecay } = terms({
    objective: { label_smoothing: 0.1, z_loss: 1e-4 },
    average: { decay: 0.9 },
  });
  assertEquals(objective, { labelSmoothing: 0.1, zLoss: 1e-4 });
  assertEquals(averageDecay, 0.9);
  const fails = (freeze: string, message: string) =>
    assertThrows(() => terms({ optimizer: { freeze } }), UserError, message);
  fails("backbone.layer.*", 'Cannot freeze "backbone.layer.*"');
  fails("*", "freezes every parameter");
});

Deno.test("trainingTerms() lets sparse features learn at a rate of their own, at the least", () => {
  const head = { loss: "softmax", labels: 2, slots: 1, crf: false, context: "both" } as const;
  const headed = { ...model, head: { ...head, sparse: 8 } };
  const rateOf = (optimizer: Record<string, number>, of: typeof headed | typeof model = headed) => {
    const { rate } = trainingTerms(resolveConfig({ optimizer }, "test"), of);
    const list = parameterList(headed).filter(({ name }) => name.startsWith("classifier."));
    return list.map((parameter) => rate?.(parameter));
  };
  // The classifier's weight and bias, and the table.
  assertEquals(rateOf({ learning_rate: 3e-4, head_learning_rate: 6e-4 }), [2, 2, 3e-3 / 3e-4]);
  assertEquals(rateOf({ learning_rate: 1e-4, head_learning_rate: 6e-3 }), [60, 60, 60]);
  assertEquals(trainingTerms(resolveConfig({}, "test"), { ...model, head }), {});
});

Deno.test("trainRun() with every term gives the same on the device as in the reference", () =>
  withFolder(async (dir) => {
    const frozen = "backbone.layers.0.mixer.in_proj.weight";
    const run = async (name: string, makeModel: typeof makeReference) => {
      const result = await trainRun({
        corpus: inventedCorpus(),
        init: "random:tiny",
        out: join(dir, name),
        config: {
          steps: 6,
          batch: { rows: 2 },
          optimizer: {
            learning_rate: 2e-3,
            layer_decay: 0.8,
            embedding_full_rate: true,
            decay_all: true,
            freeze: frozen,
          },
          objective: { label_smoothing: 0.1, z_loss: 1e-3 },
          average: { decay: 0.7 },
        },
        resume: false,
        makeModel,
        reporter: silentReporter(),
        signal: new AbortController().signal,
      });
      return { result, checkpoint: openCheckpoint(result.checkpoint) };
    };
    const device = await run("device", deviceModel());
    const reference = await run("reference", makeReference);
    assertAlmostEquals(device.result.loss, reference.result.loss, 1e-4);
    // The plain loss stands beside the objective's, which is larger.
    const lines = ["device", "reference"].map((name) => readMetrics(join(dir, name)));
    const [own = [], theirs = []] = lines;
    assertEquals([own.length, theirs.length], [6, 6]);
    own.forEach((line, i) => {
      const { plain_loss: plain = NaN } = line;
      assertAlmostEquals(plain, theirs[i]?.plain_loss ?? NaN, 1e-4);
      assert(plain < line.loss - 1e-3, `${plain} of ${line.loss}`);
    });
    const initial = initialParameters(model, 0);
    for (const { name } of parameterList(model)) {
      const start = initial(name);
      const pairs = [
        [device.checkpoint.folder.read(name), reference.checkpoint.folder.read(name)],
        [device.checkpoint.average!(name), reference.checkpoint.average!(name)],
      ] as const;
      for (const [got, want] of pairs) {
        // Near-zero gradients turn into whole steps of Adam: compare the bulk.
        const error = got.reduce((sum, v, i) => sum + Math.abs(v - want[i]!), 0);
        const moved = want.reduce((sum, v, i) => sum + Math.abs(v - start[i]!), 0);
        assert(error <= 0.02 * moved, `${name}: ${error} of ${moved}`);
        assertEquals(moved === 0, name === frozen, name);
      }
    }
    device.checkpoint.close();
    reference.checkpoint.close();
  }));
