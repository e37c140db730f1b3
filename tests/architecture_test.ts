import { dirname, join, relative } from "../core/std.ts";
import { assert, assertEquals } from "./assert.ts";
import { ROOT } from "./shared.ts";

/** What each room may import, as path prefixes; its own files are always allowed. */
const ALLOWED: Record<string, string[]> = {
  "core/": [],
  "kernels/": [],
  "pipeline/": ["core/"],
  "model/": [
    "core/",
    "kernels/",
    "pipeline/facets/",
    "pipeline/selection/",
    "pipeline/shards/",
    "pipeline/texts/",
    "pipeline/tokenizer/",
  ],
  "commands/": ["core/", "kernels/", "model/", "pipeline/", "bench/"],
  "bench/": ["core/", "kernels/", "model/", "pipeline/"],
  "fixtures/": ["core/", "pipeline/tokenizer/"],
  "scripts/": [
    "core/",
    "kernels/",
    "commands/command_table.ts",
    "commands/mod.ts",
    "commands/permissions.ts",
  ],
  "main.ts": ["core/", "commands/mod.ts"],
  "mod.ts": ["core/", "kernels/", "model/", "pipeline/"],
};

/**
 * What each sub-room may import of its own room's others, and of other rooms where that is less than
 * the whole room may. Files that lie in `pipeline/` itself tie its sub-rooms together.
 */
const SUB_ROOMS: Record<string, string[]> = {
  "model/mamba/": ["core/", "kernels/"],
  "model/statistics/": ["model/mamba/"],
  "model/weights/": ["core/", "model/mamba/", "pipeline/tokenizer/"],
  "model/training/": [
    "core/",
    "kernels/",
    "model/mamba/",
    "model/statistics/",
    "model/weights/",
    "pipeline/selection/",
    "pipeline/shards/",
    "pipeline/tokenizer/",
  ],
  "model/tasks/": [
    "core/",
    "kernels/",
    "model/mamba/",
    "model/report/",
    "model/statistics/",
    "model/weights/",
    "model/training/",
    "pipeline/facets/",
    "pipeline/selection/",
    "pipeline/shards/",
    "pipeline/texts/",
    "pipeline/tokenizer/",
  ],
  "model/report/": ["core/", "model/training/"],
  "model/compare/": ["core/", "model/report/", "model/statistics/", "model/training/"],
  "model/watch/": ["core/", "model/report/", "model/training/"],
  "model/goldens/": ["core/", "kernels/", "model/mamba/"],
  "pipeline/xml/": [],
  "pipeline/citation/": ["core/", "pipeline/xml/"],
  "pipeline/catalogue/": ["core/"],
  "pipeline/source/": ["core/"],
  "pipeline/tokenizer/": ["core/"],
  "pipeline/documents/": [
    "core/",
    "pipeline/catalogue/",
    "pipeline/citation/",
    "pipeline/corpus_paths.ts",
  ],
  "pipeline/facets/": [
    "core/",
    "pipeline/corpus_paths.ts",
    "pipeline/documents/",
    "pipeline/xml/",
  ],
  "pipeline/shards/": [
    "core/",
    "pipeline/corpus_paths.ts",
    "pipeline/documents/",
    "pipeline/recorded_files.ts",
    "pipeline/tokenizer/",
  ],
  "pipeline/overlap/": [
    "core/",
    "pipeline/corpus_paths.ts",
    "pipeline/recorded_files.ts",
    "pipeline/shards/",
    "pipeline/tokenizer/",
  ],
  "pipeline/ingest/": [
    "core/",
    "pipeline/catalogue/",
    "pipeline/citation/",
    "pipeline/corpus.ts",
    "pipeline/corpus_paths.ts",
    "pipeline/corpus_settings.ts",
    "pipeline/documents/",
    "pipeline/overlap/",
    "pipeline/recorded_files.ts",
    "pipeline/shards/",
    "pipeline/source/",
    "pipeline/tokenizer/",
    "pipeline/xml/",
  ],
  "pipeline/texts/": [
    "core/",
    "pipeline/corpus.ts",
    "pipeline/corpus_paths.ts",
    "pipeline/corpus_settings.ts",
    "pipeline/decontaminate_options.ts",
    "pipeline/documents/",
    "pipeline/overlap/",
    "pipeline/recorded_files.ts",
    "pipeline/shards/",
    "pipeline/status.ts",
    "pipeline/tokenizer/",
    "pipeline/verify.ts",
  ],
  "pipeline/selection/": [
    "core/",
    "pipeline/citation/",
    "pipeline/corpus_paths.ts",
    "pipeline/documents/",
    "pipeline/shards/",
    "pipeline/texts/",
  ],
  "pipeline/storage/": ["core/", "pipeline/"],
  "pipeline/parts/": ["core/", "pipeline/"],
  "pipeline/report/": [
    "core/",
    "pipeline/catalogue/",
    "pipeline/citation/",
    "pipeline/corpus_paths.ts",
    "pipeline/documents/",
    "pipeline/shards/",
    "pipeline/status.ts",
  ],
};

/** Rooms that others enter by their door alone, `mod.ts`. */
const DOORS = [
  "core/page/",
  "model/compare/",
  "model/goldens/",
  "model/report/",
  "model/statistics/",
  "model/tasks/reproduce/",
  "model/training/",
  "model/watch/",
  "model/weights/",
  "pipeline/shards/",
  "pipeline/tokenizer/",
];

/** Files that name the files that they need in those rooms, as docs/architecture.md says. */
const PAST_DOORS: Record<string, string> = {
  "commands/export.ts": "pushing a model loads the hub's library, which other exports do not need",
  "commands/permissions.ts": "the launcher starts before every command and loads next to nothing",
  "commands/pipeline_options.ts": "help reads options without loading what they are for",
  "model/watch/worker.ts": "a worker thread loads what it needs",
  "pipeline/corpus_settings.ts": "the launcher and all readers of options load it",
  "pipeline/texts/state.ts": "reading what a corpus is loads next to nothing",
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

const files = [...walk("")];
const sources = files.filter((f) => f.path.endsWith(".ts"));

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

Deno.test("the sub-rooms of model/ and pipeline/ import one way too", () => {
  const wrong: string[] = [];
  const seen = new Set<string>();
  for (const file of sources) {
    const room = Object.keys(SUB_ROOMS).find((prefix) => file.path.startsWith(prefix));
    const inside = /^(model|pipeline)\/.+\//.test(file.path);
    if (!room && inside) wrong.push(`${file.path} is in no sub-room that the list knows`);
    if (!room) continue;
    seen.add(room);
    for (const { name, local } of imports(file)) {
      if (!local || name.startsWith(room) || name === "deno.json") continue;
      const allowed = SUB_ROOMS[room] ?? [];
      if (!allowed.some((prefix) => name.startsWith(prefix))) {
        wrong.push(`${file.path} imports ${name}`);
      }
    }
  }
  assertEquals(wrong, []);
  assertEquals([...seen].sort(), Object.keys(SUB_ROOMS).sort(), "every sub-room exists");
});

Deno.test("rooms with a door are entered by it, but for files that say why not", () => {
  const past = new Map<string, string[]>();
  for (const file of sources.filter(({ path }) => !path.startsWith("tests/"))) {
    for (const { name, local } of imports(file)) {
      const room = local && DOORS.findLast((prefix) => name.startsWith(prefix));
      if (!room || file.path.startsWith(room) || name === `${room}mod.ts`) continue;
      past.set(file.path, [...past.get(file.path) ?? [], name]);
    }
  }
  const wrong = [...past].filter(([path]) => !Object.hasOwn(PAST_DOORS, path));
  assertEquals(wrong.map(([path, names]) => `${path} imports ${names.join(", ")}`), []);
  assertEquals(Object.keys(PAST_DOORS).filter((path) => !past.has(path)), []);
});

/** The groups of files that reach each other by imports (Tarjan 1972), each sorted. */
function circles(importsOf: Map<string, string[]>): string[][] {
  const found: string[][] = [];
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const visit = (file: string) => {
    const own = order.size;
    order.set(file, own);
    lowest.set(file, own);
    let low = own;
    stack.push(file);
    for (const next of importsOf.get(file) ?? []) {
      if (!order.has(next)) visit(next);
      if (stack.includes(next)) low = Math.min(low, lowest.get(next) ?? Infinity);
    }
    lowest.set(file, low);
    if (low < own) return;
    const group = stack.splice(stack.indexOf(file));
    if (group.length > 1 || importsOf.get(file)?.includes(file)) found.push(group.sort());
  };
  for (const file of importsOf.keys()) if (!order.has(file)) visit(file);
  return found;
}

Deno.test("no files import each other in a circle", () => {
  const three = new Map([["a", ["b"]], ["b", ["c"]], ["c", ["a", "d"]], ["d", ["d"]], ["e", [
    "a",
  ]]]);
  assertEquals(circles(three).sort(), [["a", "b", "c"], ["d"]]);
  const program = sources.filter(({ path }) => !path.startsWith("tests/"));
  const importsOf = new Map(program.map((file) => [
    file.path,
    imports(file).filter(({ local }) => local).map(({ name }) => name),
  ]));
  assertEquals(circles(importsOf), []);
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
  const known = Object.keys(config.imports);
  const wrong: string[] = [];
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
