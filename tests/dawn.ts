/** What tests ask of Dawn's compiler, in a process of its own. @module */
import { assertEquals } from "./assert.ts";
import { join } from "../core/std.ts";
import { ROOT } from "./shared.ts";

/** Runs a script of tests/ that needs Dawn; what it prints, or undefined (and said) where Dawn is not. */
export async function runWithDawn(script: string): Promise<string | undefined> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-lock",
      "--cached-only",
      "--allow-all",
      join(ROOT, "tests", script),
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  const errors = new TextDecoder().decode(stderr);
  if (code === 1 && /--cached-only/.test(errors)) {
    await Deno.stderr.write(new TextEncoder().encode("skipped: no Dawn\n"));
    return undefined;
  }
  assertEquals(code, 0, errors);
  return text;
}
