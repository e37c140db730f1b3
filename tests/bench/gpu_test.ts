import { join } from "../../core/std.ts";
import { benchGpu } from "../../bench/gpu.ts";
import { runSections } from "../../bench/gpu_process.ts";
import { command } from "../../commands/bench.ts";
import { parseInvocation } from "../../core/cli.ts";
import { assert, assertEquals } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";

Deno.test("bench gpu runs every section of both providers, and writes what it prints", async () => {
  const folder = Deno.makeTempDirSync();
  const file = join(folder, "figures.json");
  try {
    const reporter = silentReporter();
    const words = ["gpu", "--output", file];
    const invocation = parseInvocation(command, words, reporter, new AbortController().signal);
    const figures = await benchGpu(invocation);
    assertEquals(reporter.lines.filter((line) => line.startsWith("failed")), []);
    assert(reporter.lines.some((line) => /^\d+ of \d+ kernels right$/.test(line)));
    const written = JSON.parse(Deno.readTextFileSync(file));
    assertEquals(Object.keys(written).sort(), Object.keys(figures).sort());
    const { deno, dawn } = written.providers;
    assert(deno.generation_at_batch_1.tokens_per_second > 0);
    assert(deno.scan.copy_gigabytes_per_second > 0);
    for (const { of_copy, milliseconds } of deno.scan.scans) {
      assert(of_copy > 0 && milliseconds > 0);
    }
    assert(deno.kernels.length > 10 && deno.peak_device_bytes > 1e6);
    for (const { kind, tflops, gain } of deno.products_f32) {
      assertEquals(kind, "f32");
      assert(tflops > 0 && gain >= 1);
    }
    // Dawn is not everywhere, and refuses old CPU drivers: then it is said why, and the rest stands.
    assert(dawn.error ?? dawn.products_f32.length > 0);
    if (dawn.error) assert(reporter.lines.includes(`left out: ${dawn.error}`));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("a section that ends its process or hangs is reported, and the rest goes on", async () => {
  const reporter = silentReporter();
  const seen: string[][] = [];
  const figures = await runSections({
    provider: "deno",
    variant: undefined,
    seconds: 60,
    grace: 5,
    sectionSeconds: 3,
    reporter,
    signal: new AbortController().signal,
    program: new URL("./sections_program.ts", import.meta.url),
  }, (figures) => seen.push(Object.keys(figures).sort()));
  const { first, dying, hanging, last, ...rest } = figures as Record<string, { error?: string }>;
  assertEquals([dying!.error, hanging!.error], [
    "the driver ended the process by SIGKILL",
    "it took longer than 3 s",
  ]);
  assertEquals([first!.error, last!.error, rest], [undefined, undefined, { peak_device_bytes: 7 }]);
  assertEquals(seen.at(-1), ["dying", "first", "hanging", "last", "peak_device_bytes"]);
  assertEquals(reporter.lines.filter((line) => line.startsWith("left out")).length, 2);
});

Deno.test("a second call keeps what is known, and measures only what is missing or failed", async () => {
  const reporter = silentReporter();
  const figures = await runSections({
    provider: "deno",
    variant: undefined,
    seconds: 60,
    grace: 5,
    sectionSeconds: 3,
    reporter,
    signal: new AbortController().signal,
    known: { first: { known: 1 }, last: { error: "the time is up" }, dying: 1, hanging: 2 },
    program: new URL("./sections_program.ts", import.meta.url),
  }, () => {});
  const { first, last, dying, hanging } = figures as Record<string, { error?: string }>;
  assertEquals([first, dying, hanging], [{ known: 1 }, 1, 2] as unknown[]);
  assertEquals([typeof last, last?.error], ["object", undefined]);
});
