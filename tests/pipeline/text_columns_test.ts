import { parquetWriteFile } from "hyparquet-writer";
import { exists, hashFile } from "../../core/files.ts";
import { basename, join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { openMix } from "../../model/training/mixed_corpus.ts";
import { originOf } from "../../model/training/origin.ts";
import { keptSet, manifestPath, pinShards } from "../../pipeline/shards/mod.ts";
import { ColumnRows, ColumnSurvey } from "../../pipeline/texts/columns.ts";
import { buildTextCorpus, type TextCorpusOptions } from "../../pipeline/texts/corpus.ts";
import { readTextDocuments } from "../../pipeline/texts/documents.ts";
import { columnsOf, readTextCorpus } from "../../pipeline/texts/state.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import {
  type SelectedRows,
  type SelectionSpec,
  selectRows,
} from "../../pipeline/selection/selection.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../assert.ts";
import { ROOT } from "../shared.ts";
import { withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");
const ask = (spec: Partial<SelectionSpec>): SelectionSpec => ({
  filter: "",
  upsample: "",
  curriculum: "",
  scores: "",
  ...spec,
});

/** A corpus of files of records; all of it trains. */
async function corpusOf(
  folder: string,
  name: string,
  files: Record<string, object[]>,
  more: Partial<TextCorpusOptions> = {},
): Promise<string> {
  const source = join(folder, `${name}-texts`);
  const corpus = join(folder, name);
  Deno.mkdirSync(source);
  for (const [file, records] of Object.entries(files)) {
    const lines = records.map((r) => JSON.stringify(r) + "\n").join("");
    Deno.writeTextFileSync(join(source, file), lines);
  }
  const options = { corpus, source, tokenizer: TOKENIZER, sequenceLength: 32 };
  await buildTextCorpus({ ...options, validation: 0, test: 0, ...more });
  return corpus;
}

/** The texts in some rows, sorted. */
function textsOf(rows: Uint16Array[]): string[] {
  const tokenizer = loadTokenizer(TOKENIZER);
  const end = tokenizer.endOfText;
  const texts: string[] = [];
  for (const row of rows) {
    let own: number[] = [];
    for (const id of [...row, end]) {
      if (id !== end) own.push(id);
      else if (own.length) {
        texts.push(tokenizer.decode(own));
        own = [];
      }
    }
  }
  return texts.sort();
}

const allOf = ({ rows, row }: Pick<SelectedRows, "rows" | "row">) =>
  textsOf(Array.from({ length: rows }, (_, i) => row(i)));

async function selected(corpus: string, spec: Partial<SelectionSpec>): Promise<string[]> {
  const chosen = await selectRows(corpus, ask(spec));
  try {
    return allOf(chosen);
  } finally {
    chosen.close();
  }
}

const LANGUAGES = ["eng", "fre", "ger"];
const RECORDS = Array.from({ length: 60 }, (_, i) => ({
  id: `doc-${i}`,
  text: `text ${i}`,
  quality: i / 60,
  language: LANGUAGES[i % 3],
  reviewed: i % 2 === 0,
  ...(i % 5 ? { year: 1990 + i } : { year: null }),
  meta: { tags: i % 4 ? [`t${i % 4}`, "all"] : [], "dc:type": "x" },
  mixed: i % 2 ? i : `n${i}`,
  skipped: null,
}));
const numbers = (of: (i: number) => boolean) =>
  RECORDS.map((r) => r.text).filter((_, i) => of(i)).sort();

Deno.test("columns of texts: filters and factors by strings, numbers, flags, lists, members", () =>
  withFolder(async (folder) => {
    const corpus = await corpusOf(folder, "c", { "a.jsonl": RECORDS });
    assertEquals(columnsOf(readTextCorpus(corpus)!), [
      { name: "language", kind: "string", list: false },
      { name: "meta.dc:type", kind: "string", list: false },
      { name: "meta.tags", kind: "string", list: true },
      { name: "mixed", kind: "mixed", list: false },
      { name: "quality", kind: "number", list: false },
      { name: "reviewed", kind: "boolean", list: false },
      { name: "year", kind: "number", list: false },
    ]);
    const cases: [string, (i: number) => boolean][] = [
      ["quality>=0.5", (i) => i >= 30],
      ["language=eng|GER", (i) => i % 3 !== 1],
      ["reviewed=true", (i) => i % 2 === 0],
      ["reviewed!=true", (i) => i % 2 === 1],
      ["meta.tags=t1", (i) => i % 4 === 1],
      ["meta.tags!=all", (i) => i % 4 === 0],
      ["meta.dc:type=x", () => true],
      ["year<2000", (i) => i % 5 !== 0 && i < 10],
      ["mixed=n4|7", (i) => i === 4 || i === 7],
      ["id=doc-3|doc-9; quality<0.1", (i) => i === 3],
    ];
    for (const [filter, keeps] of cases) {
      assertEquals(await selected(corpus, { filter }), numbers(keeps), filter);
    }
    const twice = await selected(corpus, { filter: "quality<0.2", upsample: "language=fre:2" });
    const small = numbers((i) => i < 12);
    assertEquals(twice, [...small, ...numbers((i) => i < 12 && i % 3 === 1)].sort());
    const ordered = await selectRows(corpus, ask({ curriculum: "quality:desc" }));
    assertEquals(allOf(ordered), numbers(() => true));
    ordered.close();
    const nothing = `${corpus} by`;
    for (
      const [spec, message] of [
        [
          { filter: "qualty>0.5" },
          `${nothing} "qualty": there is no such column; did you mean "quality"?`,
        ],
        [
          { filter: "impact>0.5" },
          `${nothing} "impact": there is no such column; there are tokens, ` +
          "difficulty, id, language, meta.dc:type, meta.tags, mixed, quality, reviewed, year",
        ],
        [
          { filter: "mixed>3" },
          '"mixed" of ' + corpus + " with > 3: it is of several kinds in a.jsonl",
        ],
        [{ curriculum: "mixed" }, 'by "mixed": it is of several kinds in a.jsonl'],
        [{ upsample: "quality=high:2" }, 'it is a number, and "high" is none'],
        [{ filter: "reviewed=yes" }, 'it is a boolean, and "yes" is none'],
        [{ curriculum: "language" }, "it is a number in none"],
      ] as const
    ) await assertRejects(() => selectRows(corpus, ask(spec)), UserError, message);
  }));

Deno.test("columns of texts: files need not agree, and equal files give equal bytes", () =>
  withFolder(async (folder) => {
    const files = {
      "a.jsonl": [{ text: "one", score: 1 }, { text: "two", score: 2 }],
      "b.jsonl": [{ text: "three", score: "2" }, { text: "four", other: true }],
    };
    const corpus = await corpusOf(folder, "c", files);
    const again = await corpusOf(folder, "d", files);
    assertEquals(columnsOf(readTextCorpus(corpus)!), [
      { name: "other", kind: "boolean", list: false },
      { name: "score", kind: "mixed", list: false },
    ]);
    assertEquals(await selected(corpus, { filter: "score=2" }), ["three", "two"]);
    assertEquals(await selected(corpus, { filter: "other=true" }), ["four"]);
    await assertRejects(
      () => selected(corpus, { filter: "score>1" }),
      UserError,
      "it is of kind number in a.jsonl and kind string in b.jsonl",
    );
    for (const file of ["a.jsonl", "b.jsonl"]) {
      const [one, two] = [corpus, again].map((c) =>
        Deno.readFileSync(join(c, "documents", `${file}.parquet`))
      );
      assertEquals(one, two);
    }
    // A file that changes has its columns read anew; one that goes takes its documents along.
    const source = join(folder, "c-texts");
    Deno.writeTextFileSync(join(source, "a.jsonl"), '{"text":"one","score":"1"}\n');
    await buildTextCorpus({ corpus, source });
    assertEquals(columnsOf(readTextCorpus(corpus)!)[1]!.kind, "string");
    Deno.removeSync(join(source, "b.jsonl"));
    await buildTextCorpus({ corpus, source });
    assertEquals(exists(join(corpus, "documents/b.jsonl.parquet")), false);
    assertEquals(await selected(corpus, { filter: "score=1" }), ["one"]);
    // Documents that are lost are made again, under the numbers that they had.
    const before = Deno.readTextFileSync(join(corpus, "texts.json"));
    Deno.removeSync(join(corpus, "documents/a.jsonl.parquet"));
    await buildTextCorpus({ corpus, source });
    assertEquals(Deno.readTextFileSync(join(corpus, "texts.json")), before);
  }));

Deno.test("columns of texts: Parquet's come with their types, nulls and lists", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    parquetWriteFile({
      filename: join(source, "p.parquet"),
      columnData: [
        { name: "text", data: ["a", "b", "c"] },
        { name: "count", data: [1n, 2n ** 62n, null], type: "INT64", nullable: true },
        { name: "small", data: [1n, 2n, null], type: "INT64", nullable: true },
        { name: "flag", data: [true, false, true] },
        { name: "when", data: [new Date(0), new Date(1e12), new Date(2e12)], type: "TIMESTAMP" },
        { name: "meta", data: [{ k: [1, 2] }, { k: [] }, {}], type: "JSON" },
      ],
    });
    const options = { corpus, source, tokenizer: TOKENIZER, sequenceLength: 16 };
    await buildTextCorpus({ ...options, validation: 0, test: 0 });
    const state = readTextCorpus(corpus)!;
    const kinds = columnsOf(state).map((c) => [c.name, c.kind]);
    assertEquals(kinds, [
      ["count", "mixed"], // a 64-bit number that a double does not hold is kept as it is written
      ["flag", "boolean"],
      ["meta.k", "number"],
      ["small", "number"],
      ["when", "string"],
    ]);
    const rows: unknown[] = [];
    for await (const { number, values } of readTextDocuments(corpus, state.files[0]!)) {
      rows.push([number, values]);
    }
    const [one, two, three] = ["1970-01-01T00:00:00.000Z", "2001-09-09T01:46:40.000Z"]
      .concat("2033-05-18T03:33:20.000Z");
    assertEquals(rows, [
      [1, { id: "1", text: "a", count: "1", flag: true, "meta.k": [1, 2], small: 1, when: one }],
      [2, {
        id: "2",
        text: "b",
        count: "4611686018427387904",
        flag: false,
        "meta.k": [],
        small: 2,
        when: two,
      }],
      [3, { id: "3", text: "c", count: null, flag: true, "meta.k": [], small: null, when: three }],
    ]);
    assertEquals(await selected(corpus, { filter: "when>=2001-09" }), ["b", "c"]);
    assertEquals(await selected(corpus, { filter: "count=4611686018427387904" }), ["b"]);
  }));

Deno.test("columns of texts: odd records", () => {
  const survey = new ColumnSurvey("f");
  const deep = JSON.parse('{"a":'.repeat(12) + "1" + "}".repeat(12));
  const records = [
    { text: "t", id: 4, "": 1, n: NaN, bytes: new Uint8Array(3), list: [[1], "x"], deep },
    { text: "t", id: [1], list: true, "a.b": 1, a: { b: 2 } },
  ];
  records.forEach((r) => survey.add(r));
  assertEquals(survey.columns(), [
    { name: "a.b", kind: "number", list: true },
    { name: "list", kind: "mixed", list: true },
  ]);
  const rows = new ColumnRows(survey.columns());
  assertEquals(records.map((r) => rows.row(r)), [[[], ["1", "x"]], [[1, 2], ["true"]]]);
  const wide = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]));
  assertThrows(() => survey.add(wide), UserError, "f: its records have more than 256 columns");
});

Deno.test("columns of texts: shards kept for a run are selected from by what their texts said then", () =>
  withFolder(async (folder) => {
    const corpus = await corpusOf(folder, "c", {
      "a.jsonl": [{ text: "one word", lang: "eng" }, { text: "un mot", lang: "fre" }],
      "b.jsonl": [{ text: "two words", lang: "eng" }],
    });
    const english = { filter: "lang=eng" };
    const before = await selected(corpus, english);
    assertEquals(before, ["one word", "two words"]);
    const manifest = hashFile(manifestPath(corpus));
    pinShards(corpus, join(folder, "run"), [manifest]);
    const source = join(folder, "c-texts");
    const again = () =>
      buildTextCorpus({
        corpus,
        source,
        tokenizer: TOKENIZER,
        sequenceLength: 32,
        validation: 0,
        test: 0,
      });
    Deno.writeTextFileSync(join(source, "c.jsonl"), '{"text":"three words","lang":"eng"}\n');
    await again();
    assertEquals((await selected(corpus, english)).length, 3);
    const kept = keptSet(corpus, manifest) ?? "";
    assertEquals(await selected(kept, english), before);
    assertEquals(originOf({ init: "random:tiny", corpus: { path: kept } }).corpora, [
      { name: basename(kept), citations: false },
    ]);
    Deno.writeTextFileSync(join(source, "a.jsonl"), '{"text":"une phrase","lang":"fre"}\n');
    await again();
    const changed = await assertRejects(() => selected(kept, english), UserError);
    assertStringIncludes(changed.message, "a.jsonl is not what it was when they were made");
  }));

Deno.test("a mix: rules for one corpus, rules for all", () =>
  withFolder(async (folder) => {
    const texts = (name: string, more: (i: number) => object) =>
      Array.from({ length: 40 }, (_, i) => ({ text: `${name} ${i}`, ...more(i) }));
    const web = await corpusOf(folder, "web", {
      "w.jsonl": texts("w", (i) => ({ quality: i, lang: i % 2 ? "eng" : "fre" })),
    });
    const wiki = await corpusOf(folder, "wiki", {
      "k.jsonl": texts("k", (i) => ({
        quality: i / 2,
        views: i,
        ...(i < 9 ? { "dc:type": "x" } : {}),
      })),
    });
    using mix = openMix(`${web}=0.5,${wiki}=0.5`);
    const drawn = async (spec: Partial<SelectionSpec>) => {
      const train = (await mix.select!(ask(spec))).split("train");
      return train.parts!.map(({ source }) => allOf(source));
    };
    const of = (name: string, keeps: (i: number) => boolean) =>
      Array.from({ length: 40 }, (_, i) => i).filter(keeps).map((i) => `${name} ${i}`).sort();
    // For all that have the column; the other stays whole.
    assertEquals(await drawn({ filter: "quality>=15" }), [
      of("w", (i) => i >= 15),
      of("k", (i) => i >= 30),
    ]);
    assertEquals(await drawn({ filter: "lang=eng" }), [
      of("w", (i) => i % 2 === 1),
      of("k", () => true),
    ]);
    assertEquals(await drawn({ filter: "dc:type=x" }), [
      of("w", () => true),
      of("k", (i) => i < 9),
    ]);
    // For one.
    assertEquals(await drawn({ filter: "wiki: quality>=15; web: lang=fre" }), [
      of("w", (i) => i % 2 === 0),
      of("k", (i) => i >= 30),
    ]);
    assertEquals(
      await drawn({ filter: `${web}: quality<3; tokens>0`, upsample: "web:lang=eng:2" }),
      [
        ["w 0", "w 1", "w 1", "w 2"],
        of("k", () => true),
      ],
    );
    const one = await mix.select!(ask({ filter: "wiki: views>3" }));
    const two = await mix.select!(ask({ filter: "web: quality>3" }));
    assert(one.manifestSha256 !== two.manifestSha256);
    assert(one.manifestSha256 !== mix.manifestSha256);
    // A corpus's own order, and scores by its numbers.
    const scores = join(folder, "s.jsonl");
    Deno.writeTextFileSync(scores, '{"pmid":3,"good":1}\n{"pmid":5,"good":1}\n');
    assertEquals(
      await drawn({ filter: "good=1", scores: `wiki: ${scores}`, curriculum: "wiki: views:desc" }),
      [of("w", () => true), ["k 2", "k 4"]],
    );
    for (
      const [spec, message] of [
        [{ filter: "langauge=eng" }, 'by "langauge": no corpus has such a column; web has tokens'],
        [{ filter: "wikipedia: quality>1" }, 'the mix has no corpus "wikipedia"; it has web, wiki'],
        [{ filter: "wiki: lang=eng" }, `documents of ${wiki} by "lang": there is no such column`],
        [{ filter: "good=1", scores }, "none of the corpora is PubMed's"],
        [{ curriculum: "wikipedia: views" }, 'the mix has no corpus "wikipedia"'],
        [{ curriculum: "quality; web: quality" }, "by quality and quality: give one curriculum"],
      ] as const
    ) await assertRejects(() => drawn(spec), UserError, message);
  }));

/** True where Python can import what a test needs. */
function importable(modules: string): boolean {
  try {
    return new Deno.Command("python3", { args: ["-c", `import ${modules}`] }).outputSync().success;
  } catch {
    return false;
  }
}
const pyarrow = importable("pyarrow.parquet");

Deno.test({
  name: "columns of texts: pyarrow's files are read, and it reads ours" +
    (pyarrow ? "" : " (skipped: no python3 pyarrow)"),
  ignore: !pyarrow,
  fn: () =>
    withFolder(async (folder) => {
      const source = join(folder, "texts");
      const corpus = join(folder, "corpus");
      Deno.mkdirSync(source);
      const python = (program: string) => {
        const { success, stdout, stderr } = new Deno.Command("python3", {
          args: ["-c", program],
          cwd: folder,
        }).outputSync();
        assert(success, new TextDecoder().decode(stderr));
        return new TextDecoder().decode(stdout);
      };
      python(`
import pyarrow, pyarrow.parquet
table = pyarrow.table({"text": [f"text {i}" for i in range(10)], "id": list(range(10, 20)),
  "quality": [None if i == 3 else i / 8 for i in range(10)],
  "meta": [{"topics": ["a"] * (i % 3), "ok": i > 4} for i in range(10)]})
for kind in ["snappy", "gzip", "brotli", "zstd", "none"]:
    pyarrow.parquet.write_table(table, f"texts/{kind}.parquet", compression=kind, row_group_size=4)`);
      const options = { corpus, source, tokenizer: TOKENIZER, sequenceLength: 32 };
      await buildTextCorpus({ ...options, validation: 0, test: 0 });
      assertEquals((await selected(corpus, { filter: "quality>=1; meta.ok=true" })).length, 10);
      const rows = JSON.parse(python(`
import json, pyarrow.parquet
table = pyarrow.parquet.read_table("corpus/documents/gzip.parquet.parquet")
print(json.dumps([[str(t) for t in table.schema.types], table.slice(2, 2).to_pylist()]))`));
      assertEquals(rows, [
        ["string", "string", "bool", "list<element: string not null>", "double"],
        [
          { id: "12", text: "text 2", "meta.ok": false, "meta.topics": ["a", "a"], quality: 0.25 },
          { id: "13", text: "text 3", "meta.ok": false, "meta.topics": [], quality: null },
        ],
      ]);
      await assertRejects(
        () => {
          python(`
import pyarrow, pyarrow.parquet
table = pyarrow.table({"text": ["a"]})
pyarrow.parquet.write_table(table, "texts/lz4.parquet", compression="lz4")`);
          return buildTextCorpus({ corpus, source });
        },
        UserError,
        "lz4.parquet: parquet unsupported compression codec: LZ4_RAW; write it anew, uncompressed",
      );
    }),
});
