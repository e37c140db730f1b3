import { join } from "../../core/std.ts";
import { LONG_FILES, orderTests, readOutcome, readWords, sideBySide } from "../../scripts/test.ts";
import { assert, assertEquals } from "../assert.ts";
import { ROOT } from "../shared.ts";

Deno.test("the test runner counts, and counts a process that died", () => {
  const summary = "\n\x1b[32mok\x1b[0m | 12 passed (3 steps) | 0 failed | 2 ignored (5s)\n";
  assertEquals(readOutcome(summary, true), { passed: 12, failed: 0 });
  assertEquals(readOutcome("FAILED | 3 passed | 2 failed (1s)\n", false), { passed: 3, failed: 2 });
  assertEquals(readOutcome("LLVM ERROR: aborted\n", false), { passed: 0, failed: 1 });
});

Deno.test("the test runner starts long files first, and knows only files that are there", () => {
  const long = Object.keys(LONG_FILES);
  for (const file of long) assert(Deno.statSync(join(ROOT, file)).isFile, file);
  const ordered = orderTests(["tests/z_test.ts", "tests/a_test.ts", ...long.toReversed()]);
  assertEquals(ordered.slice(-2), ["tests/a_test.ts", "tests/z_test.ts"]);
  const seconds = ordered.slice(0, -2).map((file) => LONG_FILES[file] ?? 0);
  assertEquals(seconds, Object.values(LONG_FILES).toSorted((a, b) => b - a));
});

Deno.test("the test runner takes words, and as many processes as it is told", () => {
  assertEquals(readWords(["core", "xml"], 2), { words: ["core", "xml"], processes: 3 });
  assertEquals(readWords([], 64), { words: [], processes: 8 });
  assertEquals(readWords(["--processes", "5", "core"], 2), { words: ["core"], processes: 5 });
  assertEquals(readWords(["core", "--processes=1"], 2), { words: ["core"], processes: 1 });
  for (const wrong of [["--processes"], ["--processes", "many"], ["--processes=0"]]) {
    assertEquals(readWords(wrong, 2), undefined);
  }
});

Deno.test("the test runner keeps as many files running as it may, and results in order", async () => {
  const started: number[] = [];
  const ends = new Map<number, () => void>();
  const all = sideBySide([10, 11, 12, 13], 2, async (item) => {
    started.push(item);
    await new Promise<void>((resolve) => ends.set(item, resolve));
    return -item;
  });
  const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
  await turn();
  assertEquals(started, [10, 11]);
  ends.get(11)?.();
  await turn();
  assertEquals(started, [10, 11, 12]);
  ends.get(12)?.();
  await turn();
  ends.get(13)?.();
  ends.get(10)?.();
  assertEquals(await all, [-10, -11, -12, -13]);
});
