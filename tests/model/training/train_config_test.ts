import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import {
  configKeys,
  mergeConfig,
  parseOverride,
  readConfigFile,
  resolveConfig,
} from "../../../model/training/configuration.ts";
import { assertEquals, assertThrows } from "../../assert.ts";
import { ROOT } from "../../shared.ts";
import { withFolder } from "../helpers.ts";

Deno.test("resolveConfig() fills in every default", () => {
  const config = resolveConfig({ optimizer: { learning_rate: 0.5 } }, "test");
  assertEquals(config.optimizer.learning_rate, 0.5);
  assertEquals(config.optimizer.beta2, 0.95);
  assertEquals(config.schedule.kind, "cosine");
  assertEquals(resolveConfig(config, "test"), config);
});

Deno.test("resolveConfig() names the key, its value and what is allowed", () => {
  const cases: [unknown, ...string[]][] = [
    [{ steps: 0 }, "of a.json: steps is 0, it must be at least 1"],
    [{ steps: "many" }, 'steps is "many", it must be number'],
    [{ steps: 1.5 }, "steps is 1.5, it must be a whole number"],
    [{ optimizer: { learning_rate: -1 } }, "optimizer.learning_rate is -1, it must be above 0"],
    [{ optimizer: { beta1: 1 } }, "optimizer.beta1 is 1, it must be below 1"],
    [{ optimizer: { lr: 1 } }, '"optimizer.lr" is not a key', "optimizer.learning_rate"],
    [{ optimiser: {} }, '"optimiser" is not a key', "optimizer"],
    [{ schedule: { kind: "step" } }, "schedule.kind", '"cosine" or "wsd"'],
    [{ batch: 3 }, "batch is 3, it must be an object"],
    [{ steps: 5, schedule: { warmup: 6 } }, "schedule.warmup is 6, more than the run's 5 steps"],
    [{ schedule: { warmup: 1.5 } }, "schedule.warmup is 1.5"],
    [{ schedule: { kind: "wsd", warmup: 0.5, stable: 0.6 } }, "add up to over 1"],
    [[], "the whole is a list"],
    [{ batch: { rows: [1] } }, "batch.rows is a list"],
    [7, "the whole is 7, it must be an object"],
  ];
  for (const [config, ...parts] of cases) {
    for (const part of parts) {
      assertThrows(() => resolveConfig(config, "a.json"), UserError, part);
    }
  }
});

Deno.test("parseOverride() and mergeConfig() lay single keys over a file", () =>
  withFolder((dir) => {
    const file = join(dir, "a.json");
    Deno.writeTextFileSync(file, '{\n  // half an hour\n  "steps": 20, "batch": { "rows": 2, }, }');
    const merged = [
      "batch.accumulate=4",
      "optimizer.learning_rate=1e-4",
      "schedule.kind=linear",
    ].reduce((config, text) => mergeConfig(config, parseOverride(text)), readConfigFile(file));
    const config = resolveConfig(merged, file);
    assertEquals(config.batch, { rows: 2, accumulate: 4, lanes: 1 });
    assertEquals([config.steps, config.optimizer.learning_rate], [20, 1e-4]);
    assertEquals(config.schedule.kind, "linear");
    const refuses = (text: string, message: string) =>
      assertThrows(() => parseOverride(text), UserError, message);
    refuses("optimizer.lr=1", 'no key "optimizer.lr"; there are optimizer.learning_rate');
    refuses("optimizer.bata2=1", 'no key "optimizer.bata2"; did you mean "optimizer.beta2"?');
    refuses("sample.every=0", "there are checkpoint.every, validation.every");
    assertThrows(() => parseOverride("steps"), UserError, "key=value");
    assertThrows(() => readConfigFile(join(dir, "b.json")), UserError, "no such file");
    Deno.writeTextFileSync(file, "{ steps");
    assertThrows(() => readConfigFile(file), UserError, "a.json");
    assertEquals(configKeys().get("optimizer.beta2"), 0.95);
  }));

Deno.test("docs/training.md has every key with its default, and no other", () => {
  const page = Deno.readTextFileSync(join(ROOT, "docs", "training.md"));
  const rows = [...page.matchAll(/^\| `([\w.]+)` +\| `([^`]*)` +\|/gm)]
    .map(([, key, value]) => [key!, JSON.parse(value!)]);
  assertEquals(Object.fromEntries(rows), Object.fromEntries(configKeys()));
});
