import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import {
  downloadModel,
  downloadTokenizer,
  type HubSettings,
  isHubId,
} from "../../../model/weights/hub.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { parameterList } from "../../../model/mamba/parameters.ts";
import { assert, assertEquals, assertRejects } from "../../assert.ts";
import { type Behaviour, serveHub } from "./hub_server.ts";
import { MINIATURE, MINIATURE_TOKENIZER, silentReporter, withFolder } from "../helpers.ts";
import { shardName, writePytorchModel } from "./pytorch_files.ts";

/** Runs `body` with a hub that has the model that `fill` writes, or the miniature one. */
async function withHub(
  body: (settings: HubSettings, behaviour: Behaviour, dir: string) => Promise<void>,
  fill?: (folder: string) => void,
): Promise<void> {
  await withFolder(async (dir) => {
    const folder = join(dir, "source");
    const read = initialParameters(MINIATURE, 1);
    const tokenizer = MINIATURE_TOKENIZER;
    writeModelFolder(folder, { config: MINIATURE, read, tokenizer, card: "# not needed" });
    fill?.(folder);
    const behaviour: Behaviour = { asked: [] };
    const { server, endpoint } = serveHub(folder, behaviour);
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
    const folder = openModelFolder(path);
    const read = initialParameters(MINIATURE, 1);
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
    assertEquals(behaviour.asked, [
      "/api/models/org/model/revision/main",
      "/api/models/org/model/tree/0123456789abcdef",
    ]);
    assertEquals(await downloadModel("org/model@v1", reporter, settings), path);
    const gone = { ...settings, endpoint: "http://127.0.0.1:1" };
    assertEquals(await downloadModel("org/model", reporter, gone), path);
    assert(reporter.logged.some((line) => line.includes("using the copy in")));
    await assertRejects(() => downloadModel("org/new", reporter, gone), UserError, "Cannot reach");
  }));

Deno.test("downloadModel() goes on with a download that broke off", () =>
  withHub(async (settings, behaviour, dir) => {
    const reporter = silentReporter();
    behaviour.breakAfter = 5000;
    const get = () => downloadModel("org/model", reporter, settings);
    await assertRejects(get, UserError, "it broke off");
    delete behaviour.breakAfter;
    const folder = openModelFolder(await get());
    folder.close();
    const { size } = Deno.statSync(join(dir, "source", "model.safetensors"));
    assert(behaviour.asked.includes(`/cdn/model.safetensors bytes=5000-${size - 1}`));
  }));

Deno.test("downloadModel() takes a file that is sent whole again", () =>
  withHub(async (settings, behaviour) => {
    const get = () => downloadModel("org/model", silentReporter(), settings);
    behaviour.breakAfter = 5000;
    await assertRejects(get, UserError, "it broke off");
    delete behaviour.breakAfter;
    behaviour.whole = true;
    const folder = openModelFolder(await get());
    const read = initialParameters(MINIATURE, 1);
    for (const { name } of parameterList(MINIATURE)) assertEquals(folder.read(name), read(name));
    folder.close();
  }));

const inShards = (folder: string) => {
  Deno.removeSync(join(folder, "model.safetensors"));
  writePytorchModel(folder, 2);
};

Deno.test("downloadModel() brings pytorch_model.bin in shards, each checked", () =>
  withHub(async (settings, behaviour, dir) => {
    const get = () => downloadModel("org/model", silentReporter(), settings);
    behaviour.corrupt = true;
    await assertRejects(get, UserError, "is not what the hub lists");
    delete behaviour.corrupt;
    behaviour.breakAfter = 500; // the second shard's turn comes after the first one's
    await assertRejects(get, UserError, "it broke off after 500 B");
    delete behaviour.breakAfter;
    const folder = openModelFolder(await get());
    const wanted = openModelFolder(join(dir, "source"));
    for (const { name } of parameterList(MINIATURE)) {
      assertEquals(folder.read(name), wanted.read(name));
    }
    folder.close();
    wanted.close();
    assertEquals([...Deno.readDirSync(folder.path)].map((e) => e.name).sort(), [
      "config.json",
      "generation_config.json",
      "pytorch_model-00001-of-00002.bin",
      "pytorch_model-00002-of-00002.bin",
      "pytorch_model.bin.index.json",
      "tokenizer.json",
    ]);
  }, inShards));

Deno.test("downloadModel() refuses a repository that lacks a shard, before the weights", () =>
  withHub(
    async (settings, behaviour) => {
      const get = () => downloadModel("org/model", silentReporter(), settings);
      await assertRejects(get, UserError, `in ${shardName(1, 2)}, which the repository does not`);
      assert(!behaviour.asked.some((path) => path.endsWith(".bin")));
    },
    (folder) => {
      inShards(folder);
      Deno.removeSync(join(folder, shardName(1, 2)));
    },
  ));

Deno.test("downloadTokenizer() brings the tokenizer alone", () =>
  withHub(async (settings, behaviour) => {
    const path = await downloadTokenizer("org/model", silentReporter(), settings);
    assertEquals(Deno.readFileSync(path), MINIATURE_TOKENIZER);
    assertEquals(behaviour.asked.filter((a) => a.startsWith("/cdn")), ["/cdn/tokenizer.json"]);
    const gone = { ...settings, endpoint: "http://127.0.0.1:1" };
    assertEquals(await downloadTokenizer("org/model", silentReporter(), gone), path);
    await assertRejects(
      () => downloadModel("org/model", silentReporter(), gone),
      UserError,
      "Cannot reach",
    );
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

Deno.test("downloadModel() writes nothing outside the cache, whatever the hub calls its files", () =>
  withHub(async (settings, behaviour, dir) => {
    const reporter = silentReporter();
    for (const oid of ["../../../../escaped", "..", "", "a".repeat(41), "A".repeat(40)]) {
      behaviour.oid = oid;
      await assertRejects(
        () => downloadModel("org/model", reporter, settings),
        UserError,
        `Cannot use the model org/model: the hub gives ${JSON.stringify(oid)} as the hash of`,
      );
    }
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["source"]);
  }));

Deno.test("downloadModel() takes no more bytes than the hub lists, and no answer without end", () =>
  withHub(async (settings, behaviour, dir) => {
    const reporter = silentReporter();
    behaviour.more = true;
    await assertRejects(
      () => downloadModel("org/model", reporter, settings),
      UserError,
      "bytes came that the hub lists; run the command again",
    );
    behaviour.more = false;
    behaviour.endless = true;
    await assertRejects(
      () => downloadModel("org/model", reporter, { ...settings, home: join(dir, "other") }),
      UserError,
      "the answer is longer than 16777216 bytes",
    );
    behaviour.endless = false;
    assert(await downloadModel("org/model", reporter, settings));
  }));

Deno.test("isHubId() tells ids from folders", () => {
  for (const id of ["state-spaces/mamba-130m-hf", "org/name@v1.0"]) assert(isHubId(id), id);
  for (const path of ["model", "/a/b", "./a/b", "../a", "a/b/c", "a/b@../../c", "random:tiny"]) {
    assert(!isHubId(path), path);
  }
});
