import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { openMix } from "../../model/training/mixed_corpus.ts";
import { openCorpus } from "../../model/training/shard_corpus.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { liveDocuments } from "../../pipeline/documents/live_documents.ts";
import type { PrintedDocument } from "../../pipeline/documents/reader.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { fulfils, parseConditions, parseUpsampling } from "../../pipeline/selection/conditions.ts";
import { packedDocuments } from "../../pipeline/shards/packed_documents.ts";
import { type SelectedRows, selectRows } from "../../pipeline/selection/selection.ts";
import { rankPlaces, sampleRow } from "../../pipeline/selection/sampler.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { ROOT } from "../shared.ts";

const LENGTH = 128;
const ask = (more: object) => ({ filter: "", upsample: "", curriculum: "", scores: "", ...more });

/** A corpus of the fixtures, made once: its training documents' tokens, and what is known of them. */
const made = (async () => {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-" });
  addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await runPipeline({
    corpus: folder,
    source: join(ROOT, "fixtures/mirror"),
    workers: 1,
    files: "1-2",
    tokenizer: join(ROOT, "fixtures/tokenizer.json"),
    sequenceLength: LENGTH,
    test: 0.1,
  });
  const tokens = new Map<number, string>();
  const facts = new Map<number, PrintedDocument>();
  for await (const d of packedDocuments(folder, "train")) tokens.set(d.pmid, d.tokens.join());
  const catalogue = readCatalogue(folder);
  for await (const d of liveDocuments(folder, catalogue)) facts.set(d.pmid, d);
  catalogue.close();
  const end = openCorpus(folder).endOfText;
  const texts = Map.groupBy(tokens, ([, text]) => text);
  const unique = [...texts.values()].flatMap((same) => same.length === 1 ? [same[0]![0]] : []);
  return { folder, tokens, facts, end, pmids: [...tokens.keys()], unique };
})();

/** The documents in some rows in their order, put together where they go over several. */
function documentsIn(rows: Iterable<Uint16Array>, end: number): string[] {
  const found: number[][] = [];
  for (const row of rows) {
    for (const [t, id] of row.entries()) {
      if (id !== end) found.at(-1)!.push(id);
      else if (row[t + 1] !== end && t + 1 < row.length) found.push([]);
    }
  }
  return found.map((ids) => ids.join());
}

const allRows = (selected: SelectedRows) =>
  Array.from({ length: selected.rows }, (_, r) => selected.row(r));

Deno.test("conditions compare numbers as numbers, texts as texts, and lists by any member", () => {
  const holds = (text: string, own: (string | number | boolean)[]) =>
    parseConditions(text).every((c) => fulfils(c, own));
  assert(holds("year>=2015", [2015]) && !holds("year>=2015", [900]) && !holds("year>=2015", []));
  assert(holds("type=Review|Letter", ["Journal Article", "letter"]));
  assert(!holds("type!=Review", ["Journal Article", "Review"]) && holds("type!=Review", []));
  assert(holds("date<2019-04", ["2019-03-07"]) && !holds("date<2019-03", ["2019-03-07"]));
  assert(holds("retracted=true", [true]) && holds("q>-1.5; q<=2e1", [20]));
  for (const text of ["year", "year~3", "year>", ">3", "year>1|2"]) {
    assertThrows(() => parseConditions(text), UserError, "must be COLUMN");
  }
  assertEquals(parseUpsampling("a=x:y:2.5;b>1:3").map((u) => [u.condition.values, u.factor]), [
    [["x:y"], 2.5],
    [["1"], 3],
  ]);
  for (const text of ["a=1", "a=1:0", "a=1:-2", "a=1:x", "a=1:2000"]) {
    assertThrows(() => parseUpsampling(text), UserError, "CONDITION:FACTOR");
  }
});

Deno.test("a filter leaves exactly the documents that fulfil it, each once, whole", async () => {
  const { folder, tokens, facts, end, pmids } = await made;
  const year = (pmid: number) => Number(facts.get(pmid)!.date.slice(0, 4));
  for (
    const [filter, fits] of [
      ["year>=2000; year<2010", (p: number) => year(p) >= 2000 && year(p) < 2010],
      [
        "publication_type=Review|Case Reports",
        (p: number) =>
          facts.get(p)!.publication_types.some((t) => /^(Review|Case Reports)$/.test(t)),
      ],
      ["language!=eng", (p: number) => !facts.get(p)!.languages.includes("eng")],
      ["mesh.name=Humans", (p: number) => facts.get(p)!.mesh.some((m) => m.name === "Humans")],
      ["pmid>0", () => true],
    ] as const
  ) {
    const wanted = pmids.filter(fits).map((p) => tokens.get(p)!).sort();
    if (wanted.length === 0) {
      await assertRejects(() => selectRows(folder, ask({ filter })), UserError, "none of its");
      continue;
    }
    const selected = await selectRows(folder, ask({ filter }));
    assertEquals(documentsIn(allRows(selected), end).sort(), wanted, filter);
    assertEquals([selected.documents, selected.drawn], [wanted.length, wanted.length]);
    selected.close();
  }
});

Deno.test("upsampling repeats documents by their factors, fractions by a fixed share", async () => {
  const { folder, tokens, facts, end, unique } = await made;
  const upsample = "year>=2010:2.5; tokens>100:2";
  const selected = await selectRows(folder, ask({ upsample }));
  const counts = new Map<string, number>();
  for (const d of documentsIn(allRows(selected), end)) counts.set(d, (counts.get(d) ?? 0) + 1);
  let halves = 0;
  let thrice = 0;
  for (const pmid of unique) {
    const text = tokens.get(pmid)!;
    const recent = Number(facts.get(pmid)!.date.slice(0, 4)) >= 2010;
    const factor = (recent ? 2.5 : 1) * (text.split(",").length + 1 > 100 ? 2 : 1);
    const count = counts.get(text)!;
    assert(count === Math.floor(factor) || count === Math.ceil(factor), `${count} for ${factor}`);
    if (factor === 2.5) {
      halves++;
      thrice += count - 2;
    }
  }
  // Binomial: four standard deviations.
  assert(
    halves > 50 && Math.abs(thrice - halves / 2) < 2 * Math.sqrt(halves),
    `${thrice}/${halves}`,
  );
  // A pass reads every row once, in an order of its own, the same at every asking.
  const pass = (epoch: number) =>
    Array.from(
      { length: selected.rows },
      (_, i) => selected.draw(5, epoch * selected.rows + i).join(),
    );
  assertEquals(pass(0).toSorted(), pass(1).toSorted());
  assert(pass(0).join(";") !== pass(1).join(";"));
  const again = await selectRows(folder, ask({ upsample }));
  assertEquals(again.draw(5, 77), selected.draw(5, 77));
  again.close();
  selected.close();
});

Deno.test("a curriculum goes from low values to high in each pass, scores from a file too", async () => {
  const { folder, tokens, end, pmids, unique } = await made;
  const scores = join(folder, "scores.jsonl");
  const without = new Set(unique.slice(0, 10));
  const score = (text: string) =>
    text.split(",").reduce((h, id) => (h * 31 + Number(id)) % 10_007, 0);
  Deno.writeTextFileSync(
    scores,
    pmids.filter((pmid) => !without.has(pmid))
      .map((pmid) => JSON.stringify({ pmid, quality: score(tokens.get(pmid)!) })).join("\n"),
  );
  const unscored = new Set([...without].map((pmid) => tokens.get(pmid)!));
  const length = (d: string) => d.split(",").length;
  for (
    const [curriculum, valueOf] of [
      ["tokens", length],
      ["tokens:desc", (d: string) => -length(d)],
      ["quality", (d: string) => unscored.has(d) ? Infinity : score(d)],
    ] as const
  ) {
    const selected = await selectRows(folder, ask({ curriculum, scores }));
    const means = (from: number) => {
      const rows = Array.from({ length: selected.rows }, (_, i) => selected.draw(3, from + i));
      // Rows as they were packed hold the same documents.
      assertEquals(rows.map(String).sort(), allRows(selected).map(String).sort());
      return rows;
    };
    means(0);
    means(selected.rows);
    const values = documentsIn(allRows(selected), end).map(valueOf).filter(isFinite);
    const stage = 256;
    assertEquals(values.length, pmids.length - (curriculum === "quality" ? 10 : 0));
    for (let at = stage; at + stage < values.length; at += stage) {
      const before = values.slice(at - stage, at).reduce((a, b) => Math.max(a, b));
      const after = values.slice(at, at + stage).reduce((a, b) => Math.min(a, b));
      assert(after >= before, `${curriculum}: ${after} after ${before}`);
    }
    selected.close();
  }
  // Of documents of equal length the rarer words are harder.
  const selected = await selectRows(folder, ask({ curriculum: "difficulty" }));
  const counts = new Map<string, number>();
  for (const text of tokens.values()) {
    for (const id of text.split(",")) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const all = [...counts.values()].reduce((a, b) => a + b);
  const hardness = documentsIn(allRows(selected), end).map((d) => {
    const ids = d.split(",");
    return ids.reduce((sum, id) => sum - Math.log(counts.get(id)! / all), 0) / ids.length;
  });
  for (let at = 256; at + 256 < hardness.length; at += 256) {
    const [before, after] = [hardness.slice(at - 256, at), hardness.slice(at, at + 256)];
    assert(Math.max(...before) <= Math.min(...after) + 1e-9);
  }
  selected.close();
});

Deno.test("what cannot be selected is said in one sentence", async () => {
  const { folder } = await made;
  const empty = join(folder, "empty.jsonl");
  const bad = join(folder, "bad.jsonl");
  Deno.writeTextFileSync(empty, "");
  Deno.writeTextFileSync(bad, '{"pmid":1,"q":1}\n{"q":2}\n');
  for (
    const [spec, message] of [
      [{ filter: "yaer>3" }, 'by "yaer": there is no such column; did you mean "year"?'],
      [{ filter: "impact>3" }, "there is no such column; there are tokens, difficulty"],
      [{ filter: "year>3000" }, "none of its"],
      [{ curriculum: "journal" }, "a number in none"],
      [{ curriculum: "q", scores: "nowhere.jsonl" }, "nowhere.jsonl: there is no such file"],
      [{ curriculum: "q", scores: empty }, "it is empty"],
      [{ curriculum: "q", scores: bad }, "row 2"],
    ] as const
  ) await assertRejects(() => selectRows(folder, ask(spec)), UserError, message);
});

Deno.test("a selection is named by what was asked for, and keeps what is held out", async () => {
  const { folder } = await made;
  using corpus = openCorpus(folder);
  const one = await corpus.select!(ask({ filter: "year>=2000" }));
  const two = await corpus.select!(ask({ filter: "year>=2001" }));
  const hashes = new Set([corpus.manifestSha256, one.manifestSha256, two.manifestSha256]);
  assertEquals(hashes.size, 3);
  assertEquals(one.split("test").row(0), corpus.split("test").row(0));
  // In a mix the selection is drawn from as it is.
  using mix = openMix(`${folder}=1`);
  const chosen = (await mix.select!(ask({ filter: "year>=2000" }))).split("train");
  const own = one.split("train");
  const rows = new Set<string>();
  for (let r = 0; r < own.rows; r++) rows.add(own.row(r).join());
  for (let i = 0; i < 50; i++) assert(rows.has(chosen.draw!(1, i).join()));
});

Deno.test("ranks share a step's rows among them, whatever their number", () => {
  const rows = 1000;
  const batch = 24;
  for (const step of [0, 1, 77]) {
    const drawn = (ranks: number) =>
      Array.from({ length: ranks }, (_, rank) => rankPlaces(step * batch, batch, rank, ranks))
        .flat().map((place) => sampleRow(rows, 9, place));
    for (const ranks of [2, 3, 8, 24]) assertEquals(drawn(ranks), drawn(1));
    assertEquals(new Set(drawn(1)).size <= batch, true);
  }
  assertThrows(() => rankPlaces(0, 24, 0, 5), RangeError, "cannot share 24 rows");
  assertThrows(() => rankPlaces(0, 24, 2, 2), RangeError, "no rank 2 of 2");
});

Deno.test("a condition that nothing fulfils is refused with what is nearest", async () => {
  const { folder } = await made;
  const refused = (spec: Record<string, string>, message: string) =>
    assertRejects(() => selectRows(folder, ask(spec)), UserError, message);
  await refused({ upsample: "publication_type=Reviev:3" }, 'is "Review", of ');
  await refused({ filter: "language=english" }, 'the nearest value of "language" is "eng"');
  await refused({ upsample: "year>=2200:2" }, '"year" goes from 19');
  // One of several conditions is enough.
  await refused(
    { filter: "year>=1990; journal=No Such Journal" },
    '"journal=No Such Journal": none',
  );
  assertThrows(() => parseConditions("year=>2015"), UserError, 'did you mean "year>=2015"?');
  assertThrows(() => parseConditions("year=<2015"), UserError, 'did you mean "year<=2015"?');
  assertThrows(() => parseConditions("year==2015"), UserError, 'did you mean "year=2015"?');
});
