/** The examples in the doors that deno.json exports, run as they are written. */
import { join, toFileUrl } from "../../core/std.ts";
import { assert, assertEquals } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

const PROJECT = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json"))) as {
  exports: Record<string, string>;
  imports: Record<string, string>;
};
const DOORS = Object.entries(PROJECT.exports).filter(([name]) => name !== "./main");

/** The first example in a module's text. */
function exampleOf(file: string): string {
  const source = Deno.readTextFileSync(join(ROOT, file));
  const example = /```ts\n([^]*?) \* ```/.exec(source)?.[1];
  if (example === undefined) throw new Error(`${file} has no example`);
  return example.replace(/^ \* ?/gm, "");
}

/** A folder as a program's that has pubmamba among its imports, with a mirror and a tokenizer. */
function prepare(dir: string): void {
  const doors = DOORS.map(([name, file]): [string, string] => [
    `pubmamba${name.slice(1)}`,
    toFileUrl(join(ROOT, file)).href,
  ]);
  const imports = { ...PROJECT.imports, ...Object.fromEntries(doors) };
  const config = { nodeModulesDir: "none", imports };
  Deno.writeTextFileSync(join(dir, "deno.json"), JSON.stringify(config));
  Deno.copyFileSync(join(ROOT, "fixtures", "tokenizer.json"), join(dir, "tokenizer.json"));
  Deno.mkdirSync(join(dir, "mirror", "baseline"), { recursive: true });
  for (const name of ["pubmed26n0001.xml.gz", "pubmed26n0001.xml.gz.md5"]) {
    const file = join("mirror", "baseline", name);
    Deno.copyFileSync(join(ROOT, "fixtures", file), join(dir, file));
  }
}

/** Runs Deno in a folder, which has to succeed. Returns what it writes. */
async function deno(dir: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: dir })
    .output();
  assertEquals(code, 0, `${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Runs an example, whose types another test checks. Returns what it writes. */
function runExample(dir: string, file: string): Promise<string> {
  Deno.writeTextFileSync(join(dir, "example.ts"), exampleOf(file));
  return deno(dir, "run", "-A", "--no-check", "--no-lock", "example.ts");
}

Deno.test("the types of all doors' examples are right", () =>
  withFolder(async (dir) => {
    prepare(dir);
    const names = DOORS.map(([, file], i) => {
      const name = `example${i}.ts`;
      Deno.writeTextFileSync(join(dir, name), exampleOf(file));
      return name;
    });
    assertEquals(names.length, 5);
    await deno(dir, "check", "--no-lock", ...names);
  }));

Deno.test("the example of mod.ts goes the whole way as it is written", () =>
  withFolder(async (dir) => {
    prepare(dir);
    const written = await runExample(dir, "mod.ts");
    assert(written.trim().length > 0, "it writes");
    assert(Deno.statSync(join(dir, "model", "model.safetensors")).isFile);
  }));

Deno.test("the examples of the rooms' doors run as they are written, one after the other", () =>
  withFolder(async (dir) => {
    prepare(dir);
    for (const door of ["./pipeline", "./model", "./tasks", "./kernels"]) {
      const file = PROJECT.exports[door];
      assert(file !== undefined, `deno.json exports no ${door}`);
      await runExample(dir, file);
    }
    assert(Deno.statSync(join(dir, "model", "model.safetensors")).isFile);
  }));

Deno.test("the doors give what the whole way needs, each under one name", async () => {
  const whole = Object.keys(await import("../../mod.ts"));
  const rooms = await Promise.all(
    DOORS.filter(([name]) => name !== ".").map(([, file]) =>
      import(toFileUrl(join(ROOT, file)).href) as Promise<Record<string, unknown>>
    ),
  );
  const all = rooms.flatMap((room) => Object.keys(room));
  assertEquals([...new Set(all)].sort(), [...all].sort(), "no name stands for two things");
  const core = ["Interrupted", "UserError", "consoleReporter"];
  assertEquals(whole.filter((name) => !all.includes(name)).sort(), core);
});
