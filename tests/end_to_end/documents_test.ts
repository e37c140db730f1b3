import { gunzipSync } from "node:zlib";
import type { ExpectedDocument } from "../../fixtures/citation.ts";
import { join } from "../../core/std.ts";
import { assert, assertEquals } from "../assert.ts";
import { ROOT, runTask } from "../shared.ts";

/** Runs a command as a user does, with the permissions of its task; returns its stdout. */
async function task(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await runTask(words);
  assertEquals(code, 0, stderr);
  return stdout;
}

Deno.test("pipeline documents equals what the fixtures' program knows of every live citation", async () => {
  const bytes = gunzipSync(Deno.readFileSync(join(ROOT, "fixtures/expected.jsonl.gz")));
  const parse = (text: string) => text.trim().split("\n").map((line) => JSON.parse(line));
  const expected: ExpectedDocument[] = parse(new TextDecoder().decode(bytes));
  const folder = await Deno.makeTempDir();
  try {
    const corpus = join(folder, "corpus");
    const source = join(ROOT, "fixtures/mirror");
    await task("pipeline", "run", "--source", source, "--corpus", corpus, "--quiet");
    const found = parse(await task("pipeline", "documents", "--corpus", corpus));
    assertEquals(found.length, expected.length);
    for (const [i, want] of expected.entries()) {
      const got = found[i];
      for (const key of Object.keys(want) as (keyof ExpectedDocument)[]) {
        assertEquals(got[key], want[key], `${key} of PMID ${want.pmid}`);
      }
      assert(got.date === "" || /^\d{4}/.test(got.date), `date ${got.date} of PMID ${want.pmid}`);
    }
    const one = await task("pipeline", "documents", "--corpus", corpus, "--pmid", "90000001");
    assertEquals(parse(one), [found[0]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
