import { UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { pushFolder } from "../../../model/weights/push.ts";
import { assert, assertEquals, assertRejects } from "../../assert.ts";
import { MINIATURE, withFolder } from "../helpers.ts";

/** A server on loopback that speaks the part of the hub's API that publishing needs. */
function serveHub(existing: boolean) {
  const uploaded = new Map<string, Uint8Array>();
  const committed: Record<string, unknown>[] = [];
  const handler = async (request: Request): Promise<Response> => {
    const { pathname, origin } = new URL(request.url);
    const upload = /^\/upload\/(\w+)$/.exec(pathname)?.[1];
    if (upload) {
      uploaded.set(upload, new Uint8Array(await request.arrayBuffer()));
      return new Response();
    }
    if (request.headers.get("authorization") !== "Bearer hf_right") {
      return Response.json({ error: "no access" }, { status: 403 });
    }
    const text = await request.text();
    if (pathname === "/api/repos/create") {
      const body = { error: "it exists", url: `${origin}/org/name` };
      return Response.json(body, { status: existing ? 409 : 200 });
    }
    if (pathname === "/api/models/org/name/preupload/main") {
      const { files } = JSON.parse(text) as { files: { path: string }[] };
      const mode = (path: string) => path.endsWith(".safetensors") ? "lfs" : "regular";
      return Response.json({ files: files.map(({ path }) => ({ path, uploadMode: mode(path) })) });
    }
    if (pathname === "/org/name.git/info/lfs/objects/batch") {
      const { objects } = JSON.parse(text) as { objects: { oid: string; size: number }[] };
      const actions = (oid: string) => ({ upload: { href: `${origin}/upload/${oid}` } });
      return Response.json({
        transfer: "basic",
        objects: objects.map(({ oid, size }) => ({ oid, size, actions: actions(oid) })),
      });
    }
    assertEquals(pathname, "/api/models/org/name/commit/main");
    committed.push(...text.trim().split("\n").map((line) => JSON.parse(line)));
    return Response.json({ commitOid: "1", commitUrl: `${origin}/commit`, hookOutput: "" });
  };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  return { server, uploaded, committed, endpoint: `http://127.0.0.1:${server.addr.port}` };
}

for (const existing of [false, true]) {
  Deno.test(`pushFolder() sends every file in one commit (repository exists: ${existing})`, () =>
    withFolder(async (dir) => {
      const folder = join(dir, "model");
      const read = initialParameters(MINIATURE, 1);
      writeModelFolder(folder, { config: MINIATURE, read, card: "# A model" });
      const { server, uploaded, committed, endpoint } = serveHub(existing);
      const settings = { endpoint, token: "hf_right", home: dir };
      try {
        assertEquals(await pushFolder(folder, "org/name", { settings }), `${endpoint}/org/name`);
        const weights = Deno.readFileSync(join(folder, "model.safetensors"));
        assertEquals(uploaded.get(sha256(weights)), weights);
        const values = committed.map((line) => line.value as Record<string, string>);
        assertEquals(values.map((v) => v.path).filter(Boolean).sort(), [
          "README.md",
          "config.json",
          "generation_config.json",
          "model.safetensors",
        ]);
        assertEquals(values.find((v) => v.path === "README.md")!.content, btoa("# A model"));
        const fails = (token: string | undefined, id: string, message: string) =>
          assertRejects(
            () => pushFolder(folder, id, { settings: { ...settings, token } }),
            UserError,
            message,
          );
        await fails("hf_wrong", "org/name", "Cannot publish");
        await fails(undefined, "org/name", "set HF_TOKEN");
        await fails("hf_right", "name", "org/name is needed");
        assert(uploaded.size === 1);
      } finally {
        await server.shutdown();
      }
    }));
}
