import { join, relative, toFileUrl } from "../core/std.ts";
import { assert, assertEquals } from "./assert.ts";
import { ROOT } from "./shared.ts";

const ROOMS = ["core", "pipeline", "kernels", "model", "commands", "fixtures", "scripts", "bench"];
/** What has to be explained; a constant may speak for itself, and `command` is explained by its help. */
const KINDS = ["function", "class", "interface", "typeAlias", "enum"];

function* sources(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sources(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}

interface Declaration {
  declarationKind: string;
  kind: string;
  location: { line: number };
  jsDoc?: { doc?: string; tags?: unknown[] };
}

Deno.test("every exported function, class and type says what it is", async () => {
  const paths = ROOMS.flatMap((room) => [...sources(join(ROOT, room))]);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...paths],
    cwd: ROOT,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as {
    nodes: Record<string, { symbols?: { name: string; declarations: Declaration[] }[] }>;
  };
  const root = toFileUrl(ROOT).href;
  const silent: string[] = [];
  for (const [url, { symbols = [] }] of Object.entries(nodes)) {
    for (const { name, declarations } of symbols) {
      for (const { declarationKind, kind, location, jsDoc } of declarations) {
        const exported = declarationKind === "export" && KINDS.includes(kind);
        if (!exported || jsDoc?.doc || jsDoc?.tags?.length) continue;
        silent.push(`${relative(root, url)}:${location.line} ${name}`);
      }
    }
  }
  assert(Object.keys(nodes).length > 100);
  assertEquals(silent, []);
});
