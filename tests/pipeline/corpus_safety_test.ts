/** What lies in or beside a corpus folder and is not the pipeline's is never touched. @module */
import { DatabaseSync } from "node:sqlite";
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { finishSwap, markSeries, swapIn } from "../../pipeline/series_swap.ts";
import { buildTextCorpus } from "../../pipeline/texts/corpus.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";
import {
  article,
  digestOf,
  documentsOf,
  encode,
  md5File,
  pubmedSet,
  putFile,
  withFolder,
  withServer,
} from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");

/** Every file below a folder, with its text. */
function textsIn(folder: string, inner = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(join(folder, inner))) {
    const path = inner ? `${inner}/${name}` : name;
    if (isDirectory) Object.assign(found, textsIn(folder, path));
    else found[path] = Deno.readTextFileSync(join(folder, path));
  }
  return found;
}

/** Puts a baseline of `count` files of ten records each into a mirror, in the place of any other. */
function putBaseline(mirror: string, year: number, count: number, title = "Title"): void {
  if (exists(mirror)) Deno.removeSync(mirror, { recursive: true });
  for (let file = 1; file <= count; file++) {
    const records = Array.from({ length: 10 }, (_, i) => {
      const pmid = file * 10 + i;
      return article(pmid, { title: `${title} ${pmid}` });
    });
    putFile(mirror, "baseline", file, pubmedSet(...records), year);
  }
}

const run = (source: string, corpus: string, more: Partial<RunOptions> = {}) =>
  runPipeline({ source, corpus, workers: 1, ...more });

Deno.test("folders beside a corpus, whatever their names, are left alone", () =>
  withFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    const mirror = at("mirror");
    putBaseline(mirror, 26, 1);
    for (const name of ["corpus.old", "corpus.next", "data", "data.old"]) {
      Deno.mkdirSync(join(at(name), "deep"), { recursive: true });
      Deno.writeTextFileSync(join(at(name), "deep/thesis.txt"), `mine in ${name}`);
    }
    await run(mirror, at("corpus"));
    await run(mirror, at("corpus"));
    // A folder that name a folder that is empty is refused, with a wrong source too, before anything is touched.
    await assertRejects(() => run(at("nowhere"), at("data")), UserError, "it holds deep");
    await assertRejects(() => run(mirror, at("data")), UserError, "name a folder that is empty");
    const texts = { corpus: at("data"), source: at("texts"), tokenizer: TOKENIZER };
    Deno.mkdirSync(at("texts"));
    Deno.writeTextFileSync(join(at("texts"), "a.txt"), "some words");
    await assertRejects(() => buildTextCorpus(texts), UserError, "name a folder that is empty");
    putBaseline(mirror, 27, 1, "new");
    await run(mirror, at("corpus"));
    for (const name of ["corpus.old", "corpus.next", "data", "data.old"]) {
      assertEquals(textsIn(at(name)), { "deep/thesis.txt": `mine in ${name}` });
    }
    // A corpus that was moved away stays away: the next run begins from nothing.
    Deno.removeSync(at("corpus.old"), { recursive: true });
    Deno.renameSync(at("corpus"), at("corpus.old"));
    const before = digestOf(at("corpus.old"));
    const summary = await run(mirror, at("corpus"));
    assertEquals([summary.files_added, summary.live], [1, 10]);
    assertEquals(digestOf(at("corpus.old")), before);
  }));

Deno.test("a new year's series leaves what others put into the corpus folder", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putBaseline(mirror, 26, 1);
    const options = { tokenizer: TOKENIZER, sequenceLength: 64 };
    await run(mirror, corpus, options);
    const mine = ["notes.txt", "documents/notes.txt", "shards/train/notes.txt", "shards/x/y.txt"];
    Deno.mkdirSync(join(corpus, "shards/x"));
    for (const path of mine) Deno.writeTextFileSync(join(corpus, path), path);
    putBaseline(mirror, 27, 1, "new");
    await run(mirror, corpus);
    for (const path of mine) assertEquals(Deno.readTextFileSync(join(corpus, path)), path);
    assertEquals((await documentsOf(corpus))[0]!.title, "new 10");
    assertEquals((await verifyCorpus(corpus)).problems, []);
    assert(!exists(join(corpus, "next-series")) && !exists(join(corpus, "old-series")));
    // What has the name of a folder that the swap needs is not taken for the program's own.
    for (const name of ["next-series", "old-series"]) {
      Deno.mkdirSync(join(corpus, name));
      Deno.writeTextFileSync(join(corpus, name, "mine.txt"), "mine");
      putBaseline(mirror, 28, 1);
      await assertRejects(() => run(mirror, corpus), UserError, `${name} holds files that are not`);
      assertEquals(textsIn(join(corpus, name)), { "mine.txt": "mine" });
      Deno.removeSync(join(corpus, name), { recursive: true });
    }
    await run(mirror, corpus);
  }));

/** Copies a folder with all that is in it. */
function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(join(from, name), join(to, name));
    else Deno.copyFileSync(join(from, name), join(to, name));
  }
}

/**
 * Runs `action` on a system that fails at the `fail`th renaming or removing, and at all that follow (as
 * for a process that was killed) or at that one alone; false where it came to the end.
 */
async function cutAt(
  fail: number,
  action: () => Promise<unknown> | void,
  once = false,
): Promise<boolean> {
  const { renameSync, removeSync } = Deno;
  let call = 0;
  const failing = <A extends unknown[]>(real: (...args: A) => void) => (...args: A) => {
    const at = call++;
    if (once ? at === fail : at >= fail) throw new Error("the plug is pulled");
    real(...args);
  };
  Deno.renameSync = failing(renameSync);
  Deno.removeSync = failing(removeSync);
  try {
    await action();
    return false;
  } catch (error) {
    assertStringIncludes(String(error), "the plug is pulled");
    return true;
  } finally {
    Deno.renameSync = renameSync;
    Deno.removeSync = removeSync;
  }
}

Deno.test("a change of series cut short at any step is ended by the next run", () =>
  withFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    const mirror = at("mirror");
    const options = { tokenizer: TOKENIZER, sequenceLength: 64 };
    putBaseline(mirror, 26, 1, "old");
    await run(mirror, at("ready"), options);
    const old = digestOf(at("ready"));
    putBaseline(mirror, 27, 1, "new");
    await run(mirror, at("plain"), options);
    const whole = digestOf(at("plain"));
    // The new series is whole, and the swap has not begun.
    copyFolder(at("plain"), join(at("ready"), "next-series"));
    markSeries(join(at("ready"), "next-series"), "");
    let steps = 0;
    let turns = 0;
    for (let step = 0;; step++) {
      const corpus = at(`corpus${step}`);
      const fail = step >> 1;
      const once = step % 2 === 0;
      copyFolder(at("ready"), corpus);
      const cut = await cutAt(fail, () => swapIn(corpus), once);
      const noted = exists(join(corpus, "series-swap.json"));
      await cutAt(fail % 5, () => finishSwap(corpus)); // cut again on the way
      finishSwap(corpus);
      // Where the system fails once while the old series goes out, it comes back.
      const begun = noted || !cut;
      turns += Number(once && cut && !begun);
      assertEquals(digestOf(corpus), begun ? whole : old, `cut at step ${fail}`);
      const { problems } = await verifyCorpus(corpus);
      assertEquals(problems, [], `cut at step ${fail}`);
      if (begun) {
        const names = [...Deno.readDirSync(corpus)].map((e) => e.name);
        assertEquals(names.filter((name) => /series/.test(name)), []);
      }
      if (!cut && !once) break;
      steps = fail;
    }
    assert(steps > 25, `only ${steps} steps were cut`);
    assert(turns > 5, `only ${turns} swaps were taken back`);
    // The command itself goes on with what is there.
    await cutAt(12, () => swapIn(at("ready")));
    assertEquals((await run(mirror, at("ready"))).up_to_date, true);
    assertEquals(digestOf(at("ready")), whole);
  }));

Deno.test("a new year's baseline of far fewer files is refused, unless it is said to be whole", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putBaseline(mirror, 26, 3);
    assertEquals((await run(mirror, corpus, { files: "1-2" })).live, 20);
    putBaseline(mirror, 27, 2, "new");
    // Three were offered then, though two were taken.
    await assertRejects(() => run(mirror, corpus), UserError, "2 files of its baseline");
    assertEquals((await documentsOf(corpus))[0]!.title, "Title 10");
    const summary = await run(mirror, corpus, { smallerBaseline: true });
    assertEquals(summary.live, 20);
    assertEquals((await documentsOf(corpus))[0]!.title, "new 10");
    putBaseline(mirror, 28, 2, "newer");
    assertEquals((await run(mirror, corpus)).live, 20);
  }));

Deno.test("a failed first run removes what it made, and nothing else", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const own = join(corpus, "tokenizer.json");
    const text = Deno.readTextFileSync(TOKENIZER);
    const nowhere = join(folder, "nowhere");
    await assertRejects(() => run(nowhere, corpus, { tokenizer: TOKENIZER }), UserError);
    assert(!exists(corpus), "the folder was made by the run");
    Deno.mkdirSync(corpus);
    Deno.writeTextFileSync(own, text);
    for (const tokenizer of [TOKENIZER, own]) {
      await assertRejects(() => run(nowhere, corpus, { tokenizer }), UserError, "PubMed files");
      assertEquals(textsIn(corpus), { "tokenizer.json": text });
    }
    // Another tokenizer that lies there is not overwritten either.
    Deno.writeTextFileSync(own, text + " ");
    const mirror = join(folder, "mirror");
    putBaseline(mirror, 26, 1);
    await assertRejects(
      () => run(mirror, corpus, { tokenizer: TOKENIZER }),
      UserError,
      "is there already",
    );
    assertEquals(textsIn(corpus), { "tokenizer.json": text + " " });
    Deno.removeSync(own);
    await run(mirror, corpus, { tokenizer: TOKENIZER, sequenceLength: 64 });
    // Half-written files of others stay, those of a killed run go.
    const theirs = ["thesis.partial", "documents/thesis.partial", "tokens/my.tokens.partial"];
    const ours = ["documents/pubmed26n0002.parquet.partial", "shards/manifest.json.partial"];
    for (const path of [...theirs, ...ours]) Deno.writeTextFileSync(join(corpus, path), "half");
    await run(mirror, corpus);
    assertEquals(theirs.filter((path) => !exists(join(corpus, path))), []);
    assertEquals(ours.filter((path) => exists(join(corpus, path))), []);
  }));

Deno.test("a corpus behind a link stays on its disk through a new series", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const real = join(folder, "disk/corpus");
    const link = join(folder, "corpus");
    Deno.mkdirSync(real, { recursive: true });
    Deno.symlinkSync(real, link);
    putBaseline(mirror, 26, 1);
    await run(mirror, link);
    putBaseline(mirror, 27, 1, "new");
    await run(mirror, link);
    assert(Deno.lstatSync(link).isSymlink);
    assertEquals((await documentsOf(real))[0]!.title, "new 10");
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name).sort(), [
      "corpus",
      "disk",
      "mirror",
    ]);
  }));

Deno.test("a corpus of which a part lies elsewhere gets no new series, and stays as it is", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const options = { tokenizer: TOKENIZER, sequenceLength: 64 };
    putBaseline(mirror, 26, 1);
    await run(mirror, corpus, options);
    Deno.renameSync(join(corpus, "shards"), join(folder, "shards"));
    Deno.symlinkSync(join(folder, "shards"), join(corpus, "shards"));
    const before = digestOf(corpus);
    putBaseline(mirror, 27, 1, "new");
    await assertRejects(() => run(mirror, corpus), UserError, "shards is a link or another disk");
    assertEquals(digestOf(corpus), before);
    assertEquals((await verifyCorpus(corpus)).problems, []);
  }));

Deno.test("a corpus of an earlier version is read, and brought up to date by the next run", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putFile(mirror, "baseline", 1, pubmedSet(article(1), article(2, { abstract: "" })));
    await run(mirror, corpus, { tokenizer: TOKENIZER, sequenceLength: 64 });
    const before = digestOf(corpus);
    const path = join(corpus, "catalogue.sqlite");
    const database = new DatabaseSync(path);
    database.exec(
      "ALTER TABLE files DROP COLUMN rejected_sha256; ALTER TABLE files DROP COLUMN raw",
    );
    database.exec("UPDATE meta SET value = '1' WHERE key = 'schema'");
    database.exec("DELETE FROM meta WHERE key IN ('manifest_sha256', 'baseline_files')");
    database.close();
    Deno.removeSync(join(corpus, "catalogue.sha256"));
    assertEquals((await documentsOf(corpus)).map((d) => d.pmid), [1, 2]);
    const { problems } = await verifyCorpus(corpus);
    assertEquals(problems.map((problem) => /catalogue\.sha256|manifest\.json/.exec(problem)?.[0]), [
      "catalogue.sha256",
      "manifest.json",
    ]);
    await run(mirror, corpus);
    assertEquals((await verifyCorpus(corpus)).problems, []);
    assertEquals(digestOf(corpus), before);
  }));

/** Runs the real task, with the permissions that it gives itself. */
async function task(cwd: string, ...words: string[]): Promise<{ code: number; log: string }> {
  const { code, stderr, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--cwd", ROOT, "pipeline", ...words],
    cwd,
  }).output();
  const decoder = new TextDecoder();
  return { code, log: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("deno task pipeline: a new year's series, verify and repair under the real permissions", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const good = async (...words: string[]) => {
      const { code, log } = await task(folder, ...words, "--corpus", corpus);
      assertEquals(code, 0, log);
      return log;
    };
    putBaseline(mirror, 26, 2);
    const options = ["--tokenizer", TOKENIZER, "--sequence-length", "64"];
    await good("run", "--source", mirror, ...options);
    putBaseline(mirror, 27, 2, "new");
    assertStringIncludes(await good("refresh"), "series of 2027");
    assertEquals((await documentsOf(corpus))[0]!.title, "new 10");
    assertStringIncludes(await good("verify"), "all as written");

    const before = digestOf(corpus);
    const tokens = join(corpus, "tokens/pubmed27n0001.tokens");
    const bytes = Deno.readFileSync(tokens);
    bytes[bytes.length - 1]! ^= 1;
    Deno.writeFileSync(tokens, bytes);
    const shard = join(corpus, "shards/train/train-00000.tokens.npy");
    Deno.truncateSync(shard, 200);
    const found = await task(folder, "verify", "--corpus", corpus, "--repair");
    assertEquals(found.code, 1);
    for (const path of [tokens, shard]) assertStringIncludes(found.log, `Removed: ${path}`);
    assert(!exists(tokens) && !exists(shard));
    await good("refresh");
    assertEquals(digestOf(corpus), before);
    assertStringIncludes(await good("verify"), "all as written");
  }));

Deno.test("lost and damaged files come back with the next run, to the same bytes", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putBaseline(mirror, 26, 2);
    putFile(mirror, "updatefiles", 3, pubmedSet(article(500), article(501, { abstract: "" })));
    await run(mirror, corpus, { tokenizer: TOKENIZER, sequenceLength: 64, validation: 0.2 });
    const before = digestOf(corpus);
    for (const path of Object.keys(before)) {
      Deno.removeSync(join(corpus, path));
      await run(mirror, corpus);
      assertEquals(digestOf(corpus), before, path);
    }
    for (const path of Object.keys(before).filter((p) => /shards|manifest/.test(p))) {
      Deno.truncateSync(join(corpus, path), 100);
      await run(mirror, corpus);
      assertEquals(digestOf(corpus), before, path);
    }
    assertEquals((await run(mirror, corpus)).up_to_date, true);
    assertEquals((await verifyCorpus(corpus)).problems, []);
  }));

Deno.test("a byte that changed in a token file does not reach the shards", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const plain = join(folder, "plain");
    const options = { tokenizer: TOKENIZER, sequenceLength: 64 };
    putBaseline(mirror, 26, 2);
    await run(mirror, corpus, options);
    const tokens = join(corpus, "tokens/pubmed26n0001.tokens");
    const bytes = Deno.readFileSync(tokens);
    bytes[bytes.length - 20]! ^= 1;
    Deno.writeFileSync(tokens, bytes);
    putFile(mirror, "updatefiles", 3, pubmedSet(article(500)));
    const log: string[] = [];
    await run(mirror, corpus, { log: (line) => log.push(line) });
    assertStringIncludes(log.join(), `${tokens} is not what was written; making it again`);
    await run(mirror, plain, options);
    assertEquals(digestOf(corpus), digestOf(plain));
    // Where the documents are damaged too, nothing is made from them.
    const documents = join(corpus, "documents/pubmed26n0001.parquet");
    const parquet = Deno.readFileSync(documents);
    parquet[40]! ^= 1;
    Deno.writeFileSync(documents, parquet);
    Deno.removeSync(tokens);
    await assertRejects(() => run(mirror, corpus), UserError, "verify --repair");
  }));

Deno.test("numbers beyond 32 bits, unknown elements and deletions of nothing are counted", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const records = pubmedSet(
      article(5),
      article(6, { version: 1_000_000 }),
      article(7).replace('Version="1"', 'Version="4294967297"'),
      article(8).replace('Version="1"', 'Version="x"'),
      "<Surprise><PMID>9</PMID></Surprise>",
      '<DeleteCitation><PMID Version="1">4294967301</PMID><PMID>none</PMID>' +
        '<PMID Version="5000000000">5</PMID></DeleteCitation>',
    );
    putFile(mirror, "baseline", 1, records);
    const summary = await run(mirror, corpus);
    assertEquals((await documentsOf(corpus)).map((d) => [d.pmid, d.version]), [
      [5, 1],
      [6, 1_000_000],
    ]);
    assertEquals([summary.live, summary.deleted], [2, 0]);
    const lines = Deno.readTextFileSync(join(corpus, "rejected/pubmed26n0001.jsonl")).trimEnd();
    assertEquals(lines.split("\n").map((line) => JSON.parse(line)), [
      { pmid: 7, version: 0, ordinal: 2, reason: "bad-version" },
      { pmid: 8, version: 0, ordinal: 3, reason: "bad-version" },
      { pmid: null, version: 0, ordinal: 4, reason: "unknown-element", element: "Surprise" },
      { pmid: 4294967301, version: 1, ordinal: 4, reason: "bad-deletion" },
      { pmid: null, version: 1, ordinal: 4, reason: "bad-deletion" },
      { pmid: 5, version: 0, ordinal: 4, reason: "bad-deletion" },
    ]);
    assertEquals((await verifyCorpus(corpus)).problems, []);
  }));

Deno.test("a source named by a relative path is found from anywhere, and a dangling link is told of", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putBaseline(mirror, 26, 1);
    const cwd = Deno.cwd();
    try {
      Deno.chdir(folder);
      await run("mirror", "corpus");
      Deno.chdir("/");
      assert((await runPipeline({ corpus, workers: 1 })).up_to_date);
    } finally {
      Deno.chdir(cwd);
    }
    Deno.symlinkSync(join(folder, "gone"), join(mirror, "baseline/pubmed26n0002.xml.gz"));
    await assertRejects(() => run(mirror, corpus), UserError, "a link to a file that is not there");
  }));

Deno.test("a mirror's password is sent and never shown", () =>
  withFolder((folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putBaseline(mirror, 26, 1);
    const expected = `Basic ${btoa("ann:open sesame")}`;
    return withServer(mirror, async (url, requests) => {
      const source = url.replace("//", "//ann:open%20sesame@");
      const log: string[] = [];
      const words = ["--source", source, "--corpus", corpus, "--retry-delay", "0"];
      const made = await task(folder, "run", ...words);
      assertEquals(made.code, 0, made.log);
      // But for the line in which Deno repeats the command.
      log.push(
        made.log.split("\n").filter((line) => !line.includes("scripts/start.ts")).join("\n"),
      );
      for (const word of ["status", "refresh", "report"]) {
        const more = word === "report" ? ["--out", join(folder, "report.html")] : [];
        const shown = await task(folder, word, "--corpus", corpus, ...more);
        assertEquals(shown.code, 0, shown.log);
        log.push(shown.log);
      }
      log.push(Deno.readTextFileSync(join(folder, "report.html")));
      // A fault's sentence does not show it either.
      Deno.writeTextFileSync(
        join(mirror, "baseline/pubmed26n0001.xml.gz.md5"),
        md5File("pubmed26n0001.xml.gz", encode("x")),
      );
      Deno.removeSync(join(corpus, "documents/pubmed26n0001.parquet"));
      log.push((await task(folder, "refresh", "--corpus", corpus, "--retry-delay", "0")).log);
      assertStringIncludes(log.at(-1)!, "MD5");
      assertEquals(log.filter((text) => /sesame|ann[:@]/.test(text)), []);
      assert(
        requests.length > 5 && requests.every((r) => r.headers.get("authorization") === expected),
      );
    });
  }));
