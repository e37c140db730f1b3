import { command } from "../../commands/pipeline_where.ts";
import { parseInvocation } from "../../core/cli.ts";
import { join } from "../../core/std.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { assertMatch } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

Deno.test("pipeline where says how many tokens a retraction and a deletion take out", async () => {
  const corpus = Deno.makeTempDirSync();
  const { signal } = new AbortController();
  try {
    await runPipeline({
      corpus,
      source: join(ROOT, "fixtures", "mirror"),
      tokenizer: join(ROOT, "fixtures", "tokenizer.json"),
      sequenceLength: 256,
      workers: 1,
      signal,
    });
    const where = async (pmid: number) => {
      const reporter = silentReporter();
      const words = ["--corpus", corpus, "--pmid", String(pmid)];
      await command.run(parseInvocation(command, words, reporter, signal));
      return reporter.lines[0]!;
    };
    assertMatch(await where(90000035), /dropped as retracted, which takes 79 tokens out/);
    assertMatch(await where(90002806), /it was deleted, which takes 80 tokens out/);
  } finally {
    Deno.removeSync(corpus, { recursive: true });
  }
});
