import { command as refresh } from "../../commands/pipeline_refresh.ts";
import { parseInvocation } from "../../core/cli.ts";
import { join } from "../../core/std.ts";
import { fail, UserError } from "../../core/errors.ts";
import { ParquetFile } from "../../pipeline/documents/parquet_file.ts";
import { rightsFor } from "../../commands/permissions.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { buildTextCorpus, textFiles } from "../../pipeline/texts/corpus.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { readTextStatus, verifyTextCorpus } from "../../pipeline/texts/check.ts";
import { readTextCorpus } from "../../pipeline/texts/state.ts";
import { readManifest, SPLITS } from "../../pipeline/shards/mod.ts";
import { packedDocuments } from "../../pipeline/shards/packed_documents.ts";
import { openCorpusTexts } from "../../pipeline/corpus_texts.ts";
import { packSet } from "../../pipeline/pack.ts";
import { selectRows } from "../../pipeline/selection/selection.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";
import { withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");

async function textsIn(corpus: string): Promise<string[]> {
  const tokenizer = loadTokenizer(TOKENIZER);
  const texts: string[] = [];
  for (const split of SPLITS) {
    for await (const { tokens } of packedDocuments(corpus, split)) {
      texts.push(tokenizer.decode(tokens));
    }
  }
  return texts.sort();
}

Deno.test("texts: JSON lines, Parquet and plain files become a corpus", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    const lines = Array.from({ length: 30 }, (_, i) => `line ${i} of text`);
    const jsonl = lines.map((text) => JSON.stringify({ text }) + "\n").join("") + '{"text":""}\n';
    Deno.writeTextFileSync(join(source, "b.jsonl"), jsonl);
    const book = "A book.\n\n" + "It has many words. ".repeat(60);
    Deno.writeTextFileSync(join(source, "a.txt"), book);
    const parquet = new ParquetFile(join(source, "c.parquet"), [
      { name: "row", num_children: 1 },
      { name: "text", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "REQUIRED" },
    ], {});
    parquet.writeGroup([{ name: "text", data: ["from parquet"] }]);
    parquet.commit();
    assertEquals(textFiles(source), ["a.txt", "b.jsonl", "c.parquet"]);

    const options = { corpus, source, tokenizer: TOKENIZER, sequenceLength: 64, test: 0.2 };
    const { manifest } = await buildTextCorpus(options);
    assert(manifest);
    assertEquals(manifest.sources.map((s) => s.name), ["a.txt", "b.jsonl", "c.parquet"]);
    assert(manifest.splits.test.documents > 0);
    assertEquals(await textsIn(corpus), [...lines, book, "from parquet"].sort());

    // Files that stay are not tokenized again; new, changed and removed ones are followed.
    const before = Deno.statSync(join(corpus, "tokens/b.jsonl.tokens")).ino;
    Deno.writeTextFileSync(join(source, "a.txt"), "A short book.");
    Deno.writeTextFileSync(join(source, "aa.txt"), "Another.");
    Deno.removeSync(join(source, "c.parquet"));
    await buildTextCorpus({ corpus, source });
    assertEquals(Deno.statSync(join(corpus, "tokens/b.jsonl.tokens")).ino, before);
    assertEquals(await textsIn(corpus), [...lines, "A short book.", "Another."].sort());

    await assertRejects(
      () => buildTextCorpus({ corpus, source, sequenceLength: 32 }),
      UserError,
      "--sequence-length 32",
    );
    Deno.writeTextFileSync(join(source, "d.jsonl"), '{"body":"x"}\n');
    await assertRejects(() => buildTextCorpus({ corpus, source }), UserError, "d.jsonl, line 1");
    assertEquals(textFiles("https://example.org/"), []);
    Deno.mkdirSync(join(source, "baseline"));
    assertEquals(textFiles(source), []);
  }));

Deno.test("texts: without a tokenizer there are documents, and with one later the same shards", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    const whole = join(folder, "whole");
    Deno.mkdirSync(source);
    const lines = Array.from({ length: 40 }, (_, i) => ({ text: `A line ${i}.`, year: 1990 + i }));
    const jsonl = [{ text: "" }, { text: "half \ud800 a pair" }, ...lines];
    Deno.writeTextFileSync(
      join(source, "a.jsonl"),
      jsonl.map((record) => JSON.stringify(record) + "\n").join(""),
    );
    Deno.writeTextFileSync(join(source, "b.txt"), "Words and more words. ".repeat(50));
    assertEquals((await buildTextCorpus({ corpus, source })).manifest, undefined);
    const status = readTextStatus(corpus, readTextCorpus(corpus) ?? fail("no corpus"));
    assertEquals([status.files, status.documents, status.tokens], [2, 42, 0]);
    assertEquals([status.tokenizer_sha256, status.shards], ["", 0]);
    const verified = await verifyTextCorpus(corpus);
    assertEquals([verified.problems, verified.documents], [[], 42]);
    using texts = openCorpusTexts(corpus);
    const read: string[] = [];
    for await (const { text } of texts.read()) read.push(text);
    assertEquals([read.length, read[0], read.at(-1)?.length], [42, "half \ufffd a pair", 1100]);

    // A set needs its source no more, equals the shards of a corpus with the tokenizer, and is chosen
    // from by what the records say.
    const made = { sequenceLength: 64, test: 0.2 };
    const { manifest } = await buildTextCorpus({
      ...made,
      corpus: whole,
      source,
      tokenizer: TOKENIZER,
    });
    const hashes = (folder: string) =>
      SPLITS.flatMap((s) =>
        readManifest(folder).splits[s].shards.map((shard) => shard.tokens_file.sha256)
      );
    const aside = join(folder, "aside");
    Deno.renameSync(source, aside);
    const pack = (more = {}) => packSet({ corpus, name: "small", workers: 1, ...more });
    await assertRejects(() => pack(), UserError, "name one with --tokenizer");
    const packed = await pack({ ...made, tokenizer: TOKENIZER });
    assertEquals(hashes(packed.folder), hashes(whole));
    assertEquals((await pack()).written, false);
    const all = { upsample: "", curriculum: "", scores: "" };
    const chosen = await selectRows(packed.folder, { filter: "year<2000", ...all });
    assert(chosen.documents > 0 && chosen.documents <= 10, `${chosen.documents}`);
    chosen.close();

    // A tokenizer that comes later makes the same corpus, from its documents alone.
    Deno.renameSync(aside, source);
    await buildTextCorpus({ ...made, corpus, source, tokenizer: TOKENIZER });
    assertEquals(
      Deno.readTextFileSync(join(corpus, "texts.json")),
      Deno.readTextFileSync(join(whole, "texts.json")),
    );
    assertEquals(hashes(corpus), hashes(whole));
    assertEquals(manifest?.splits, readManifest(corpus).splits);
  }));

Deno.test("texts: status counts, and verify finds what is not as it was written", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    const lines = Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: `A line ${i}.` }));
    Deno.writeTextFileSync(join(source, "a.jsonl"), lines.join("\n"));
    Deno.writeTextFileSync(join(source, "b.txt"), "Words and more words. ".repeat(50));
    await buildTextCorpus({ corpus, source, tokenizer: TOKENIZER, sequenceLength: 64 });
    const state = readTextCorpus(corpus)!;
    const status = readTextStatus(corpus, state);
    assertEquals([status.files, status.documents, status.sequence_length], [2, 41, 64]);
    const manifest = readManifest(corpus);
    assertEquals(status.tokens, SPLITS.reduce((n, s) => n + manifest.splits[s].tokens, 0));
    assertEquals(status.split_documents, 1); // one document of 41 is longer than a row
    const { train, validation, test } = status.splits;
    assertEquals(
      (train?.documents ?? 0) + (validation?.documents ?? 0) + (test?.documents ?? 0),
      41,
    );
    assertEquals(status.held_out.map((h) => h.what), ["validation", "test"]);
    const whole = await verifyTextCorpus(corpus);
    assertEquals([whole.problems, whole.documents, whole.files], [[], 41, 2]);

    const tokens = join(corpus, "tokens/b.txt.tokens");
    const bytes = Deno.readFileSync(tokens);
    bytes[bytes.length - 1]! ^= 1;
    Deno.writeFileSync(tokens, bytes);
    const shard = join(corpus, "shards", manifest.splits.train.shards[0]!.tokens_file.path);
    Deno.truncateSync(shard, 200);
    Deno.removeSync(join(corpus, "tokenizer.json"));
    assertEquals((await verifyTextCorpus(corpus)).problems, [
      `${join(corpus, "tokenizer.json")} is missing`,
      `${tokens} is not what was written`,
      `${shard} is not what was written`,
    ]);
  }));

Deno.test("texts: a refresh takes what is new; PubMed's files are kept out", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    Deno.writeTextFileSync(join(source, "a.jsonl"), '{"text":"one"}\n');
    await buildTextCorpus({ corpus, source, tokenizer: TOKENIZER, sequenceLength: 16, test: 0 });
    Deno.writeTextFileSync(join(source, "b.txt"), "two");
    const reporter = silentReporter();
    const { signal } = new AbortController();
    const run = (...words: string[]) =>
      refresh.run(parseInvocation(refresh, ["--corpus", corpus, ...words], reporter, signal));
    await run();
    assertEquals(reporter.lines.at(-1)!.split(",")[0], "2 documents");
    assertEquals(await textsIn(corpus), ["one", "two"]);
    const rights = await rightsFor(["pipeline", "refresh", "--corpus", corpus], ROOT);
    assertEquals(rights.lists.read.includes(source), true);
    await assertRejects(
      () => run("--source", folder),
      UserError,
      `"${folder}" is no folder of .jsonl`,
    );
    const before = [...Deno.readDirSync(corpus)].map((e) => e.name).sort();
    const options = { corpus, source: join(ROOT, "fixtures/mirror"), workers: 1 };
    await assertRejects(() => runPipeline(options), UserError, "it is a corpus of other texts");
    assertEquals([...Deno.readDirSync(corpus)].map((e) => e.name).sort(), before);
  }));
