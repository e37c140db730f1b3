import { join } from "../../../core/std.ts";
import { UserError } from "../../../core/errors.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { extendModel } from "../../../model/weights/extend.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { EMBEDDING, parameterList } from "../../../model/mamba/parameters.ts";
import { makeBatch } from "../../../model/mamba/batch.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { openCorpus } from "../../../model/training/shard_corpus.ts";
import { buildTextCorpus } from "../../../pipeline/texts/corpus.ts";
import { makeReference, silentReporter } from "../helpers.ts";
import { counterFor, extendTokenizer, oldPieces } from "../../../pipeline/tokenizer/extend.ts";
import { trainTokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";

Deno.test("model extension: old rows stay, new rows are the means of their pieces", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const base = join(folder, "base");
    const out = join(folder, "out");
    const bio = join(folder, "bio.json");
    const json = trainTokenizer(["the cat the cat the"], 262);
    const vocabSize = Object.keys(json.model.vocab).length;
    const config = configOfSizes({ hiddenSize: 8, layers: 1, vocabSize });
    const parameters = new Map(parameterList(config).map((p) => [p.name, p.size]));
    const read = (name: string) =>
      Float32Array.from({ length: parameters.get(name)! }, (_, i) => Math.sin(i + name.length));
    const tokenizer = new TextEncoder().encode(JSON.stringify(json));
    writeModelFolder(base, { config, read, tokenizer });
    const path = join(base, "tokenizer.json");
    const counter = counterFor(path);
    counter.add("carcinoma of the carcinoma cat carcinoma ".repeat(3));
    Deno.writeTextFileSync(bio, JSON.stringify(extendTokenizer(path, counter, 11).json));
    assertEquals(await extendModel(base, bio, out), {
      out,
      old_vocabulary: vocabSize,
      new_vocabulary: vocabSize + 11,
      contextual: 0,
    });
    const extended = openModelFolder(out);
    const rows = extended.read(EMBEDDING);
    const old = read(EMBEDDING);
    assertEquals(extended.config.vocabSize, vocabSize + 11);
    assertEquals(extended.config.paddedVocabSize, Math.ceil((vocabSize + 11) / 8) * 8);
    assertEquals(rows.subarray(0, vocabSize * 8), old.subarray(0, vocabSize * 8));
    oldPieces(path, bio).forEach((ids, i) => {
      const mean = Float32Array.from(
        { length: 8 },
        (_, c) => ids.reduce((sum, id) => sum + old[id * 8 + c]!, 0) / ids.length,
      );
      assertEquals(rows.slice((vocabSize + i) * 8, (vocabSize + i + 1) * 8), mean);
    });
    const norm = "backbone.norm_f.weight";
    assertEquals(extended.read(norm), read(norm));
    assertEquals(Deno.readFileSync(extended.tokenizerFile!), Deno.readFileSync(bio));
    extended.close();
    await assertRejects(() => extendModel(base, bio, out), UserError, out);
    Deno.removeSync(path);
    const other = join(folder, "x");
    await assertRejects(() => extendModel(base, bio, other), UserError, "no tokenizer.json");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

const SENTENCES = [
  "the carcinoma of the cat grows",
  "a dog with carcinoma and the cat with none",
  "the cat and a dog and the carcinoma of none",
  "none of the cat grows with a dog",
];

/** A corpus of texts, cut by a tokenizer; no text is longer than a row. */
async function corpusOf(folder: string, name: string, tokenizer: string): Promise<string> {
  const source = join(folder, "texts");
  const corpus = join(folder, name);
  Deno.mkdirSync(source, { recursive: true });
  const texts = Array.from({ length: 60 }, (_, i) => SENTENCES[(i * i + i) % 7 % 4]!);
  Deno.writeTextFileSync(
    join(source, "a.jsonl"),
    texts.map((text) => JSON.stringify({ text })).join("\n"),
  );
  await buildTextCorpus({ corpus, source, tokenizer, sequenceLength: 64, test: 0.3 });
  return corpus;
}

Deno.test("model extension: perplexity per byte of both cuts of a text compares", async () => {
  const folder = Deno.makeTempDirSync();
  const reporter = silentReporter();
  try {
    // Trained for a little on the old pieces, so that what is kept is worth something.
    const tokenizer = join(folder, "tokenizer.json");
    const bio = join(folder, "bio.json");
    Deno.writeTextFileSync(tokenizer, JSON.stringify(trainTokenizer(["the cat the cat"], 262)));
    const counter = counterFor(tokenizer);
    for (const sentence of SENTENCES) counter.add(`${sentence} `.repeat(3));
    const extension = extendTokenizer(tokenizer, counter, 8);
    Deno.writeTextFileSync(bio, JSON.stringify(extension.json));
    const config = configOfSizes({ hiddenSize: 12, layers: 1, vocabSize: extension.firstId });
    const before = join(folder, "before");
    const model = new ReferenceModel(config, 4, 64, {});
    using corpus = openCorpus(await corpusOf(folder, "old", tokenizer));
    using extended = openCorpus(await corpusOf(folder, "new", bio));
    model.writeParameters(initialParameters(config, 5));
    const rows = corpus.split("train");
    for (let step = 1; step <= 25; step++) {
      const batch = makeBatch(
        Array.from({ length: 4 }, (_, r) => rows.row((step * 4 + r) % rows.rows)),
        ...[4, 64, corpus.endOfText] as const,
      );
      model.accumulate(batch, 1 / batch.scored);
      model.update({
        step,
        learningRate: 0.02,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weightDecay: 0,
        maxGradNorm: 1,
      });
    }
    const weights = await model.readParameters();
    const written = { config, read: (name: string) => weights.get(name)! };
    writeModelFolder(before, { ...written, tokenizer: Deno.readFileSync(tokenizer) });
    const after = join(folder, "after");
    const contextual = join(folder, "contextual");
    await extendModel(before, bio, after);
    const made = await extendModel(before, bio, contextual, {
      makeModel: makeReference,
      texts: SENTENCES,
      batchSize: 2,
      sequenceLength: 32,
    });
    assert(made.contextual >= 6, `${made.contextual} of 8 tokens stand in the texts`);

    const score = (model: string, on: typeof corpus) =>
      evaluatePerplexity({
        model,
        corpus: on,
        split: "test",
        batchSize: 4,
        makeModel: makeReference,
        reporter,
      });
    const old = await score(before, corpus);
    const results = [await score(after, extended), await score(contextual, extended)];
    assert(old.bits_per_byte! < 3, `${old.bits_per_byte} bits a byte were learned`);
    for (const { bytes, tokens, loss, bits_per_byte } of results) {
      // The same text in fewer tokens: loss per token does not compare, bits a byte do.
      assertEquals(bytes, old.bytes);
      assert(tokens < old.tokens * 0.8, `${tokens} tokens, ${old.tokens} before`);
      assertAlmostEquals(bits_per_byte!, loss * tokens / bytes! / Math.LN2, 1e-9);
      const ratio = bits_per_byte! / old.bits_per_byte!;
      assert(ratio > 0.7 && ratio < 1.5, `${ratio} times the bits a byte`);
    }
    const [mean, average] = results.map((r) => r.bits_per_byte!);
    assert(average! < mean! * 1.15, `${average} bits a byte by contexts, ${mean} by pieces`);
    // Contexts say something else than pieces, and old rows stay.
    const [a, b] = [after, contextual].map((path) => {
      const opened = openModelFolder(path);
      const values = opened.read(EMBEDDING);
      opened.close();
      return values;
    });
    const from = config.vocabSize * 12;
    const row = (v: Float32Array) => v.subarray(from, from + 12);
    assert(row(a!).join() !== row(b!).join());
    assertEquals(a!.subarray(0, from), b!.subarray(0, from));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
