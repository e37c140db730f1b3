import plugin from "../../scripts/lint_plugin.ts";
import { join } from "../../core/std.ts";
import { assertEquals } from "../assert.ts";
import { ROOT } from "../shared.ts";

/** The rules that refuse a piece of code, one entry per place. */
const refusals = (code: string, file = "code.ts") =>
  Deno.lint.runPlugin(plugin, file, code).map(({ id }) => id.replace("pubmamba/", ""));

Deno.test("a statement declares one variable, but for the counters of a loop", () => {
  assertEquals(refusals("const a = 1, b = 2;"), ["one-declaration"]);
  assertEquals(refusals("let a, b;"), ["one-declaration"]);
  assertEquals(refusals("const a = 1;\nconst [b, c] = [2, 3];"), []);
  assertEquals(refusals("for (let i = 0, n = 9; i < n; i++) i;"), []);
});

Deno.test("two expressions are two statements, but for the steps of a loop", () => {
  assertEquals(refusals("f(), g();"), ["no-comma-expression"]);
  assertEquals(refusals("const h = () => (f(), g());"), ["no-comma-expression"]);
  assertEquals(refusals("for (;; i++, j++) f(i, j);"), []);
});

Deno.test("literals are not spread, other values are", () => {
  assertEquals(refusals("const a = { ...{ b, c } };"), ["no-spread-literal"]);
  assertEquals(refusals("f(...[1, 2]);"), ["no-spread-literal"]);
  assertEquals(refusals("const a = { ...b, ...(c ? { d } : {}) };"), []);
});

Deno.test("the rooms that check what they read assert nothing, tests may", () => {
  assertEquals(refusals("const a = b!;", join(ROOT, "commands/a.ts")), ["no-non-null-assertion"]);
  assertEquals(refusals("const a = b[0]!.c;", join(ROOT, "pipeline/ingest/a.ts")), [
    "no-non-null-assertion",
  ]);
  assertEquals(refusals("const a = b ?? fail('no b');", join(ROOT, "commands/a.ts")), []);
  assertEquals(refusals("const a = b[i]!;", join(ROOT, "tests/a.ts")), []);
});
