import { createHash } from "node:crypto";
import { UserError } from "../../core/errors.ts";
import { sha256 } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { openModelFolder, writeModelFolder } from "../../model/folder.ts";
import { downloadModel, type HubSettings, isHubId } from "../../model/hub.ts";
import { initialParameters } from "../../model/initialize.ts";
import { parameterList } from "../../model/parameters.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { MINIATURE, MINIATURE_TOKENIZER, silentReporter, withFolder } from "./helpers.ts";

/** What a {@linkcode serveHub} does wrong, and what it was asked. */
interface Behaviour {
  /** Sends only so many bytes of the weights, then breaks off. */
  breakAfter?: number;
  corrupt?: boolean;
  token?: string;
  /** Paths asked for, with their range. */
  asked: string[];
}

/** A server on loopback that speaks the hub's API, with the files of `folder` as org/model. */
function serveHub(folder: string, behaviour: Behaviour) {
  const sha = "0123456789abcdef";
  const files = [...Deno.readDirSync(folder)].map(({ name }) => ({
    name,
    bytes: Deno.readFileSync(join(folder, name)),
  }));
  const handler = (request: Request): Response => {
    const { pathname, origin } = new URL(request.url), range = request.headers.get("range");
    behaviour.asked.push(pathname + (range ? ` ${range}` : ""));
    if (behaviour.token && request.headers.get("authorization") !== `Bearer ${behaviour.token}`) {
      return new Response("", { status: 401 });
    }
    if (pathname === "/api/models/org/model/revision/main") {
      const siblings = files.map(({ name, bytes }) => ({
        rfilename: name,
        size: bytes.length,
        ...(name.endsWith(".safetensors") ? { lfs: { sha256: sha256(bytes) } } : {
          blobId: createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex"),
        }),
      }));
      return Response.json({ sha, siblings });
    }
    const redirected = /^\/org\/model\/resolve\/0123456789abcdef\/(.+)$/.exec(pathname)?.[1];
    if (redirected) return Response.redirect(`${origin}/cdn/${redirected}`, 302);
    const file = files.find(({ name }) => pathname === `/cdn/${name}`);
    if (!file) return new Response("", { status: 404 });
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    let body = file.bytes.slice(from);
    const large = file.name.endsWith(".safetensors");
    if (large && behaviour.corrupt) body[0]! ^= 1;
    if (large && behaviour.breakAfter !== undefined) {
      body = body.slice(0, behaviour.breakAfter);
      const stream = new ReadableStream({
        start(controller) {
          controller.enqueue(body);
          controller.close();
        },
      });
      return new Response(stream, { status: 206 });
    }
    return new Response(body, { status: from ? 206 : 200 });
  };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  return { server, endpoint: `http://127.0.0.1:${server.addr.port}` };
}

async function withHub(
  body: (settings: HubSettings, behaviour: Behaviour, dir: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (dir) => {
    const folder = join(dir, "source"), read = initialParameters(MINIATURE, 1);
    const tokenizer = MINIATURE_TOKENIZER;
    writeModelFolder(folder, { config: MINIATURE, read, tokenizer, card: "# not needed" });
    const behaviour: Behaviour = { asked: [] }, { server, endpoint } = serveHub(folder, behaviour);
    try {
      await body({ endpoint, token: undefined, home: join(dir, "home") }, behaviour, dir);
    } finally {
      await server.shutdown();
    }
  });
}

Deno.test("downloadModel() brings a model whole, once, and serves it without the hub", () =>
  withHub(async (settings, behaviour) => {
    const reporter = silentReporter();
    const path = await downloadModel("org/model", reporter, settings);
    const folder = openModelFolder(path), read = initialParameters(MINIATURE, 1);
    for (const { name } of parameterList(MINIATURE)) assertEquals(folder.read(name), read(name));
    folder.close();
    assertEquals([...Deno.readDirSync(path)].map((e) => e.name).sort(), [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    behaviour.asked.length = 0;
    assertEquals(await downloadModel("org/model", reporter, settings), path);
    assertEquals(behaviour.asked, ["/api/models/org/model/revision/main"]);
    const gone = { ...settings, endpoint: "http://127.0.0.1:1" };
    assertEquals(await downloadModel("org/model", reporter, gone), path);
    assert(reporter.logged.some((line) => line.includes("using the copy in")));
    await assertRejects(() => downloadModel("org/new", reporter, gone), UserError, "Cannot reach");
  }));

Deno.test("downloadModel() goes on with a download that broke off", () =>
  withHub(async (settings, behaviour) => {
    const reporter = silentReporter();
    behaviour.breakAfter = 5000;
    const get = () => downloadModel("org/model", reporter, settings);
    await assertRejects(get, UserError, "it broke off");
    delete behaviour.breakAfter;
    const folder = openModelFolder(await get());
    folder.close();
    assert(behaviour.asked.includes("/cdn/model.safetensors bytes=5000-"), behaviour.asked.join());
  }));

Deno.test("downloadModel() keeps nothing whose hash is wrong, and says what the hub said", () =>
  withHub(async (settings, behaviour, dir) => {
    const reporter = silentReporter();
    behaviour.corrupt = true;
    const get = (id = "org/model") => downloadModel(id, reporter, settings);
    await assertRejects(() => get(), UserError, "is not what the hub lists");
    const blobs = join(dir, "home", "hub", "models--org--model", "blobs");
    assert(![...Deno.readDirSync(blobs)].some((e) => e.name.endsWith(".incomplete")));
    delete behaviour.corrupt;
    await assertRejects(() => get("org/other"), UserError, "there is no such model");
    behaviour.token = "secret";
    await assertRejects(() => get(), UserError, "HF_TOKEN is needed");
    assert(await downloadModel("org/model", reporter, { ...settings, token: "secret" }));
  }));

Deno.test("isHubId() tells ids from folders", () => {
  for (const id of ["state-spaces/mamba-130m-hf", "org/name@v1.0"]) assert(isHubId(id), id);
  for (const path of ["model", "/a/b", "./a/b", "../a", "a/b/c", "a/b@../../c", "random:tiny"]) {
    assert(!isHubId(path), path);
  }
});
