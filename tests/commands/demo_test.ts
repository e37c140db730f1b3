import { join } from "../../core/std.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { runTask } from "../shared.ts";

const demo = (...words: string[]) => runTask(["demo", ...words]);

Deno.test("the demo refuses a folder that holds something else, and touches nothing", async () => {
  const folder = await Deno.makeTempDir();
  const file = join(folder, "thesis.txt");
  try {
    await Deno.writeTextFile(file, "years of work");
    const { code, stderr } = await demo("--out", folder);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "name a folder that is empty");
    assertEquals(await Deno.readTextFile(file), "years of work");
    assertEquals([...Deno.readDirSync(folder)].length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a short demo goes the whole way and says so in its result, table and report", async () => {
  const folder = await Deno.makeTempDir();
  const out = join(folder, "out");
  try {
    const { code, stdout, stderr } = await demo("--out", out, "--steps", "40", "--json");
    assertEquals(code, 0, stderr);
    const result = JSON.parse(stdout.trim().split("\n").at(-1)!);
    assertEquals(result.pipeline.files, 5);
    assertEquals(result.training.step, 40);
    assertEquals(result.answers.asked, 40);
    assert(result.factor > 5, `perplexity fell ${result.factor} times`);
    assertStringIncludes(stdout, "held-out perplexity");
    assertStringIncludes(stdout, "deno task doctor");
    const html = await Deno.readTextFile(join(out, "report.html"));
    assertStringIncludes(html, "What the model wrote");
    assertStringIncludes(html, '"step":[1,2,3,');
    for (
      const file of ["corpus/shards/manifest.json", "run/metrics.jsonl", "initial/config.json"]
    ) {
      assert(Deno.statSync(join(out, file)).isFile, file);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
