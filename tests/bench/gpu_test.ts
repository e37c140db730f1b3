import { join } from "../../core/std.ts";
import { benchGpu } from "../../bench/gpu.ts";
import { command } from "../../commands/bench.ts";
import { parseInvocation } from "../../core/cli.ts";
import { assert, assertEquals } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";

Deno.test("bench gpu runs every section, and writes what it prints", async () => {
  const folder = Deno.makeTempDirSync(), file = join(folder, "figures.json");
  try {
    const reporter = silentReporter();
    const words = ["gpu", "--output", file];
    const invocation = parseInvocation(command, words, reporter, new AbortController().signal);
    const figures = await benchGpu(invocation);
    assertEquals(reporter.lines.filter((line) => line.startsWith("failed")), []);
    assert(reporter.lines.some((line) => /^\d+ of \d+ kernels right$/.test(line)));
    const written = JSON.parse(Deno.readTextFileSync(file));
    assertEquals(Object.keys(written), Object.keys(figures));
    assert(written.generation_at_batch_1.tokens_per_second > 0);
    assert(written.kernels.length > 10 && written.peak_device_bytes > 1e6);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
