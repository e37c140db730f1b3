import { join } from "../../core/std.ts";
import { assertEquals, assertMatch } from "../assert.ts";
import { ROOT } from "../shared.ts";

Deno.test("Dawn's compiler accepts every program of a step as a large GPU would run it", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--no-lock", "--cached-only", "--allow-all"],
      join(ROOT, "tests/model/dawn_step_programs.ts"),
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout), errors = new TextDecoder().decode(stderr);
  if (code === 1 && /--cached-only/.test(errors)) {
    await Deno.stderr.write(new TextEncoder().encode("skipped: no Dawn\n"));
    return;
  }
  assertEquals(code, 0, errors);
  assertMatch(text, /^\d{3} programs\n$/);
});
