/** `pipeline verify`: one byte or one file that is not as written is found, wherever it is. @module */
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { Corpus, readCatalogue } from "../../pipeline/corpus.ts";
import { workersFor } from "../../pipeline/ingest/worker_count.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { readStatus } from "../../pipeline/status.ts";
import { verifyTextCorpus } from "../../pipeline/texts/check.ts";
import { buildTextCorpus } from "../../pipeline/texts/corpus.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../assert.ts";
import { ROOT } from "../shared.ts";
import { faults, random } from "./faults.ts";
import { article, deletion, pubmedSet, putFile, withFolder, withServer } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");
/** Bytes to flip in every file. */
const FLIPS = faults(4, 15, 200);

/** Every file of a corpus but the lock, which is empty, and SQLite's own scratch files. */
function filesIn(folder: string, inner = ""): string[] {
  return [...Deno.readDirSync(join(folder, inner))].flatMap(({ name, isDirectory }) => {
    const path = inner ? `${inner}/${name}` : name;
    if (isDirectory) return filesIn(folder, path);
    return /^(\.lock|catalogue\.sqlite-(shm|wal))$/.test(name) ? [] : [path];
  }).sort();
}

/** The problems of a corpus; a sentence that ends the command is one too. */
async function problemsOf(corpus: string): Promise<string[]> {
  try {
    const verify = exists(join(corpus, "texts.json")) ? verifyTextCorpus : verifyCorpus;
    return (await verify(corpus)).problems;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [error.message];
  }
}

/** Flips random bits in every file and takes every file away: each time verify must say so. */
async function findsEverything(corpus: string, next: () => number): Promise<number> {
  assertEquals(await problemsOf(corpus), []);
  let tried = 0;
  for (const name of filesIn(corpus)) {
    const path = join(corpus, name);
    const bytes = Deno.readFileSync(path);
    const places = [0, bytes.length - 1];
    for (let i = 0; i < FLIPS; i++) places.push(Math.floor(next() * bytes.length));
    for (const at of places) {
      const flipped = bytes.slice();
      flipped[at]! ^= 1 << Math.floor(next() * 8);
      Deno.writeFileSync(path, flipped);
      assert((await problemsOf(corpus)).length > 0, `byte ${at} of ${name} was flipped unnoticed`);
      tried++;
    }
    Deno.writeFileSync(path, bytes.subarray(0, bytes.length - 1));
    assert((await problemsOf(corpus)).length > 0, `${name} was cut unnoticed`);
    Deno.removeSync(path);
    assert((await problemsOf(corpus)).length > 0, `${name} went missing unnoticed`);
    Deno.writeFileSync(path, bytes);
    assertEquals(await problemsOf(corpus), [], `${name} is back`);
  }
  return tried;
}

function putMirror(mirror: string): void {
  const records = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => article(from + i));
  putFile(
    mirror,
    "baseline",
    1,
    pubmedSet(...records(1, 20), article(20, { abstract: "" }), article(21, { version: 3 })),
  );
  putFile(mirror, "updatefiles", 2, pubmedSet(article(2, { title: "again" }), deletion([3, 1])));
}

Deno.test("verify finds every flipped byte and every missing file of a corpus", () =>
  withFolder((folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putMirror(mirror);
    return withServer(mirror, async (url) => {
      const options = { tokenizer: TOKENIZER, sequenceLength: 64, validation: 0.1, keepRaw: true };
      await runPipeline({ corpus, source: url, workers: 1, ...options });
      const questions = join(folder, "questions.json");
      Deno.writeTextFileSync(questions, JSON.stringify({ "7": { question: "Is it so?" } }));
      await decontaminateCorpus({ corpus, against: [questions] });
      const names = filesIn(corpus).map((name) => name.replace(/.*\.(?=\w+$)/, ""));
      const kinds = ["gz", "json", "jsonl", "npy", "parquet", "sha256", "sqlite", "tokens"];
      assertEquals([...new Set(names)].sort(), kinds);
      const tried = await findsEverything(corpus, random(11));
      assert(tried >= 15 * FLIPS, `only ${tried} flips`);
    });
  }));

Deno.test("verify finds every flipped byte and every missing file of a corpus of texts", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ text: `A line ${i}.`, i }));
    Deno.writeTextFileSync(join(source, "a.jsonl"), lines.join("\n"));
    Deno.writeTextFileSync(join(source, "b.txt"), "Words and more words. ".repeat(50));
    await buildTextCorpus({ corpus, source, tokenizer: TOKENIZER, sequenceLength: 64 });
    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(questions, JSON.stringify({ "7": { question: "Is it so?" } }));
    await decontaminateCorpus({ corpus, against: [questions] });
    await findsEverything(corpus, random(12));
  }));

Deno.test("verify while refreshes run says nothing wrong, and a refresh is not kept from its work", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putMirror(mirror);
    const options = { tokenizer: TOKENIZER, sequenceLength: 64 };
    await runPipeline({ corpus, source: mirror, workers: 1, ...options });
    let done = false;
    let looks = 0;
    const looking = (async () => {
      while (!done) {
        assertEquals((await verifyCorpus(corpus)).problems, []);
        looks++;
      }
    })();
    for (let file = 3; file < 8; file++) {
      putFile(mirror, "updatefiles", file, pubmedSet(article(2, { title: `look ${file}` })));
      if (file === 6) {
        putFile(mirror, "updatefiles", 4, pubmedSet(article(5, { title: "re-issued" })));
      }
      for (let added = 0; added === 0;) {
        const args = [
          "run",
          "--no-check",
          "-A",
          join(ROOT, "main.ts"),
          "pipeline",
          "refresh",
          "--json",
        ];
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: [...args, "--corpus", corpus, "--workers", "1"],
        }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
        // Another look at what did not fit keeps a refresh out for a moment.
        added = JSON.parse(new TextDecoder().decode(stdout)).files_added ?? 0;
      }
    }
    done = true;
    await looking;
    assert(looks > 3, `only ${looks} looks`);
    assertEquals((await verifyCorpus(corpus)).notes, []);
  }));

Deno.test("a catalogue that was changed by others is refused before anything is built on it", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putMirror(mirror);
    const run = () => runPipeline({ corpus, source: mirror, workers: 1 });
    await run();
    const path = join(corpus, "catalogue.sqlite");
    const bytes = Deno.readFileSync(path);
    const changed = bytes.slice();
    changed[changed.length - 1]! ^= 1;
    Deno.writeFileSync(path, changed);
    await assertRejects(run, UserError, "catalogue.sha256 tells");
    assertEquals((await verifyCorpus(corpus)).problems.length > 0, true);
    // Not SQLite at all, cut short, or another program's: each a sentence.
    Deno.writeTextFileSync(
      path,
      "no catalogue at all, but some text that is long enough ".repeat(9),
    );
    assertThrows(() => readCatalogue(corpus), UserError, "it is damaged");
    Deno.writeFileSync(path, bytes.subarray(0, 5000));
    assertThrows(() => readStatus(corpus, readCatalogue(corpus)), UserError, "it is damaged");
    Deno.writeFileSync(path, bytes);
    assertEquals((await run()).up_to_date, true);
    // A killed command leaves the seal broken: a note, no problem, and the next run sets it.
    const killed = new Corpus(corpus);
    killed.catalogue.close();
    killed.close();
    const { problems, notes } = await verifyCorpus(corpus);
    assertEquals([problems, notes.length], [[], 1]);
    assertStringIncludes(notes[0]!, "cut short");
    await run();
    assertEquals((await verifyCorpus(corpus)).notes, []);
  }));

/** Runs a command of the program as a user who owns nothing. */
async function asNobody(
  folder: string,
  ...words: string[]
): Promise<{ code: number; log: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--no-prompt",
      "--cached-only",
      "--allow-read",
      join(ROOT, "main.ts"),
      "pipeline",
      ...words,
    ],
    uid: 65534,
    gid: 65534,
    env: { HOME: folder, DENO_DIR: join(folder, "deno") },
  }).output();
  const decoder = new TextDecoder();
  return { code, log: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Where this process's modules are kept. */
const denoDir = () => Deno.env.get("DENO_DIR") ?? join(Deno.env.get("HOME") ?? "", ".cache/deno");

/** Gives a user who owns nothing a cache with this process's packages: links where they can be, else copies. */
async function lendPackages(cache: string): Promise<void> {
  Deno.mkdirSync(cache);
  Deno.chownSync(cache, 65534, 65534);
  const packages = [join(denoDir(), "npm"), join(cache, "npm")];
  const copy = async (...options: string[]) =>
    (await new Deno.Command("cp", { args: [...options, "--", ...packages] }).output()).code;
  if (await copy("-rl") !== 0) assertEquals(await copy("-r"), 0);
}

Deno.test({
  name: "status and verify read another user's corpus without a right to write",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0 || !exists(join(denoDir(), "npm")),
  fn: () =>
    withFolder(async (folder) => {
      const mirror = join(folder, "mirror");
      const corpus = join(folder, "corpus");
      putMirror(mirror);
      await runPipeline({ corpus, source: mirror, workers: 1, tokenizer: TOKENIZER });
      Deno.chmodSync(folder, 0o755);
      await lendPackages(join(folder, "deno"));
      const status = await asNobody(folder, "status", "--corpus", corpus, "--json");
      assertEquals(status.code, 0, status.log);
      assertStringIncludes(status.log, '"live":20');
      const verify = await asNobody(folder, "verify", "--corpus", corpus);
      assertEquals(verify.code, 0, verify.log);
      assertStringIncludes(verify.log, "all as written");
      // Without the empty files that a command leaves, the sentence says what to do.
      for (const ending of ["-wal", "-shm"]) {
        Deno.removeSync(join(corpus, `catalogue.sqlite${ending}`));
      }
      const older = await asNobody(folder, "status", "--corpus", corpus);
      assertEquals(older.code, 1);
      assertStringIncludes(older.log, 'let its owner run "pipeline run" once');
      const refresh = await asNobody(folder, "refresh", "--corpus", corpus);
      assertEquals(refresh.code, 1);
      assertStringIncludes(refresh.log, "Cannot write the corpus folder");
    }),
});

Deno.test("workers are one a core, and fewer where memory is short", () => {
  const gib = 2 ** 30;
  assertEquals(workersFor(64, 2 * gib), 3);
  assertEquals(workersFor(2, 64 * gib), 2);
  assertEquals(workersFor(8, gib / 4), 1);
  assertEquals(workersFor(8, Infinity), 8);
});
