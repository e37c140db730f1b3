import { UserError } from "../../../core/errors.ts";
import { configFile, recipeNames } from "../../../model/training/recipes.ts";
import { scheduleFactor } from "../../../model/training/schedule.ts";
import { totalSteps } from "../../../model/training/schedule.ts";
import { readConfigFile, resolveConfig } from "../../../model/training/configuration.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";

Deno.test("every recipe resolves, with the published values", () => {
  const recipes = new Map(
    recipeNames().map((name) => {
      const file = configFile(name);
      return [name, resolveConfig(readConfigFile(file), file)];
    }),
  );
  const v1 = recipes.get("biomamba-v1")!;
  const v3 = recipes.get("biomamba-v3")!;
  assertEquals(v1.batch.rows * v1.batch.accumulate, 32);
  assertEquals([v1.optimizer.learning_rate, v1.schedule.kind], [2.93e-5, "linear"]);
  assert(totalSteps(v1, 512) > 5e5);
  assertEquals(v3.batch.rows * v3.batch.accumulate, 256);
  const { layer_decay, embedding_full_rate, decay_all } = v3.optimizer;
  assertEquals([layer_decay, embedding_full_rate, decay_all], [0.9, true, true]);
  const factor = (step: number) => scheduleFactor(v3.schedule, step, v3.steps);
  assertEquals([factor(300), factor(600), factor(4500)], [0.5, 1, 1]);
  assertAlmostEquals(factor(6000), 0.1, 1e-12);
  assert(factor(5250) < 0.6 && factor(5250) > 0.5);
  assertThrows(() => configFile("biomamba-v9"), UserError, "the recipes are demo");
});

Deno.test("every value of a recipe has a comment", () => {
  for (const name of recipeNames()) {
    for (const line of Deno.readTextFileSync(configFile(name)).split("\n")) {
      if (/^\s*"\w+": [^{]/.test(line)) assert(/ \/\/ \S/.test(line), `${name}: ${line}`);
      assert(!/\{ "/.test(line), `${name} has several values in a line: ${line}`);
    }
  }
});
