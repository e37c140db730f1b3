import { join } from "../../core/std.ts";
import { referencePage } from "../../scripts/reference.ts";
import { assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";

/** Markdown without what its formatter changes: line breaks and spaces. */
const plain = (text: string) => text.replace(/\s+/g, " ").trim();

Deno.test("docs/reference.md is what the commands say; deno task reference writes it", async () => {
  const page = Deno.readTextFileSync(join(ROOT, "docs/reference.md"));
  assertEquals(plain(page), plain(await referencePage()));
});

Deno.test("the README leads to the reference and the tutorial", () => {
  const readme = Deno.readTextFileSync(join(ROOT, "README.md"));
  assertStringIncludes(readme, "(docs/reference.md)");
  assertStringIncludes(readme, "(docs/tutorial.md)");
});
