import { dirname, join, relative } from "../core/std.ts";
import { assert, assertEquals } from "./assert.ts";
import { ROOT } from "./shared.ts";

/** What each room may import, as path prefixes; its own files are always allowed. */
const ALLOWED: Record<string, string[]> = {
  "core/": [],
  "kernels/": [],
  "pipeline/": ["core/"],
  "model/": ["core/", "kernels/", "pipeline/tokens/", "pipeline/tokenizer/"],
  "commands/": ["core/", "kernels/", "model/", "pipeline/", "bench/"],
  "bench/": ["core/", "kernels/", "model/", "pipeline/"],
  "fixtures/": ["core/", "pipeline/tokenizer/"],
  "scripts/": ["core/", "kernels/", "commands/permissions.ts"],
  "main.ts": ["core/", "commands/mod.ts"],
  "mod.ts": ["core/", "kernels/", "model/", "pipeline/"],
};

interface SourceFile {
  path: string;
  text: string;
}

function* walk(folder: string): Generator<SourceFile> {
  for (const entry of Deno.readDirSync(join(ROOT, folder))) {
    const path = folder ? `${folder}/${entry.name}` : entry.name;
    if (/^(\.git|node_modules|demo-output|\.cache|\.offline)$/.test(entry.name)) continue;
    if (entry.isDirectory) yield* walk(path);
    else if (/\.(ts|js|json|jsonc|md|wgsl|svg|html|css)$/.test(path) || path === ".ci/run") {
      yield { path, text: Deno.readTextFileSync(join(ROOT, path)) };
    }
  }
}

const files = [...walk("")], sources = files.filter((f) => f.path.endsWith(".ts"));

/** Every module that `file` names: static and dynamic imports, exports, and worker files. */
function imports({ path, text }: SourceFile): { name: string; local: boolean }[] {
  const code = text.replace(/\/\*[^]*?\*\//g, "");
  const pattern = new RegExp(
    [
      /^\s*(?:import|export)\b[^;"'`]*?\bfrom\s*"([^"]+)"/,
      /^\s*import\s*"([^"]+)"/,
      /\bimport\(\s*"([^"]+)"/,
      /\bnew URL\(\s*"([^"]+\.ts)",\s*import\.meta\.url/,
    ].map((r) => r.source).join("|"),
    "gm",
  );
  return [...code.matchAll(pattern)].map((m) => m.slice(1).find((x) => x !== undefined)!)
    .map((name) => {
      if (!name.startsWith(".")) return { name, local: false };
      const file = relative(ROOT, join(ROOT, dirname(path), name)).replaceAll("\\", "/");
      return { name: file, local: true };
    });
}

const roomOf = (path: string) => Object.keys(ALLOWED).find((room) => path.startsWith(room));

Deno.test("imports point one way: from the commands to the rooms, never back or across", () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const file of sources) {
    const room = roomOf(file.path);
    if (!room) continue;
    for (const { name, local } of imports(file)) {
      seen++;
      if (!local || name.startsWith(room) || name === "deno.json") continue;
      if (!ALLOWED[room]!.some((prefix) => name.startsWith(prefix))) {
        wrong.push(`${file.path} imports ${name}`);
      }
    }
  }
  assertEquals(wrong, []);
  assert(seen > 30, `only ${seen} imports were seen`);
});

Deno.test("every source file belongs to a room that the direction of imports knows", () => {
  const homeless = sources.map((f) => f.path)
    .filter((path) => !roomOf(path) && !path.startsWith("tests/"));
  assertEquals(homeless, []);
});

Deno.test("packages come through deno.json, pinned", () => {
  const config = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));
  for (const [name, target] of Object.entries<string>(config.imports)) {
    assert(/^(npm|jsr):.+@\d+\.\d+\.\d+(\/.*)?$/.test(target), `${name}: ${target} is not pinned`);
  }
  const known = Object.keys(config.imports), wrong: string[] = [];
  for (const file of sources) {
    for (const { name, local } of imports(file)) {
      if (local || name.startsWith("node:")) continue;
      if (!known.some((k) => name === k || name.startsWith(k + "/"))) {
        wrong.push(`${file.path} imports ${name}`);
      }
    }
  }
  assertEquals(wrong, []);
});

Deno.test("only the reporter and the command line print", () => {
  const printing = sources.filter((f) => /\bconsole\s*\.\s*\w+\(/.test(f.text))
    .map((f) => f.path);
  assertEquals(printing.filter((p) => !["main.ts", "core/reporter.ts"].includes(p)), []);
});

Deno.test("no file names a place on somebody's machine", () => {
  const place = new RegExp(
    [String.raw`(?<![\w.])/(work|home|root|Users|mnt)/[\w.]`, String.raw`[A-Z]:\\Users`].join("|"),
  );
  const wrong = files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, i) => place.test(line) ? [`${path}:${i + 1}: ${line}`] : [])
  ).filter((line) => !line.startsWith("tests/architecture_test.ts"));
  assertEquals(wrong, []);
});

Deno.test("every link between the documents leads somewhere", () => {
  const broken: string[] = [];
  for (const { path, text } of files.filter((f) => f.path.endsWith(".md"))) {
    for (const [, target] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      try {
        Deno.statSync(join(ROOT, dirname(path), target!));
      } catch {
        broken.push(`${path}: ${target}`);
      }
    }
  }
  assertEquals(broken, []);
});
