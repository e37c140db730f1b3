import { initialParameters } from "../../../model/mamba/initialize.ts";
import { mamba2OfSizes, presetConfig } from "../../../model/mamba/config.ts";
import { parameterList } from "../../../model/mamba/parameters.ts";
import { assert, assertAlmostEquals, assertEquals } from "../../assert.ts";

const config = presetConfig("tiny", { vocabSize: 1000, endOfText: 0 });
const spread = (values: Float32Array) =>
  Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

Deno.test("initialParameters() draws as the published code does", () => {
  const read = initialParameters(config, 3);
  assertAlmostEquals(spread(read("backbone.embeddings.weight")), 0.02, 1e-3);
  const aLog = read("backbone.layers.1.mixer.A_log");
  assertEquals([aLog[0], aLog[15], aLog[16]], [0, Math.fround(Math.log(16)), 0]);
  assertEquals(new Set(read("backbone.layers.0.mixer.D")), new Set([1]));
  assertEquals(new Set(read("backbone.norm_f.weight")), new Set([1]));
  const steps = [...read("backbone.layers.0.mixer.dt_proj.bias")].map((b) =>
    Math.log1p(Math.exp(b))
  );
  assert(steps.every((s) => s > 0.999e-3 && s < 0.1001), "delta starts within [1e-3, 1e-1]");
  assert(Math.min(...steps) < 2e-3 && Math.max(...steps) > 0.05, "and log-uniformly");
  const bound = 1 / Math.sqrt(128 * 2);
  const out = read("backbone.layers.0.mixer.out_proj.weight");
  assert(out.every((v) => Math.abs(v) <= bound) && out.some((v) => Math.abs(v) > 0.9 * bound));
});

Deno.test("initialParameters() depends on the seed and the name, not on the order", () => {
  const first = initialParameters(config, 3);
  const again = initialParameters(config, 3);
  const names = parameterList(config).map((p) => p.name);
  const values = new Map(names.map((n) => [n, first(n)]));
  for (const name of names.toReversed()) assertEquals(again(name), values.get(name)!);
  const a = "backbone.layers.0.mixer.in_proj.weight";
  const b = "backbone.layers.1.mixer.in_proj.weight";
  assert(values.get(a)![0] !== values.get(b)![0]);
  assert(values.get(a)![0] !== initialParameters(config, 4)(a)[0]);
});

Deno.test("initialParameters() draws Mamba-2 as the published code does", () => {
  const sizes = { hiddenSize: 512, layers: 4, vocabSize: 64, headSize: 16 };
  const model = mamba2OfSizes(sizes);
  const read = initialParameters(model, 1);
  const layer = (name: string) => read(`backbone.layers.2.mixer.${name}`);
  const A = layer("A_log").map(Math.exp);
  assertEquals(A.length, 64);
  assert(A.every((a) => a > 0.999 && a < 16.001) && A.some((a) => a < 4) && A.some((a) => a > 13));
  assert(layer("D").every((v) => v === 1) && layer("norm.weight").every((v) => v === 1));
  const steps = layer("dt_bias").map((v) => Math.log1p(Math.exp(v)));
  assert(steps.every((v) => v > 0.00099 && v < 0.1001), String(steps));
  const largest = (name: string) => layer(name).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  // Uniform within 1 / sqrt(fan-in); of out_proj one of as many branches as there are layers.
  for (
    const [name, bound] of [
      ["in_proj.weight", 1 / Math.sqrt(512)],
      ["conv1d.weight", 1 / Math.sqrt(4)],
      ["conv1d.bias", 1 / Math.sqrt(4)],
      ["out_proj.weight", 1 / Math.sqrt(1024 * 4)],
    ] as const
  ) {
    assert(largest(name) <= bound && largest(name) > 0.98 * bound, `${name}: ${largest(name)}`);
  }
});
