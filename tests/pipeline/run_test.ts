/** `pipeline run` from a folder: what it makes, resumes, and refuses. @module */
import { gzipSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { Corpus, CorpusBusy, readCatalogue } from "../../pipeline/corpus.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { readStatus } from "../../pipeline/status.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../assert.ts";
import { ROOT, SHARED, sharedTest } from "../shared.ts";
import {
  article,
  deletion,
  digestOf,
  documentsOf,
  encode,
  md5File,
  nameOf,
  pubmedSet,
  putFile,
  withFolder,
} from "./support.ts";

const FIXTURES = join(ROOT, "fixtures/mirror");

const run = (source: string, corpus: string, options: Partial<RunOptions> = {}) =>
  runPipeline({ source, corpus, workers: 1, ...options });

Deno.test("live documents follow versions, revisions and deletions across files", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putFile(
      mirror,
      "baseline",
      1,
      pubmedSet(
        article(1, { title: "one" }),
        article(2, { title: "two, first" }),
        article(2, { title: "two, again" }),
        article(3, { title: "three, version 2", version: 2 }),
        article(3, { title: "three, version 1" }),
        article(4, { title: "four" }),
        article(5, { title: "five" }),
        article(6, { title: "six, version 1" }),
        article(6, { title: "six, version 2", version: 2 }),
      ),
    );
    putFile(
      mirror,
      "updatefiles",
      2,
      pubmedSet(
        article(1, { title: "one, revised" }),
        article(3, { title: "three, version 1, later" }),
        deletion([4, 1], [5, 1], [6, 2], [9, 1]),
      ),
    );
    putFile(mirror, "updatefiles", 3, pubmedSet(article(5, { title: "five, back" })));
    const summary = await run(mirror, corpus);
    assertEquals([summary.files_added, summary.records_added, summary.live], [3, 12, 5]);
    assertEquals(
      (await documentsOf(corpus)).map((d) => [d.pmid, d.version, d.title, d.source]),
      [
        [1, 1, "one, revised", "pubmed26n0002"],
        [2, 1, "two, again", "pubmed26n0001"],
        [3, 2, "three, version 2", "pubmed26n0001"],
        [5, 1, "five, back", "pubmed26n0003"],
        [6, 1, "six, version 1", "pubmed26n0001"],
      ],
    );
    const catalogue = readCatalogue(corpus);
    const status = readStatus(corpus, catalogue);
    catalogue.close();
    assertEquals([status.records, status.live, status.superseded, status.deleted], [12, 5, 5, 2]);
    const again = await run(mirror, corpus);
    assert(again.up_to_date);
    assertEquals(again.files_added, 0);
  }));

Deno.test("the corpus is the same for 1, 2 and 7 workers, and in two runs instead of one", () =>
  withFolder(async (folder) => {
    const digests: Record<string, string>[] = [];
    for (const workers of [1, 2, 7]) {
      const corpus = join(folder, `corpus${workers}`);
      if (workers === 2) await run(FIXTURES, corpus, { files: "2,4-5" });
      await run(FIXTURES, corpus, { workers });
      digests.push(digestOf(corpus));
    }
    assertEquals(Object.keys(digests[0]!).filter((k) => k.startsWith("documents/")).length, 5);
    assertEquals(digests[1]!, digests[0]!);
    assertEquals(digests[2]!, digests[0]!);
  }));

Deno.test("every record of the fixtures that gives no training text is listed with its reason", () =>
  withFolder(async (corpus) => {
    await run(FIXTURES, corpus);
    const listed: Record<string, number> = {};
    for (const entry of Deno.readDirSync(join(corpus, "rejected"))) {
      const text = Deno.readTextFileSync(join(corpus, "rejected", entry.name));
      for (const line of text.trimEnd().split("\n")) {
        const { reason } = JSON.parse(line) as { reason: string };
        listed[reason] = (listed[reason] ?? 0) + 1;
      }
    }
    const catalogue = readCatalogue(corpus);
    const status = readStatus(corpus, catalogue);
    catalogue.close();
    assertEquals(listed, status.dropped);
    assert((listed["no-abstract"] ?? 0) > 0 && (listed["retracted"] ?? 0) > 0);
  }));

Deno.test("a file that is issued again replaces all that the first issue said", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putFile(mirror, "baseline", 1, pubmedSet(article(1, { title: "old" }), article(2)));
    putFile(mirror, "updatefiles", 2, pubmedSet(article(1, { title: "new" }), deletion([2, 1])));
    await run(mirror, corpus);
    assertEquals((await documentsOf(corpus)).map((d) => d.title), ["new"]);
    putFile(mirror, "updatefiles", 2, pubmedSet(article(3, { title: "third" })));
    const summary = await run(mirror, corpus);
    assertEquals(summary.files_added, 1);
    assertEquals((await documentsOf(corpus)).map((d) => d.title), ["old", "Title 2.", "third"]);
  }));

Deno.test("policies decide what becomes training text, and hold for the corpus", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const type = (name: string) => `<PublicationType UI="x">${name}</PublicationType>`;
    putFile(
      mirror,
      "baseline",
      1,
      pubmedSet(
        article(1),
        article(2, { abstract: "" }),
        article(3, { title: "", abstract: "" }),
        article(4, { extra: type("Retracted Publication") }),
        article(5, { extra: type("Published Erratum") }),
        article(6, { extra: type("Comment") }),
        article(7, { title: "Hm.", abstract: "Short." }),
        article(8).replace("<Language>eng", "<Language>ger"),
        article(9).replace(">9</PMID>", ">none</PMID>"),
      ),
    );
    await run(mirror, corpus, { policies: { replies: "drop", nonEnglish: "drop" } });
    const lines = Deno.readTextFileSync(join(corpus, "rejected/pubmed26n0001.jsonl")).trimEnd();
    assertEquals(
      lines.split("\n").map((line) => JSON.parse(line)).map((r) => [r.pmid, r.reason]),
      [
        [2, "no-abstract"],
        [3, "no-text"],
        [4, "retracted"],
        [5, "erratum"],
        [6, "reply"],
        [7, "too-short"],
        [8, "non-english"],
        [null, "no-pmid"],
      ],
    );
    const error = await assertRejects(
      () => run(mirror, corpus, { policies: { replies: "keep" } }),
      UserError,
    );
    assertStringIncludes(error.message, "--replies keep");
    assertEquals((await run(mirror, corpus)).up_to_date, true);
  }));

/** Runs into a UserError that holds every one of `parts`; nothing half-written may remain. */
async function refuses(mirror: string, corpus: string, ...parts: string[]): Promise<void> {
  const error = await assertRejects(() => run(mirror, corpus), UserError);
  for (const part of parts) assertStringIncludes(error.message, part);
  for (const sub of ["", "documents", "rejected", "tokens", "shards"]) {
    if (!exists(join(corpus, sub))) continue;
    for (const { name } of Deno.readDirSync(join(corpus, sub))) {
      assert(!name.endsWith(".partial"), name);
      assert(!name.startsWith("pubmed26n0002"), name);
    }
  }
}

Deno.test("bad input gets a clear error and leaves the good files in", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    await refuses(join(folder, "nowhere"), corpus, "PubMed files", "baseline/");
    Deno.mkdirSync(join(mirror, "baseline"), { recursive: true });
    Deno.writeTextFileSync(join(mirror, "baseline/readme.txt"), "x");
    await refuses(mirror, corpus, "PubMed files");
    await refuses("ftp://ftp.ncbi.nlm.nih.gov/pubmed", corpus, "ftp");

    putFile(mirror, "baseline", 1, pubmedSet(article(1)));
    const bad = putFile(mirror, "updatefiles", 2, pubmedSet(article(2), article(3)));
    const name = nameOf(2);
    const good = Deno.readFileSync(bad);
    const put = (data: Uint8Array) => {
      Deno.writeFileSync(bad, data);
      Deno.writeTextFileSync(bad + ".md5", md5File(name, data));
    };
    Deno.writeTextFileSync(bad + ".md5", md5File(name, encode("x")));
    await refuses(mirror, corpus, name, "MD5");
    Deno.removeSync(bad + ".md5");
    await refuses(mirror, corpus, name, "there is no");
    Deno.writeTextFileSync(bad + ".md5", "nothing");
    await refuses(mirror, corpus, name, "holds no MD5");
    put(good.slice(0, good.length - 20));
    await refuses(mirror, corpus, name, "ends too soon");
    const damaged = good.slice();
    damaged[damaged.length - 8]! ^= 1;
    put(damaged);
    await refuses(mirror, corpus, name, "damaged");
    put(encode("no gzip at all"));
    await refuses(mirror, corpus, name, "damaged");
    const xml = pubmedSet(article(2), article(3)).replace("Title 3.", "<b>Title 3.");
    put(gzipSync(encode(xml)));
    await refuses(mirror, corpus, name, "byte ", "after PMID 2", "<b>");
    assertEquals((await documentsOf(corpus)).map((d) => d.pmid), [1]);
    put(good);
    await run(mirror, corpus);
    assertEquals((await documentsOf(corpus)).map((d) => d.pmid), [1, 2, 3]);
  }));

Deno.test("two numbers alike, a missing selection and another year are refused", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    putFile(mirror, "baseline", 1, pubmedSet(article(1)));
    putFile(mirror, "updatefiles", 1, pubmedSet(article(2)));
    await assertRejects(() => run(mirror, corpus), UserError, "there twice");
    Deno.removeSync(join(mirror, "updatefiles", nameOf(1)));
    await assertRejects(() => run(mirror, corpus, { files: "7" }), UserError, "1 to 1");
    await run(mirror, corpus);
    putFile(mirror, "baseline", 1, pubmedSet(article(1)), 27);
    await assertRejects(() => run(mirror, corpus), UserError, "2026 to that of 2027");
    Deno.removeSync(join(mirror, "baseline", nameOf(1)));
    await run(mirror, corpus);
    Deno.removeSync(join(mirror, "baseline"), { recursive: true });
    putFile(mirror, "baseline", 1, pubmedSet(article(1)), 26);
    await assertRejects(() => run(mirror, corpus), UserError, "only that of 2026");
  }));

Deno.test("a new year's series is built with the old one's settings and takes its place when it is whole", () =>
  withFolder(async (folder) => {
    const [mirror, corpus, plain] = ["mirror", "corpus", "plain"].map((n) => join(folder, n)) as [
      string,
      string,
      string,
    ];
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    const options = { tokenizer, sequenceLength: 64, validation: 0.1, seed: 5 };
    const series = (year: number, title: string) =>
      putFile(
        mirror,
        "baseline",
        1,
        pubmedSet(
          ...Array.from({ length: 40 }, (_, i) => article(i + 1, { title: `${title} ${i}` })),
        ),
        year,
      );
    series(26, "old");
    await run(mirror, corpus, options);
    Deno.removeSync(join(mirror, "baseline"), { recursive: true });
    const file = series(27, "new");
    const name = file.replace(/.*\//, "");
    // A fault on the way leaves the old corpus as it was.
    const md5 = Deno.readTextFileSync(file + ".md5");
    Deno.writeTextFileSync(file + ".md5", md5File(name, encode("x")));
    await assertRejects(() => run(mirror, corpus), UserError, "MD5");
    assertEquals((await documentsOf(corpus))[0]!.title, "old 0");
    Deno.writeTextFileSync(file + ".md5", md5);
    const log: string[] = [];
    const summary = await run(mirror, corpus, { log: (line) => log.push(line) });
    assertStringIncludes(log.join("\n"), "series of 2027");
    assertEquals([summary.files_added, summary.tokenized], [1, true]);
    assertEquals((await documentsOf(corpus))[0]!.title, "new 0");
    await run(mirror, plain, options);
    assertEquals(digestOf(corpus), digestOf(plain));
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name).sort(), [
      "corpus",
      "mirror",
      "plain",
    ]);
  }));

Deno.test("one process at a time changes a corpus; reading goes on", () =>
  withFolder(async (folder) => {
    await run(FIXTURES, folder, { files: "5" });
    const corpus = new Corpus(folder);
    try {
      await assertRejects(() => run(FIXTURES, folder), CorpusBusy, "at work");
      assert((await documentsOf(folder)).length > 0);
    } finally {
      corpus.close();
    }
    await run(FIXTURES, folder);
  }));

interface TruthRecord {
  kind: string;
  pmid: number;
  version: number;
  pmids: [number, number][];
  [key: string]: unknown;
}

sharedTest(
  "data/pubmed/truth",
  "the live documents equal the truth about all real files",
  () =>
    withFolder(async (corpus) => {
      await run(join(SHARED, "data/pubmed"), corpus, { workers: 2 });
      const live = new Map<number, Map<number, { record: TruthRecord; source: string }>>();
      for (let file = 1; file <= 7; file++) {
        const source = `pubmed26n000${file}`;
        const text = Deno.readTextFileSync(join(SHARED, "data/pubmed/truth", source + ".jsonl"));
        for (const line of text.trimEnd().split("\n")) {
          const record = JSON.parse(line) as TruthRecord;
          if (record.kind === "delete") {
            for (const [pmid, version] of record.pmids) live.get(pmid)?.delete(version);
            continue;
          }
          const versions = live.get(record.pmid) ?? new Map();
          live.set(record.pmid, versions.set(record.version, { record, source }));
        }
      }
      const expected = [...live].filter(([, v]) => v.size > 0).sort(([a], [b]) => a - b)
        .map(([pmid, versions]) => {
          const version = Math.max(...versions.keys());
          const { record, source } = versions.get(version)!;
          return {
            pmid,
            version,
            title: record.title,
            abstract: record.abstract,
            sections: (record.sections as Record<string, string>[]).map((s) => ({
              label: s.label,
              category: s.cat,
              text: s.text,
            })),
            languages: record.languages,
            publication_types: record.pub_types,
            mesh: record.mesh,
            journal: record.journal,
            source,
          };
        });
      const found = (await documentsOf(corpus)).map(({ date: _, retracted: __, ...rest }) => rest);
      assertEquals(found.length, expected.length);
      found.forEach((document, i) =>
        assertEquals(document as unknown, expected[i]! as unknown, `PMID ${document.pmid}`)
      );
    }),
);

Deno.test("a refresh keeps to the files that a run chose, until it is told otherwise", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    for (const n of [1, 2, 3]) putFile(mirror, "baseline", n, pubmedSet(article(n)));
    await run(mirror, corpus, { files: "1-2" });
    const said: string[] = [];
    const refresh = (more: Partial<RunOptions> = {}) =>
      run(mirror, corpus, { command: "refresh", log: (line) => said.push(line), ...more });
    assertEquals((await refresh()).files, 2);
    assert(said.some((line) => line.includes("Keeping to the files 1-2")), said.join());
    assertEquals((await refresh({ files: "all" })).files, 3);
    putFile(mirror, "updatefiles", 4, pubmedSet(article(4)));
    assertEquals((await refresh()).files, 4, "all of them from then on");
  }));
