import { command as documents } from "../../commands/pipeline_documents.ts";
import { command as duplicates } from "../../commands/pipeline_duplicates.ts";
import { command as locate } from "../../commands/pipeline_locate.ts";
import { command as where } from "../../commands/pipeline_where.ts";
import { type Command, parseInvocation } from "../../core/cli.ts";
import { UserError } from "../../core/errors.ts";
import { join, resolve } from "../../core/std.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { rightsFor } from "../../commands/permissions.ts";
import { contaminationPath, readContamination } from "../../pipeline/overlap/contamination.ts";
import { verifyTextCorpus } from "../../pipeline/texts/check.ts";
import { buildTextCorpus } from "../../pipeline/texts/corpus.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { SPLITS } from "../../pipeline/shards/mod.ts";
import { packedDocuments } from "../../pipeline/shards/packed_documents.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";
import { withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");
const PASSAGE =
  "the quick brown fox jumps over the lazy dog and then sleeps until the morning comes";
const words = (name: string) => Array.from({ length: 30 }, (_, i) => `${name}x${i}`).join(" ");

/** What a command prints of a corpus. */
async function printed(command: Command, corpus: string, ...more: string[]): Promise<string[]> {
  const reporter = silentReporter();
  const { signal } = new AbortController();
  await command.run(parseInvocation(command, ["--corpus", corpus, ...more], reporter, signal));
  return reporter.lines;
}

/** The names of the documents in the shards, by what they begin with. */
async function inShards(corpus: string): Promise<string[]> {
  const tokenizer = loadTokenizer(TOKENIZER);
  const names: string[] = [];
  for (const split of SPLITS) {
    for await (const { tokens } of packedDocuments(corpus, split)) {
      names.push(tokenizer.decode(tokens).split("x")[0]!);
    }
  }
  return names.sort();
}

const write = (source: string, name: string, records: object[]) =>
  Deno.writeTextFileSync(
    join(source, name),
    records.map((r) => JSON.stringify(r) + "\n").join(""),
  );

Deno.test("texts: decontamination by PMID and shared words, by name, through later runs", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    const questions = join(folder, "questions.json");
    Deno.mkdirSync(source);
    write(source, "a.jsonl", [
      { id: "A", text: words("a") },
      { id: "B", text: `${words("b")} ${PASSAGE}.` },
      { id: "C", text: words("c"), meta: { pmid: "7" } },
      { id: "D", text: words("d"), cited: { pmid: [7, 8] } }, // cites it, is not it
      { id: "E", text: words("e") }, // number 5
    ]);
    Deno.writeTextFileSync(
      questions,
      JSON.stringify({ "7": { question: "Is it?" }, "5": { question: `Does ${PASSAGE}?` } }),
    );
    const run = () =>
      buildTextCorpus({ corpus, source, tokenizer: TOKENIZER, sequenceLength: 64, test: 0.2 });
    await run();
    assertEquals(await inShards(corpus), ["a", "b", "c", "d", "e"]);
    const { report, shards } = await decontaminateCorpus({ corpus, against: [questions] });
    assert(shards?.written);
    assertEquals(report.held_out_texts, [
      { number: 2, source: "a.jsonl", id: "B", by: "overlap" },
      { number: 3, source: "a.jsonl", id: "C", by: "pmid" },
    ]);
    const start = words("b").length + 1;
    assertEquals(report.overlaps, [{
      number: 2,
      source: "a.jsonl",
      id: "B",
      file: "questions.json",
      item: "5",
      start,
      end: start + PASSAGE.length,
      text: PASSAGE,
    }]);
    assertEquals([report.documents_checked, report.documents_held_out], [5, 2]);
    assertEquals(await inShards(corpus), ["a", "d", "e"]);
    assertEquals(await printed(where, corpus, "--pmid", "2"), [
      'Document 2, id "B", is in no shard: it is held out for evaluation',
      `a.jsonl has version 1, ${
        loadTokenizer(TOKENIZER).encode(`${words("b")} ${PASSAGE}.`).length + 1
      } tokens`,
    ]);

    // New files are compared; a file that changed or went is forgotten.
    write(source, "b.jsonl", [{ text: `${words("f")} ${PASSAGE}` }, { text: words("g") }]);
    await run();
    const held = () =>
      readContamination(corpus)!.held_out_texts!.map(({ source, id, by }) =>
        `${source} ${id} ${by}`
      );
    assertEquals(held(), ["a.jsonl B overlap", "a.jsonl C pmid", "b.jsonl 1 overlap"]);
    assertEquals(readContamination(corpus)!.documents_checked, 7);
    assertEquals(await inShards(corpus), ["a", "d", "e", "g"]);
    write(source, "a.jsonl", [{ id: "B", text: words("b") }, { id: "H", text: `h ${PASSAGE}` }]);
    await run();
    assertEquals(held(), ["b.jsonl 1 overlap", "a.jsonl H overlap"]);
    const { documents_checked, documents_held_out } = readContamination(corpus)!;
    assertEquals([documents_checked, documents_held_out], [4, 2]);
    assertEquals(await inShards(corpus), ["b", "g"]);

    // A second report adds to the first, and without it no shards are built.
    const more = join(folder, "more.json");
    Deno.writeTextFileSync(more, JSON.stringify({ "9": { question: words("g") } }));
    await decontaminateCorpus({ corpus, against: [more] });
    assertEquals(held().toSorted(), [
      "a.jsonl H overlap",
      "b.jsonl 1 overlap",
      "b.jsonl 2 overlap",
    ]);
    assertEquals(readContamination(corpus)!.documents_held_out, 3);
    assertEquals(await inShards(corpus), ["b"]);
    Deno.removeSync(contaminationPath(corpus));
    await assertRejects(run, UserError, "contamination.json is missing");
    await assertRejects(
      () => decontaminateCorpus({ corpus, against: [more] }),
      UserError,
      "--anew",
    );
    await decontaminateCorpus({ corpus, against: [more], anew: true });
    assertEquals(held(), ["b.jsonl 2 overlap"]);
    await run();
    assertEquals((await verifyTextCorpus(corpus)).problems, []);
  }));

Deno.test("texts: duplicates, documents and places are told by file and id", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    const one = words("one");
    const near = `${one} and more`;
    write(source, "a.jsonl", [{ id: "A", text: one, year: 2001 }, { id: "empty", text: "" }]);
    write(source, "b.jsonl", [{ text: words("two") }, { id: 7, text: near }]);
    await buildTextCorpus({ corpus, source, tokenizer: TOKENIZER, sequenceLength: 64, test: 0 });
    const out = join(folder, "pairs.jsonl");
    assertEquals(
      (await printed(duplicates, corpus, "--out", out)).at(-1),
      "1 pairs among 3 documents",
    );
    const [pair] = Deno.readTextFileSync(out).trim().split("\n").map((l) => JSON.parse(l));
    assertEquals([pair.document, pair.other], [
      { number: 1, source: "a.jsonl", id: "A" },
      { number: 4, source: "b.jsonl", id: "7" },
    ]);
    assert(pair.similarity > 0.9);
    const table = (await printed(duplicates, corpus))[0]!.split("\n");
    // One line a pair: titles are cut to what fits.
    const [, , row = "", ...more] = table;
    assertMatch(row, /^A of a\.jsonl {2}7 of b\.jsonl +0\.\d{3}/);
    assertEquals(more, []);
    assert(table.every((line) => line.length <= 80), table.join("\n"));

    const lines = (await printed(documents, corpus)).join("").trim().split("\n");
    assertEquals(lines.map((l) => JSON.parse(l)), [
      { number: 1, source: "a.jsonl", id: "A", text: one, year: 2001 },
      { number: 3, source: "b.jsonl", id: "1", text: words("two") },
      { number: 4, source: "b.jsonl", id: "7", text: near },
    ]);
    const [found] = await printed(where, corpus, "--pmid", "4", "--json");
    const { id, shard, pieces } = JSON.parse(found!);
    assertEquals(id, "7");
    const place = ["--shard", shard, "--row", String(pieces[0].row)];
    const rows = await printed(locate, corpus, ...place, "--column", String(pieces[0].start + 1));
    assert(rows[0]!.startsWith('Document 4, id "7" from b.jsonl, columns'), rows[0]);
  }));

Deno.test("scores of a mix are readable to the pipeline's task", () =>
  withFolder(async (folder) => {
    const [a, b] = [join(folder, "a.jsonl"), join(folder, "b.jsonl")];
    for (const path of [a, b]) Deno.writeTextFileSync(path, "{}\n");
    const words = ["pipeline", "sample", "--mix", "x=1", "--scores", `w: ${a}; v: ${b}`];
    const { read } = (await rightsFor(words, ROOT)).lists;
    assertEquals([a, b].filter((path) => !read.includes(resolve(path))), []);
  }));
