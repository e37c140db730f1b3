/** Corpora in S3-compatible storage: a real server on loopback. @module */
import untyped from "s3rver";
import { fail, UserError } from "../../core/errors.ts";
import { exists, hashFile, PARTIAL_SUFFIX } from "../../core/files.ts";
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
import { ROOT, runTask } from "../shared.ts";
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
    await assertRejects(() => localCorpus(PLACE, get), UserError, "refuses the key WRON...");
    delete variables.AWS_SECRET_ACCESS_KEY;
    await assertRejects(() => localCorpus(PLACE, get), UserError, "there are no keys");
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

Deno.test("a bucket that vanishes during a push or while shards are read is told; nothing is lost", () =>
  withStorage(async ({ get, objects }, folder) => {
    const corpus = await makeCorpus(folder);
    const bucket = join(objects, BUCKET);
    const hidden = join(folder, "hidden");
    /** Takes the bucket away once so many files are done. */
    const vanishing = (after: number) => ({
      onProgress: (done: number) => {
        if (done === after && exists(bucket)) Deno.renameSync(bucket, hidden);
      },
    });
    const message = `there is no bucket "${BUCKET}"`;
    await assertRejects(() => pushCorpus(corpus, PLACE, get, vanishing(2)), UserError, message);
    Deno.renameSync(hidden, bucket);
    await assertRejects(() => localCorpus(PLACE, get), UserError, "no storage.json");
    const { files, moved } = await pushCorpus(corpus, PLACE, get);
    assertEquals(moved, files - 2);
    await assertRejects(() => localCorpus(PLACE, get, vanishing(1)), UserError, message);
    const cache = corpusCache(PLACE, get);
    assert(!exists(manifestPath(cache)), "a half corpus looks like a whole one");
    Deno.renameSync(hidden, bucket);
    const local = await localCorpus(PLACE, get);
    assertEquals(hashFile(manifestPath(local)), hashFile(manifestPath(corpus)));
  }));

Deno.test("commands that read the same corpus at once fetch it once, and wait for each other", () =>
  withStorage(async ({ get }, folder) => {
    const corpus = await makeCorpus(folder);
    await pushCorpus(corpus, PLACE, get);
    const counts: number[] = [];
    const logs: string[] = [];
    const folders = await Promise.all([0, 1, 2].map((reader) =>
      localCorpus(PLACE, get, {
        onProgress: (_, total) => counts[reader] = total,
        log: (message) => logs.push(message),
      })
    ));
    assertEquals(new Set(folders).size, 1);
    // Only the first had something to fetch.
    assertEquals(counts.filter((count) => count > 0).length, 1);
    assertEquals(logs.length, 2);
    assert(logs.every((log) => log.includes("Waiting for another process")), logs.join());
  }));

Deno.test("a run keeps the shards that it began with when the corpus in the storage becomes another", () =>
  withStorage(async ({ get }, folder) => {
    const corpus = await makeCorpus(folder);
    await pushCorpus(corpus, PLACE, get);
    const local = await localCorpus(PLACE, get);
    using before = openCorpus(local);
    const old = openShards(local, "train");
    const rows = Array.from({ length: old.rows }, (_, row) => old.row(row));
    old.close();
    const run = join(folder, "run");
    Deno.mkdirSync(run);
    const began = before.shardsSha256 ?? fail("a corpus of files has a hash");
    before.pin?.(run, [began]);
    await makeCorpus(folder, 2);
    await pushCorpus(corpus, PLACE, get);
    assertEquals(await localCorpus(PLACE, get), local);
    using after = openCorpus(local);
    assert(after.shardsSha256 !== began, "the corpus did not change");
    const kept = after.kept?.(began)?.split("train");
    assertEquals(kept?.rows, rows.length);
    assertEquals(rows.map((_, row) => kept?.row(row)), rows);
  }));

Deno.test("training reads a corpus in the storage with its task's rights, and says what it lacks", () =>
  withStorage(async ({ variables }, folder) => {
    const corpus = await makeCorpus(folder);
    const get: Environment = (name) => variables[name];
    await pushCorpus(corpus, PLACE, get);
    const train = (out: string, env: Record<string, string>) => {
      const words = `--corpus ${PLACE} --init random:tiny --out ${join(folder, out)} --steps 1 ` +
        "--batch-size 1 --autotune off";
      return runTask(["train", ...words.split(" ")], { env });
    };
    const { code, stderr } = await train("run", variables);
    assertEquals(code, 0, stderr);
    assert(stderr.includes(`Reading ${PLACE} from the copy in`), stderr);
    assert(exists(join(folder, "run/DONE")), stderr);
    const empty = { ...variables, AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "" };
    const refused = await train("other", empty);
    assertEquals(refused.code, 1);
    assert(refused.stderr.includes("there are no keys; set AWS_ACCESS_KEY_ID"), refused.stderr);
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
