/** Inputs made to hang the program, to fill its memory or the disk, or to keep it from stopping. @module */
import { gzipSync } from "node:zlib";
import { Interrupted, UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { DEFAULT_POLICIES } from "../../pipeline/ingest/policy.ts";
import { corpusPaths } from "../../pipeline/corpus_paths.ts";
import { MAX_FILE_RECORDS, processFile } from "../../pipeline/ingest/process_file.ts";
import { readXml } from "../../pipeline/ingest/read_xml.ts";
import { WorkerPool } from "../../pipeline/ingest/worker_pool.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { hashFile } from "../../core/files.ts";
import { LIMITS } from "../../pipeline/source/http_client.ts";
import { isWholePage, linksOf } from "../../pipeline/source/listing.ts";
import { readRecords } from "../../pipeline/texts/records.ts";
import { MAX_TEXT_CHARACTERS, readLines } from "../../core/text_input.ts";
import { readDoctype } from "../../pipeline/xml/doctype.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../assert.ts";
import { ROOT, runTask, taskWords } from "../shared.ts";
import {
  article,
  encode,
  nameOf,
  parse,
  pubmedSet,
  putFile,
  serveFile,
  withFolder,
  withServer,
} from "./support.ts";

const MEGABYTE = 1_000_000;

Deno.test("a DOCTYPE takes time in proportion to its length, whatever it is made of", () => {
  const inside = (text: string) => `<!DOCTYPE a [${text}]>`;
  const space = " ".repeat(MEGABYTE);
  const many = (text: string) => text.repeat(MEGABYTE / text.length);
  const malformed = [
    inside(`<!ELEMENT a${space}<`),
    inside(`<!ELEMENT ${many("a")} (b`),
    inside(`<!ATTLIST a ${many("b CDATA #IMPLIED ")}!`),
    inside(`<!ATTLIST a ${many("b NOTATION (c) #FIXED 'd' ")}!`),
    inside(`<!ATTLIST a b (${many("c|")}`),
    inside(`<?a ${many("? ")}`),
    inside(`<!--${many("- ")}`),
    inside(`<!NOTATION a PUBLIC${space}'b'${space}c`),
    `<!DOCTYPE a${space}b>`,
    `<!DOCTYPE a SYSTEM '${many("b")}`,
  ];
  for (const text of malformed) assert("error" in readDoctype(text), text.slice(0, 40));
  const whole = [
    inside(`<!--${"c".repeat(20 * MEGABYTE)}-->`),
    inside(`<?a ${"c".repeat(20 * MEGABYTE)}?>`),
    inside(`<!ATTLIST a ${many("b CDATA #IMPLIED ")}>`),
    inside(many("<!ELEMENT a (b)>")),
    inside(many(space + "<!-- c -->")),
  ];
  for (const text of whole) assertEquals(readDoctype(text), { defaults: new Map() });
});

Deno.test("a comment of 20 MB in a file's DOCTYPE is read", () => {
  const comment = `<!--${"c".repeat(20 * MEGABYTE)}-->`;
  const xml = pubmedSet(article(7)).replace(
    /<!DOCTYPE[^>]*>/,
    (doctype) => doctype.replace(">", ` [${comment}<!ATTLIST PMID Version CDATA "3">]>`),
  )
    .replace('<PMID Version="1">', "<PMID>");
  assertEquals(parse(xml).citations.map(({ version }) => version), [3]);
});

Deno.test("a listing takes time in proportion to its length, whatever it is made of", () => {
  const pages: [string, number][] = [
    ["href=a ", 0],
    ["href=a>", 0],
    ["<a href=a>", 0],
    ["<a href=a>b</a> ", 1],
    ["</pre>", 0],
    ["</pre x", 0],
    ["</pre  <", 0],
    [" ", 0],
  ];
  for (const [piece, links] of pages) {
    const count = Math.floor(2 * MEGABYTE / piece.length);
    const page = piece.repeat(count);
    assertEquals([...linksOf(page)].length, links * count, piece);
    assertEquals(isWholePage(page), piece === "</pre>", piece);
    assertEquals(isWholePage(page + "x"), false, piece);
  }
});

Deno.test("links are found in every spelling, with what stands behind them", () => {
  const page = `<A class=x HREF = 'a.gz' id="1">a</A>  2026-01-10 14:06  1k\n` +
    `<a href="b.gz"><b>no</b></a> <a href=./c.gz>c</a>\n<a href="">d</a><a href>e</a>`;
  assertEquals([...linksOf(page)], [
    { target: "a.gz", stamp: "  2026-01-10 14:06  1k" },
    { target: "./c.gz", stamp: "" },
  ]);
  assertEquals(isWholePage("<html>x</html>\n<!-- a < b -->\n"), true);
  assertEquals(isWholePage("<html>x</html> y"), false);
});

Deno.test("answers longer than any of NLM's are refused at once", () =>
  withFolder(async (folder) => {
    const root = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putFile(root, "baseline", 1, pubmedSet(article(7)));
    const http = { retryDelay: 0.002, readTimeout: 5 };
    /** A body without end. */
    const endless = () =>
      new ReadableStream({ pull: (controller) => controller.enqueue(encode(" ".repeat(1 << 16))) });
    const long = { headers: { "content-length": String(LIMITS.fileBytes + 1) } };
    const answers: [RegExp, () => Response, string][] = [
      [/baseline\/$/, () => new Response(endless()), "the answer is longer than 16777216 bytes"],
      [/\.md5$/, () => new Response(endless()), "the answer is longer than 65536 bytes"],
      [/\.gz$/, () => new Response(endless(), long), "it is longer than 4.3 GB"],
    ];
    for (const [path, answer, message] of answers) {
      let asked = 0;
      await withServer(root, async (url) => {
        const error = await assertRejects(
          () => runPipeline({ source: url, corpus, workers: 1, http }),
          UserError,
        );
        assertStringIncludes(error.message, message);
      }, (request, at) => {
        if (!path.test(at)) return undefined;
        asked++;
        return request.method === "GET" ? answer() : serveFile(request, join(root, at));
      });
      assertEquals(asked, 1, message);
    }
  }));

Deno.test("a contact that would begin another header is refused in a sentence", () =>
  withFolder(async (folder) => {
    const http = { contact: "me@example.org\nCookie: a" };
    const corpus = join(folder, "corpus");
    await assertRejects(
      () => runPipeline({ source: "http://127.0.0.1:9/", corpus, workers: 1, http }),
      UserError,
      'Cannot send the contact "me@example.org\\nCookie: a": it must be an e-mail address or a URL',
    );
  }));

Deno.test("lines are found across blocks, and a line without end is refused", () =>
  withFolder((folder) => {
    const path = join(folder, "texts.txt");
    const long = "x".repeat(2_500_000);
    const lines = ["a", long, "", `${long}é`, "b"];
    Deno.writeTextFileSync(path, lines.join("\r\n"));
    assertEquals([...readLines(path)].map(({ line }) => line), lines);
    const error = assertThrows(() => [...readLines(path, 1_000_000)], UserError);
    assertStringIncludes(error.message, "line 2: it is longer than 1000000 characters");
    Deno.truncateSync(path, MAX_TEXT_CHARACTERS + 1);
    return assertRejects(
      () => readRecords(path).next(),
      UserError,
      `it has ${MAX_TEXT_CHARACTERS + 1} bytes, and a document at most ${MAX_TEXT_CHARACTERS}`,
    ).then(() => {});
  }));

/** A job for the file at `path`. */
const jobOf = (path: string, corpus: string) => ({
  source: nameOf(1).replace(".xml.gz", ""),
  path,
  md5: hashFile(path, "md5"),
  corpus,
  fields: "all" as const,
  policies: DEFAULT_POLICIES,
});

Deno.test("more records than any file has are refused; rejects go to the disk as they come", () =>
  withFolder(async (folder) => {
    const path = join(folder, nameOf(1));
    const record = "<PubmedArticle/>";
    const write = (records: number) =>
      Deno.writeFileSync(path, gzipSync(pubmedSet(record.repeat(records)), { level: 1 }));
    write(MAX_FILE_RECORDS + 1);
    const before = Deno.memoryUsage().rss;
    await assertRejects(
      () => processFile(jobOf(path, folder)),
      UserError,
      `Cannot take ${path}: it has more than 2000000 records and deletions`,
    );
    assert(Deno.memoryUsage().rss - before < 5e8, "rejects are held in memory");
    const { rejected } = corpusPaths;
    const file = rejected(folder, jobOf(path, folder).source);
    assertEquals([...Deno.readDirSync(join(folder, "rejected"))], []);
    write(50_000);
    const { counts, records } = await processFile(jobOf(path, folder));
    assertEquals([records, counts], [50_000, { "no-pmid": 50_000 }]);
    const lines = Deno.readTextFileSync(file).trimEnd().split("\n");
    assertEquals(lines.length, 50_000);
    assertEquals(JSON.parse(lines.at(-1)!), {
      pmid: null,
      version: 1,
      ordinal: 49_999,
      reason: "no-pmid",
    });
    Deno.writeFileSync(path, gzipSync(pubmedSet(article(7))));
    await processFile(jobOf(path, folder));
    assertEquals(exists(file), false, "an older file of rejects stays");
  }));

Deno.test("little gzip data that holds very much XML is refused", () =>
  withFolder(async (folder) => {
    const path = join(folder, nameOf(1));
    Deno.writeFileSync(path, gzipSync(pubmedSet(" ".repeat(4 * MEGABYTE))));
    const sink = { citation() {}, deletions() {} };
    assert(await readXml(path, sink, "all") > 4 * MEGABYTE);
    await assertRejects(
      () => readXml(path, sink, "all", undefined, MEGABYTE),
      UserError,
      "it holds more than 1000000 bytes of XML",
    );
  }));

Deno.test("a worker is stopped in the middle of a computation that hears nothing", () =>
  withFolder(async (folder) => {
    const path = join(folder, nameOf(1));
    Deno.writeFileSync(path, gzipSync(pubmedSet(article(7))));
    const begun = new BroadcastChannel("looping worker");
    const pool = new WorkerPool(1, new URL("./looping_worker.ts", import.meta.url));
    const tasks = [1, 2].map(() => pool.run({ kind: "file", job: jobOf(path, folder) }));
    await new Promise((resolve) => begun.onmessage = resolve);
    begun.close();
    await new Promise((resolve) => setTimeout(resolve, 100));
    pool.stop();
    // The one that runs, and the one that waits for the worker.
    for (const task of tasks) await assertRejects(() => task, Interrupted);
    await pool.close();
  }));

Deno.test("a task that is told to stop in the middle of a long word stops, and the next run goes on", () =>
  withFolder(async (folder) => {
    const root = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    // A word of many letters is one pretoken, whose merges are found without a pause.
    const abstract = "acgt".repeat(5 * MEGABYTE);
    putFile(root, "baseline", 1, pubmedSet(article(7, { abstract })));
    const words = ["run", "--source", root, "--corpus", corpus, "--workers", "1"];
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    const child = new Deno.Command(Deno.execPath(), {
      args: taskWords("pipeline", ...words, "--tokenizer", tokenizer),
      stdout: "null",
      stderr: "piped",
    }).spawn();
    while (!exists(join(corpus, "documents/pubmed26n0001.parquet.partial"))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill("SIGTERM");
    const { code, stderr } = await child.output();
    assertEquals(code, 130, new TextDecoder().decode(stderr));
    assertEquals(exists(join(corpus, "tokens/pubmed26n0001.tokens")), false);
    const again = await runTask(["pipeline", ...words]);
    assertEquals(again.code, 0, again.stderr);
    assertEquals(parts(corpus), ["pubmed26n0001.parquet"]);
  }));

/** The files of a corpus's documents. */
const parts = (corpus: string) =>
  [...Deno.readDirSync(join(corpus, "documents"))].map(({ name }) => name);
