/** Perplexity of documents by themselves, in windows, and by the v1 protocol. */
import { UsageError, UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { IGNORED_TARGET } from "../../../model/mamba/types.ts";
import { comparePerplexities } from "../../../model/tasks/perplexity/comparison.ts";
import {
  readCorpusDocuments,
  readTextDocuments,
} from "../../../model/tasks/perplexity/documents.ts";
import { stretchesOf, V1_TOKENS } from "../../../model/tasks/perplexity/score_documents.ts";
import { perplexity } from "../../../model/tasks/perplexity/task.ts";
import { ALONE } from "../../../model/training/job.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { buildTextCorpus } from "../../../pipeline/texts/corpus.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
} from "../../assert.ts";
import { makeReference, silentReporter, withFolder, writeJson } from "../helpers.ts";
import { byteTokenizer, byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

/** A model folder under `dir`, with weights by a seed. */
function writeModel(dir: string, name: string, seed: number, json = byteTokenizerJson()): string {
  const path = join(dir, name);
  const read = initialParameters(MINIATURE_READER, seed);
  const tokenizer = new TextEncoder().encode(JSON.stringify(json));
  writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  return path;
}

type Options = Record<string, string | number>;

const measure = (model: string, options: Options) =>
  perplexity.measure({
    given: givenOf({ "batch-size": 2, split: "test", seed: 0, ...options }),
    model,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    job: ALONE,
  });

/** The losses of a document's positions, in float64. */
async function lossesOf(seed: number, tokens: number[], targets: number[]): Promise<number[]> {
  const model = new ReferenceModel(MINIATURE_READER, 1, tokens.length);
  model.writeParameters(initialParameters(MINIATURE_READER, seed));
  const starts = new Uint8Array(tokens.length);
  starts[0] = 1;
  const { positionNll } = await model.evaluate({
    tokens: Uint32Array.from(tokens),
    starts,
    targets: Int32Array.from(targets),
  });
  return [...positionNll ?? []];
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

Deno.test("windows overlap, and every token and the end is scored once", () => {
  const short = stretchesOf(0, [5, 6, 7], 0, { window: 8, stride: 4 });
  assertEquals(short, [{ document: 0, tokens: [0, 5, 6, 7], targets: [5, 6, 7, 0] }]);
  const ids = Array.from({ length: 12 }, (_, i) => i + 1);
  const long = stretchesOf(3, ids, 0, { window: 6, stride: 4 });
  const no = IGNORED_TARGET;
  assertEquals(long, [
    { document: 3, tokens: [0, 1, 2, 3, 4, 5], targets: [1, 2, 3, 4, 5, 6] },
    { document: 3, tokens: [4, 5, 6, 7, 8, 9], targets: [no, no, 7, 8, 9, 10] },
    { document: 3, tokens: [8, 9, 10, 11, 12], targets: [no, no, 11, 12, 0] },
  ]);
});

const TEXTS = ["Fever is hot.", "naïve β cells", "It was a study of many cells that live on."];

Deno.test("documents: losses by hand, per token, word and byte; long ones in windows", () =>
  withFolder(async (dir) => {
    const model = writeModel(dir, "model", 2);
    const text = join(dir, "texts.jsonl");
    Deno.writeTextFileSync(text, TEXTS.map((t) => JSON.stringify({ text: t }) + "\n").join(""));
    const tokenizer = byteTokenizer();
    const window = 20;
    const stride = 10;
    let nll = 0;
    let tokens = 0;
    for (const [i, own] of TEXTS.entries()) {
      const ids = tokenizer.encode(own);
      for (const stretch of stretchesOf(i, ids, 0, { window, stride })) {
        const losses = await lossesOf(2, stretch.tokens, stretch.targets);
        nll += sum(losses.filter((_, t) => (stretch.targets[t] ?? -1) >= 0));
      }
      tokens += ids.length + 1;
    }
    const { json } = await measure(model, { text, window, stride });
    assertEquals([json.documents, json.tokens, json.long_documents], [3, tokens, 1]);
    assertEquals([json.words, json.bytes], [3 + 3 + 10, 13 + 15 + 42]);
    assertAlmostEquals(json.loss as number, nll / tokens, 1e-9);
    assertAlmostEquals(json.perplexity as number, Math.exp(nll / tokens), 1e-6);
    assertAlmostEquals(json.word_perplexity as number / Math.exp(nll / 16), 1, 1e-9);
    assertAlmostEquals(json.bits_per_byte as number, nll / 70 / Math.LN2, 1e-9);
    // Only some of them, drawn by the seed.
    const some = (await measure(model, { text, rows: 2 })).json;
    assertEquals([some.documents, some.of_documents], [2, 3]);
    await assertRejects(() => measure(model, { text, window: 20, stride: 21 }), UsageError, "21");
    await assertRejects(() => measure(model, { text, protocol: "rows" }), UsageError, "no rows");
    await assertRejects(() => measure(model, {}), UsageError, "either --corpus");
  }));

Deno.test("v1: 512 tokens, padded, padding scored, the mean of the batches' means", () =>
  withFolder(async (dir) => {
    const model = writeModel(dir, "model", 2);
    const text = join(dir, "texts.jsonl");
    const texts = [...TEXTS.slice(0, 2), "long ".repeat(150)];
    Deno.writeTextFileSync(text, texts.map((t) => JSON.stringify({ text: t }) + "\n").join(""));
    const tokenizer = byteTokenizer();
    const means: number[] = [];
    for (const own of texts) {
      const ids = [...tokenizer.encode(own)].slice(0, V1_TOKENS);
      const tokens = [...ids, ...new Array<number>(V1_TOKENS - ids.length).fill(0)];
      const losses = await lossesOf(2, tokens, [...tokens.slice(1), IGNORED_TARGET]);
      means.push(sum(losses.slice(0, -1)) / (V1_TOKENS - 1));
    }
    const [one = NaN, two = NaN, three = NaN] = means;
    const { text: table, json } = await measure(model, { text, protocol: "v1" });
    const v1 = json.v1 as Record<string, number>;
    // Two documents in the first batch, one in the second, which weighs as much.
    assertAlmostEquals(v1.loss ?? NaN, ((one + two) / 2 + three) / 2, 1e-9);
    assertEquals([v1.tokens, v1.long_documents], [3 * (V1_TOKENS - 1), 1]);
    // The honest figure stands beside it.
    const honest = (await measure(model, { text })).json;
    assertEquals(json.perplexity, honest.perplexity);
    assert(table.includes("real tokens") && table.includes("v1, padding scored"), table);
  }));

Deno.test("a base is compared by document: per token, or per byte where tokens differ", () =>
  withFolder(async (dir) => {
    const model = writeModel(dir, "model", 2);
    const base = writeModel(dir, "base", 5);
    const text = join(dir, "texts.txt");
    Deno.writeTextFileSync(text, TEXTS.join("\n"));
    const lines = join(dir, "lines.text");
    Deno.writeTextFileSync(lines, [...TEXTS, "It is no, yes or no."].join("\n"));
    // A .txt file is one document; of any other name, each line is.
    assertEquals((await readTextDocuments(text)).documents.length, 1);
    const { json, text: table } = await measure(model, { text: lines, base });
    const comparison = json.comparison as { of: string; difference: number; documents: number };
    const { perplexity: theirs } = json.base as { perplexity: number };
    assertEquals([comparison.of, comparison.documents], ["perplexity", 4]);
    assertAlmostEquals(comparison.difference, (json.perplexity as number) - theirs, 1e-9);
    assert(table.includes("Against its base, over 4 documents"), table);
    const others = byteTokenizerJson();
    const { model: bpe } = others as { model: { merges: string[] } };
    bpe.merges = [];
    const other = writeModel(dir, "other", 5, others);
    const across = (await measure(model, { text: lines, base: other })).json;
    assertEquals((across.comparison as { of: string }).of, "bits_per_byte");
    const totals = (loss: number) =>
      Array.from(
        { length: 30 },
        (_, i) => ({ id: `${i}`, nll: (loss + i / 100) * 10, tokens: 10 }),
      );
    const { difference, interval, p } = comparePerplexities(totals(1), totals(1.2), 0);
    const value = (loss: number) => Math.exp(loss + 14.5 / 100);
    assertAlmostEquals(difference, value(1) - value(1.2), 1e-9);
    assert(interval.high < 0 && p < 0.05);
    assertThrows(
      () => comparePerplexities(totals(1), totals(1).slice(1), 0),
      UserError,
      "same tokenizer",
    );
  }));

Deno.test("BioASQ's questions are scored with their answers, a corpus document by document", () =>
  withFolder(async (dir) => {
    const model = writeModel(dir, "model", 2);
    writeJson(dir, "bioasq.json", {
      questions: [
        { id: "a", type: "summary", body: "What is it?", ideal_answer: ["A cell.", "Or so."] },
        { id: "b", type: "yesno", body: "Is it?", exact_answer: "yes" },
        { id: "c", type: "factoid", body: "Which?", exact_answer: [["IL-6", "IL6"]] },
        { id: "d", type: "list", body: "Which ones?" },
      ],
    });
    const path = join(dir, "bioasq.json");
    const { documents, notes } = await readTextDocuments(path);
    assertEquals(documents.map(({ text }) => text), [
      "Question: What is it?\nAnswer: A cell.",
      "Question: Is it?\nAnswer: yes",
      "Question: Which?\nAnswer: IL-6",
    ]);
    assertEquals(notes, [`${path}: 1 questions without an answer are left out`]);
    const asked = (await measure(model, { text: path, protocol: "v1" })).json;
    assert((asked.loss as number) > 0 && asked.v1 !== undefined);

    const source = join(dir, "texts");
    Deno.mkdirSync(source);
    const lines = Array.from({ length: 12 }, (_, i) => `Document ${i} is long. `.repeat(i + 1));
    Deno.writeTextFileSync(
      join(source, "a.jsonl"),
      lines.map((text) => JSON.stringify({ text }) + "\n").join(""),
    );
    const tokenizer = join(dir, "tokenizer.json");
    writeJson(dir, "tokenizer.json", byteTokenizerJson());
    const corpus = join(dir, "corpus");
    await buildTextCorpus({ corpus, source, tokenizer, sequenceLength: 64, test: 0.5 });
    const found = (await measure(model, { corpus, protocol: "documents", window: 128 })).json;
    const held = found.documents as number;
    assert(held > 1 && held < 12, `${held}`);
    // The texts are those of the source, put together again from rows.
    const texts = (await readCorpusDocuments(corpus, "test")).map((d) => d.text);
    assert(texts.every((text) => lines.includes(text)), texts.join("|"));
    assertEquals(texts.length, held);
    // Rows are compared by document too.
    const base = writeModel(dir, "base", 5);
    const rows = (await measure(model, { corpus, base })).json;
    assertEquals((rows.comparison as { documents: number }).documents, held);
    assertEquals(rows.protocol, "rows");
    assert((rows.word_perplexity as number) > 1);
  }));
