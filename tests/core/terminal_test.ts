import { formatTable, progressLine } from "../../core/reporter.ts";
import { join } from "../../core/std.ts";
import { hanging, wrap } from "../../core/terminal.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";

const PARTS = ["Training 12,345/100,000 steps", "loss 2.3456, 12,345 tokens/s", "3 h 12 min left"];

Deno.test("a progress line stays shorter than the terminal at every width", () => {
  for (let width = 40; width <= 200; width++) {
    const line = progressLine(PARTS, 0.5, width);
    assert(line.length < width, `${line.length} columns of ${width}: ${line}`);
    assertStringIncludes(line, "3 h 12 min left");
  }
  assertEquals(
    progressLine(["Reading 5/10 files", "1 s left"], 0.5, 80),
    "[============            ] Reading 5/10 files, 1 s left",
  );
  assertEquals(progressLine(["Reading 5"], undefined, 80), "Reading 5");
});

Deno.test("a table's columns of text are wrapped, its numbers never", () => {
  const table = formatTable(["name", "what it is about", "tokens"], [
    ["one", "a sentence that is a good deal longer than what there is room for here", "1,234,567"],
    ["two", "short", "89"],
  ], 50);
  assertEquals(table.split("\n"), [
    "name  what it is about                      tokens",
    "----  ---------------------------------  ---------",
    "one   a sentence that is a good deal     1,234,567",
    "      longer than what there is room",
    "      for here",
    "two   short                                     89",
  ]);
});

Deno.test("words longer than a line have a line of their own", () => {
  assertEquals(wrap("aa bbbbbbbb cc dd", 5), ["aa", "bbbbbbbb", "cc dd"]);
});

/** Runs the program in a pseudo-terminal of so many columns; undefined where `script` is absent. */
async function inTerminal(
  columns: number,
  words: string,
  noColor = false,
): Promise<string | undefined> {
  // The tests' own environment may ask for no colour.
  const program = `env -u NO_COLOR ${
    noColor ? "NO_COLOR=1 " : ""
  }"${Deno.execPath()}" run -A --no-check "${join(ROOT, "main.ts")}" ${words}`;
  try {
    const { stdout } = await new Deno.Command("script", {
      args: ["-qec", `stty cols ${columns} rows 24; ${program}`, "/dev/null"],
    }).output();
    return new TextDecoder().decode(stdout).replaceAll("\r", "");
  } catch {
    return undefined;
  }
}

// deno-lint-ignore no-control-regex
const ESCAPES = /\x1b\[[0-9;]*[a-zA-Z]/g;

Deno.test("help takes a real terminal's width and colours, and no colour with NO_COLOR", async () => {
  const narrow = await inTerminal(60, "train --help");
  if (narrow === undefined) return;
  assertStringIncludes(narrow, "\x1b[1mOptions:");
  const widest = Math.max(
    ...narrow.replaceAll(ESCAPES, "").split("\n").map((line) => line.length),
  );
  assert(widest <= 60 && widest > 50, `the widest line has ${widest} columns`);
  const plain = await inTerminal(60, "train --help", true);
  // Deno clears its own line when it starts; nothing else is an escape.
  assert(!(plain ?? "").includes("\x1b[1m"), "colour in spite of NO_COLOR");
  assertEquals(plain?.replaceAll(ESCAPES, ""), narrow.replaceAll(ESCAPES, ""));
});

Deno.test("formatTable() breaks words that are longer than their cell, and loses nothing", () => {
  const path = "/some/where/" + "deep/".repeat(20) + "corpus";
  const lines = formatTable(["", "a", "b"], [["corpus", path, path], ["steps", "1", "2"]], 80)
    .split("\n");
  for (const line of lines) assert(line.length <= 80, line);
  const second = lines.slice(2, -1).map((line) => line.slice(8).trim().split(/\s+/));
  assertEquals(second.map(([a]) => a).join(""), path);
  assertEquals(second.map(([, b]) => b).join(""), path);
});

Deno.test("text behind a label goes on under its beginning, and is one line without a terminal", () => {
  const text = "buffers up to 2.1 GB, 134 MB bound at once";
  assertEquals(
    hanging("Limits  ", text, 30),
    "Limits  buffers up to 2.1 GB,\n        134 MB bound at once",
  );
  assertEquals(hanging("Limits  ", text, Infinity), `Limits  ${text}`);
});
