import { rateOfWidth, withHeadRates } from "../../../model/tasks/core/rates.ts";
import { assert, assertEquals } from "../../assert.ts";

Deno.test("learning rates of heads fall with the width, and given ones stay", () => {
  assert(rateOfWidth(64) > 1e-3 && rateOfWidth(64) < 5e-3);
  assert(rateOfWidth(768) > 4e-5 && rateOfWidth(768) < 1e-4);
  assert(rateOfWidth(256) < rateOfWidth(64) && rateOfWidth(256) > rateOfWidth(768));
  const ofModel = (config: Record<string, unknown>, width: number) =>
    withHeadRates(config, width, { learningRate: 1e-3 }).optimizer;
  // A head learns no slower than what is below it, nor than its own least.
  assertEquals(ofModel({}, 768), { learning_rate: rateOfWidth(768), head_learning_rate: 1e-3 });
  assertEquals(ofModel({}, 64), {
    learning_rate: rateOfWidth(64),
    head_learning_rate: rateOfWidth(64),
  });
  assertEquals(
    ofModel({ optimizer: { learning_rate: 1e-5, head_learning_rate: 0, freeze: "x" } }, 64),
    { learning_rate: 1e-5, head_learning_rate: 0, freeze: "x" },
  );
  assertEquals(withHeadRates({ precision: "f32" }, 64, { learningRate: 0 }).precision, "f32");
  const own = withHeadRates({}, 64, { learningRate: 1e-3, rateAtWidth64: 3e-3 }).optimizer;
  assertEquals(own, { learning_rate: 3e-3, head_learning_rate: 3e-3 });
  // A task's cap holds for narrow models, and wide ones learn more slowly anyway.
  const capped = (width: number) =>
    withHeadRates({}, width, { learningRate: 3e-4, mostRate: 3e-4 }).optimizer;
  assertEquals(capped(64), { learning_rate: 3e-4, head_learning_rate: 3e-4 });
  assertEquals(capped(768), { learning_rate: rateOfWidth(768), head_learning_rate: 3e-4 });
});
