import { ROOT_COMMANDS } from "../commands/mod.ts";
import { join } from "../core/std.ts";
import { commands } from "./help_pages.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "./assert.ts";
import { ROOT } from "./shared.ts";

/** Runs the command line in a process of its own. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-read", "--allow-env", join(ROOT, "main.ts"), ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

/** The help page of every command by its words, as a process without a terminal makes it. */
async function helpPages(): Promise<Record<string, string>> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "-A", join(ROOT, "tests", "help_pages.ts")],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("every command says what it does, what its options mean, and shows examples", async () => {
  for await (const { words, entry, command } of commands()) {
    const name = words.join(" ");
    assertEquals(command.name, name);
    assert(entry.summary.length > 5, `${name}: no summary in the list`);
    assert(command.examples.length > 0, `${name}: no examples`);
    for (const example of command.examples) {
      assertStringIncludes(example, ` task ${name}`, `an example of ${name}`);
    }
    for (const [option, spec] of Object.entries(command.options ?? {})) {
      assert(/^[a-z][a-z0-9-]*$/.test(option), `${name}: --${option} is not kebab-case`);
      assert(spec.help.length > 5, `${name}: --${option} has no help`);
    }
  }
});

Deno.test("--help exits 0 and prints the command's page to stdout alone", async () => {
  const pages = await helpPages();
  for (const words of ["doctor", "train", "pipeline run", "evaluate ner", "pipeline documents"]) {
    const { code, stdout, stderr } = await run(...words.split(" "), "--help");
    assertEquals([code, stderr], [0, ""], words);
    assertEquals(stdout.trimEnd(), pages[words]?.trimEnd());
  }
});

Deno.test("the page of every command fits 80 columns where there is no terminal", async () => {
  const pages = await helpPages();
  for await (const { words, command } of commands()) {
    const page = pages[words.join(" ")] ?? "";
    assertStringIncludes(page.replace(/\s+/g, " "), command.summary);
    assertStringIncludes(page, "Examples:\n  deno task ");
    assertStringIncludes(page, "--json");
    const long = page.split("\n").filter((line) => line.length > 80);
    assertEquals(long, [], words.join(" "));
  }
});

Deno.test("alone the program prints its commands; a group without a command exits with 2", async () => {
  const bare = await run();
  assertEquals(bare.code, 0);
  assertStringIncludes(bare.stdout, "Commands:");
  assertEquals((await run("pipeline", "--help")).code, 0);
  const group = await run("pipeline");
  assertEquals(group.code, 2);
  assertStringIncludes(group.stdout, "Commands:");
});

Deno.test("wrong words exit with 2, say which, and suggest what was meant", async () => {
  const group = await run("pipelin");
  assertEquals([group.code, group.stdout], [2, ""]);
  assertStringIncludes(group.stderr, 'Unknown command "pipelin"; did you mean "pipeline"?');
  const option = await run("doctor", "--jsn");
  assertEquals(option.code, 2);
  assertStringIncludes(option.stderr, "did you mean --json?");
  assertStringIncludes(option.stderr, "deno task doctor --help");
});

Deno.test("words that every object has are no commands and no options", async () => {
  for (const word of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
    const root = await run(word);
    const group = await run("pipeline", word);
    assertEquals([root.code, group.code], [2, 2]);
    assertStringIncludes(root.stderr, `Unknown command "${word}"`);
    assertStringIncludes(group.stderr, `Unknown command "pipeline ${word}"`);
    for (const option of [`--${word}`, `--${word}=3`, `--no-${word}`]) {
      const { code, stderr } = await run("doctor", option);
      assertEquals(code, 2, option);
      assertStringIncludes(stderr, "Unknown option --");
    }
  }
});

Deno.test("a negative number is a value; --json answers an error with an object", async () => {
  const negative = await run("train", "--steps", "-3", "--json");
  assertEquals(negative.code, 2);
  assertStringIncludes(negative.stderr, "Option --steps is -3: it must be at least 1");
  assertEquals(JSON.parse(negative.stdout.trim().split("\n").at(-1) ?? ""), {
    error: "Option --steps is -3: it must be at least 1",
  });
});

Deno.test("every command of the command line is a task", () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));
  for (const word of Object.keys(ROOT_COMMANDS.commands)) {
    const task = tasks[word];
    const command: string = task?.command ?? task ?? "";
    // The launcher starts main.ts with the rights that the words need; a benchmark may do anything.
    const start = word === "bench"
      ? "deno -qP=bench --no-lock main.ts bench"
      : `deno -qP=launch scripts/start.ts ${word}`;
    assertEquals(command, start);
  }
});

Deno.test("deno task shows what each task is for, and no permissions", async () => {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const tasks = text.split(/^- /m).slice(1);
  assert(tasks.length > 25, text);
  for (const task of tasks) {
    const [name = "", description = "", command = ""] = task.split("\n");
    assertMatch(description, /^ {4}\/\/ \w/, name);
    assertEquals(/--allow|--deny|\s-A\b(?! tests\/chaos)/.test(command), false, command);
    if (ROOT_COMMANDS.commands[name]) assert(command.length < 60, command);
  }
  // The launcher itself may not write, reach a host, ask about the machine or load a library.
  const { permissions } = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));
  const deny = { deny: true };
  assertEquals(permissions.launch, {
    read: true,
    env: true,
    run: true,
    write: deny,
    net: deny,
    sys: deny,
    ffi: deny,
  });
});
