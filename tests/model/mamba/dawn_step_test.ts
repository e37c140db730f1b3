import { assertMatch } from "../../assert.ts";
import { runWithDawn } from "../../dawn.ts";

Deno.test("Dawn's compiler accepts every program of a step as a large GPU would run it", async () => {
  const text = await runWithDawn("model/mamba/dawn_step_programs.ts");
  if (text !== undefined) assertMatch(text, /^\d{3} programs\n$/);
});
