/** Corpora in S3-compatible storage: a real server on loopback. @module */
import untyped from "s3rver";
import { UserError } from "../../core/errors.ts";
import { exists, PARTIAL_SUFFIX } from "../../core/files.ts";
import type { Environment } from "../../core/locations.ts";
import { join } from "../../core/std.ts";
import { openCorpus } from "../../model/training/shard_corpus.ts";
import { CorpusBusy } from "../../pipeline/corpus.ts";
import { corpusPaths, manifestPath } from "../../pipeline/corpus_paths.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { openShards } from "../../pipeline/shards/read.ts";
import { corpusCache, localCorpus, pullCorpus, pushCorpus } from "../../pipeline/storage/corpus.ts";
import { parseStorage, storageAccess } from "../../pipeline/storage/credentials.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { article, digestOf, pubmedSet, putFile, withFolder } from "./support.ts";

interface Server {
  run(): Promise<{ port: number }>;
  httpServer?: { closeAllConnections(): void };
  close(): Promise<void>;
}
const S3rver = untyped as unknown as new (options: Record<string, unknown>) => Server;

const BUCKET = "corpora";
const PLACE = `s3://${BUCKET}/small/one`;

interface Storage {
  /** What AWS's tools would be told. */
  variables: Record<string, string>;
  get: Environment;
  /** Where the server keeps its objects. */
  objects: string;
  stop(): Promise<void>;
}

async function withStorage(
  action: (storage: Storage, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const objects = join(folder, "objects");
    const server = new S3rver({
      address: "127.0.0.1",
      port: 0,
      silent: true,
      directory: objects,
      configureBuckets: [{ name: BUCKET }],
    });
    const { port } = await server.run();
    const variables: Record<string, string> = {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: "S3RVER",
      AWS_SECRET_ACCESS_KEY: "S3RVER",
      HOME: folder,
      PUBMAMBA_CACHE: join(folder, "cache"),
    };
    let running = true;
    const stop = async () => {
      if (!running) return;
      running = false;
      const closed = server.close();
      // Connections that the client keeps for later would be waited for.
      server.httpServer?.closeAllConnections();
      await closed;
    };
    try {
      await action({ variables, get: (name) => variables[name], objects, stop }, folder);
    } finally {
      await stop();
    }
  });
}

async function makeCorpus(folder: string, files = 1): Promise<string> {
  const mirror = join(folder, "mirror");
  const corpus = join(folder, "corpus");
  for (let file = 1; file <= files; file++) {
    const articles = Array.from({ length: 40 }, (_, i) => article(100 * file + i));
    putFile(mirror, "baseline", file, pubmedSet(...articles));
  }
  await runPipeline({
    source: mirror,
    corpus,
    tokenizer: join(ROOT, "fixtures/tokenizer.json"),
    sequenceLength: 64,
    workers: 1,
  });
  return corpus;
}

Deno.test("a corpus pushed and pulled is the same, and only what changed moves again", () =>
  withStorage(async ({ get }, folder) => {
    const corpus = await makeCorpus(folder);
    const first = await pushCorpus(corpus, PLACE, get);
    assertEquals(first.moved, first.files);
    assertEquals((await pushCorpus(corpus, PLACE, get)).moved, 0);
    const copy = join(folder, "copy");
    assertEquals((await pullCorpus(PLACE, copy, get)).moved, first.files);
    assertEquals(digestOf(copy), digestOf(corpus));
    assertEquals((await verifyCorpus(copy)).problems, []);
    assertEquals((await pullCorpus(PLACE, copy, get)).moved, 0);
    // A damaged file is fetched again, and the manifest with it.
    const damaged = corpusPaths.documents(copy, "pubmed26n0001");
    Deno.writeTextFileSync(damaged, "no longer what it was");
    assertEquals((await pullCorpus(PLACE, copy, get)).moved, 2);
    assertEquals(digestOf(copy), digestOf(corpus));
    await makeCorpus(folder, 2);
    const second = await pushCorpus(corpus, PLACE, get);
    assert(second.moved > 0 && second.moved < second.files, `${second.moved} moved`);
    await pullCorpus(PLACE, copy, get);
    assertEquals(digestOf(copy), digestOf(corpus));
  }));

Deno.test("shards are read from the storage through a copy in the cache", () =>
  withStorage(async ({ get }, folder) => {
    const corpus = await makeCorpus(folder);
    await pushCorpus(corpus, PLACE, get);
    const local = await localCorpus(PLACE, get);
    assertEquals(local, corpusCache(PLACE, get));
    assert(!exists(join(local, "documents")), "more than the shards was fetched");
    using here = openCorpus(local);
    using there = openCorpus(corpus);
    assertEquals(here.manifestSha256, there.manifestSha256);
    assertEquals(here.tokenizer(), there.tokenizer());
    const mine = openShards(local, "train");
    const own = openShards(corpus, "train");
    assert(own.rows > 3);
    for (let row = 0; row < own.rows; row++) assertEquals(mine.row(row), own.row(row));
    mine.close();
    own.close();
    assertEquals(await localCorpus(corpus, get), corpus);
  }));

Deno.test("a file that was cut off goes on where it stopped; remains of another are not used", () =>
  withStorage(async ({ get }, folder) => {
    const corpus = await makeCorpus(folder);
    await pushCorpus(corpus, PLACE, get);
    const copy = join(folder, "copy");
    const name = "documents/pubmed26n0001.parquet";
    const whole = Deno.readFileSync(join(corpus, name));
    for (const start of [whole.slice(0, 1000), new Uint8Array(1000), new Uint8Array(1 << 20)]) {
      Deno.mkdirSync(join(copy, "documents"), { recursive: true });
      Deno.writeFileSync(join(copy, name + PARTIAL_SUFFIX), start);
      await pullCorpus(PLACE, copy, get);
      assertEquals(Deno.readFileSync(join(copy, name)), whole);
      assertEquals(digestOf(copy), digestOf(corpus));
      Deno.removeSync(join(copy, name));
    }
  }));

Deno.test("keys come from variables, then from the profile's files; without any it is said", () =>
  withFolder((folder) => {
    const variables: Record<string, string> = { HOME: folder };
    const get: Environment = (name) => variables[name];
    assertThrows(() => storageAccess(get), UserError, "there are no keys; set AWS_ACCESS_KEY_ID");
    Deno.mkdirSync(join(folder, ".aws"));
    Deno.writeTextFileSync(
      join(folder, ".aws/credentials"),
      "[default]\naws_access_key_id = one\naws_secret_access_key = two\n" +
        "[other]\naws_access_key_id=three\naws_secret_access_key=four\naws_session_token=five\n",
    );
    Deno.writeTextFileSync(
      join(folder, ".aws/config"),
      "[default]\nregion = eu-west-1\n[profile other]\nendpoint_url = https://storage.example.org\n",
    );
    assertEquals(storageAccess(get), {
      endpoint: "https://s3.eu-west-1.amazonaws.com",
      region: "eu-west-1",
      accessKey: "one",
      secretKey: "two",
    });
    variables.AWS_PROFILE = "other";
    assertEquals(storageAccess(get), {
      endpoint: "https://storage.example.org",
      region: "us-east-1",
      accessKey: "three",
      secretKey: "four",
      sessionToken: "five",
    });
    variables.AWS_ENDPOINT_URL = "storage";
    assertThrows(() => storageAccess(get), UserError, "has to be a URL");
  }));

Deno.test("places that are none, wrong keys and buckets that are not there are sentences", () =>
  withStorage(async ({ get, variables }, folder) => {
    for (const bad of ["s3://", "s3:///corpus", "s3://b/x", "s3://bucket/../other"]) {
      assertThrows(() => parseStorage(bad), UserError, `Cannot use ${bad}`);
    }
    const copy = join(folder, "copy");
    await assertRejects(() => pullCorpus(PLACE, copy, get), UserError, "no storage.json");
    assert(!exists(copy), "a folder was made for nothing");
    const nowhere = "s3://another-bucket/corpus";
    await assertRejects(
      () => pullCorpus(nowhere, copy, get),
      UserError,
      'there is no bucket "another-bucket"',
    );
    variables.AWS_ACCESS_KEY_ID = "WRONG";
    await assertRejects(() => pullCorpus(PLACE, copy, get), UserError, "refuses the key WRON...");
  }));

Deno.test("a bucket that vanishes stops a pull with a sentence, and the next one goes on", () =>
  withStorage(async ({ get, objects }, folder) => {
    const corpus = await makeCorpus(folder);
    await pushCorpus(corpus, PLACE, get);
    const copy = join(folder, "copy");
    let hidden = false;
    const vanish = (done: number) => {
      if (done !== 3 || hidden) return;
      hidden = true;
      Deno.renameSync(join(objects, BUCKET), join(folder, "hidden"));
    };
    await assertRejects(
      () => pullCorpus(PLACE, copy, get, { onProgress: vanish }),
      UserError,
      `there is no bucket "${BUCKET}"`,
    );
    assert(hidden && !exists(manifestPath(copy)), "a half corpus looks like a whole one");
    Deno.renameSync(join(folder, "hidden"), join(objects, BUCKET));
    const { files, moved } = await pullCorpus(PLACE, copy, get);
    assertEquals(moved, files - 3);
    assertEquals(digestOf(copy), digestOf(corpus));
  }));

Deno.test("a server that is gone is told with what to do; a corpus at work is not pushed", () =>
  withStorage(async ({ get, stop }, folder) => {
    const corpus = await makeCorpus(folder);
    const lock = Deno.openSync(corpusPaths.lock(corpus), { write: true });
    lock.lockSync(true);
    try {
      await assertRejects(() => pushCorpus(corpus, PLACE, get), CorpusBusy, "is changing it");
    } finally {
      lock.close();
    }
    await assertRejects(() => pushCorpus(folder, PLACE, get), UserError, "it is no corpus");
    await stop();
    await assertRejects(
      () => pushCorpus(corpus, PLACE, get),
      UserError,
      "run the same command again, which goes on from here",
    );
  }));
