/** The installed command, its completion in real shells, and help by topic. @module */
import { commandTable } from "../../commands/command_table.ts";
import { bashScript, fishScript, zshScript } from "../../commands/completion.ts";
import { ROOT_COMMANDS } from "../../commands/mod.ts";
import { asCalled } from "../../core/called.ts";
import { join } from "../../core/std.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(
  program: string,
  args: string[],
  options: Deno.CommandOptions = {},
): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, ...options }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("messages name the program as it was called", () => {
  const text = "run: deno task setup, then deno task pipeline run";
  assertEquals(asCalled(text, "deno task"), text);
  assertEquals(asCalled(text, "pubmamba"), "run: deno task setup, then pubmamba pipeline run");
});

Deno.test("the README's line installs pubmamba, which runs each command with its own rights", () =>
  withFolder(async (folder) => {
    const readme = Deno.readTextFileSync(join(ROOT, "README.md"));
    const line = /^deno (install --global .*)$/m.exec(readme)?.[1] ?? "";
    assert(line !== "", "the README has no line that installs");
    const env = { DENO_INSTALL_ROOT: folder, NO_COLOR: "1" };
    const installed = await run(Deno.execPath(), line.split(" "), { cwd: ROOT, env });
    assertEquals(installed.code, 0, installed.stderr);
    const path = `${Deno.execPath().replace(/\/[^/]+$/, "")}:${Deno.env.get("PATH")}`;
    const here = { cwd: folder, env: { NO_COLOR: "1", PATH: path } };
    const pubmamba = (...words: string[]) => run(join(folder, "bin/pubmamba"), words, here);
    const typo = await pubmamba("trian");
    assertEquals(typo.code, 2);
    assertEquals(
      typo.stderr,
      'Unknown command "trian"; did you mean "train"?\nSee: pubmamba --help\n',
    );
    const status = await pubmamba("pipeline", "status", "--help");
    assertStringIncludes(status.stdout, "Usage: pubmamba pipeline status --corpus DIR");
    const topics = await pubmamba("help", "topics");
    for (const { name } of Deno.readDirSync(join(ROOT, "docs"))) {
      if (name.endsWith(".md")) assertStringIncludes(topics.stdout, name.slice(0, -3));
    }
    const page = await pubmamba("help", "training");
    assertEquals(page.stdout, Deno.readTextFileSync(join(ROOT, "docs/training.md")));
    assertStringIncludes((await pubmamba("help", "trainin")).stderr, 'did you mean "training"?');
    const own = await pubmamba("help", "pipeline", "run");
    assertStringIncludes(own.stdout, "pubmamba pipeline run --source mirror");
    // A command has no right beyond what its words name: the folder is not among them.
    Deno.writeTextFileSync(join(folder, "secret.txt"), "x");
    const locate = await pubmamba("pipeline", "status", "--corpus", "nowhere");
    assertStringIncludes(locate.stderr, "Cannot find a corpus in nowhere");
  }));

Deno.test("bash completes commands, options and the values that options choose from", () =>
  withFolder(async (folder) => {
    const script = join(folder, "completion");
    const table = await commandTable(ROOT_COMMANDS);
    Deno.writeTextFileSync(script, bashScript(table));
    const complete = async (...words: string[]) => {
      const list = words.map((w) => `'${w}'`).join(" ");
      const program = `source ${script}; COMP_WORDS=(pubmamba ${list}); ` +
        `COMP_CWORD=${words.length}; _pubmamba; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = await run("bash", ["-c", program]);
      assertEquals(stderr, "");
      return stdout.trim().split("\n").filter(Boolean);
    };
    assertEquals(await complete("trai"), ["train"]);
    assertEquals(await complete("pipeline", "re"), ["refresh", "report"]);
    assertEquals(await complete("pipeline", "run", "--val"), ["--validation"]);
    assertEquals(await complete("train", "--schedule", ""), [
      "constant",
      "linear",
      "cosine",
      "wsd",
    ]);
    assertEquals(
      await complete("train", "--corpus", ""),
      [],
      "files, which the shell itself knows",
    );
    assert((await complete("")).length >= Object.keys(ROOT_COMMANDS.commands).length);
    const { code, stderr } = await run("bash", ["-n", script]);
    assertEquals([code, stderr], [0, ""]);
  }));

Deno.test("the scripts for zsh and fish have every command, and are read where the shell is", () =>
  withFolder(async (folder) => {
    const table = await commandTable(ROOT_COMMANDS);
    for (
      const [shell, script] of [["zsh", zshScript(table)], ["fish", fishScript(table)]] as const
    ) {
      for (const { words } of table) assertStringIncludes(script, words.at(-1) ?? "");
      const path = join(folder, shell);
      Deno.writeTextFileSync(path, script);
      try {
        const { code, stderr } = await run(shell, ["-n", path]);
        assertEquals([code, stderr], [0, ""]);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error; // that shell is not installed
      }
    }
  }));
