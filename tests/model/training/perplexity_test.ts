import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { makeBatch } from "../../../model/mamba/batch.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import { byteStandIns } from "../../../pipeline/tokenizer/characters.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import {
  inventedCorpus,
  makeReference,
  MINIATURE,
  silentReporter,
  withFolder,
} from "../helpers.ts";

const reporter = silentReporter();

Deno.test("evaluatePerplexity() weighs every real token alike, whatever the batch", () =>
  withFolder(async (dir) => {
    const model = join(dir, "model");
    const read = initialParameters(MINIATURE, 2);
    writeModelFolder(model, { config: MINIATURE, read });
    const corpus = inventedCorpus();
    const source = corpus.split("validation");
    // By hand: one row at a time, in float64.
    let nll = 0;
    let tokens = 0;
    const reference = new ReferenceModel(MINIATURE, 1, 12);
    reference.writeParameters(read);
    for (let i = 0; i < 5; i++) {
      const one = await reference.evaluate(makeBatch([source.row(i)], 1, 12, 0));
      nll += one.nll;
      tokens += one.targets;
    }
    /** A model that does not tell rows apart. */
    const batchOnly: MakeModel = async (...args) => {
      const made = await makeReference(...args);
      const { model } = made;
      const evaluate = model.evaluate.bind(model);
      model.evaluate = async (batch) => ({ ...await evaluate(batch), rowNll: undefined });
      return made;
    };
    for (const makeModel of [makeReference, batchOnly]) {
      for (const batchSize of [1, 2, 8]) {
        const request = {
          model,
          corpus,
          split: "validation",
          batchSize,
          makeModel,
          reporter,
        } as const;
        const result = await evaluatePerplexity(request);
        assertEquals([result.rows, result.tokens], [5, tokens]);
        assertAlmostEquals(result.loss, nll / tokens, 1e-9);
        assertAlmostEquals(result.perplexity, Math.exp(nll / tokens), 1e-6);
        const { low, high } = result.interval;
        // All rows in one batch, whose rows are not told apart: no spread, and no interval is claimed.
        if (makeModel === batchOnly && batchSize === 8) assertEquals([low, high], [NaN, NaN]);
        else assert(low <= result.perplexity && result.perplexity <= high);
        assertEquals(result, await evaluatePerplexity(request), "repeatable");
      }
    }
    assert(tokens < 5 * 11, "padding is not scored");
  }));

Deno.test("evaluatePerplexity() gives bits a byte over the scored text", () =>
  withFolder(async (dir) => {
    const vocab = Object.fromEntries(byteStandIns().map((c, byte) => [c, byte + 1]));
    const tokenizer = new TextEncoder().encode(JSON.stringify({
      added_tokens: [{ id: 0, content: "<|endoftext|>", special: true }],
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab, merges: [] },
    }));
    const config = configOfSizes({ hiddenSize: 4, layers: 1, vocabSize: 257 });
    const model = join(dir, "model");
    const read = initialParameters(config, 2);
    writeModelFolder(model, { config, read, tokenizer });
    const text = new TextEncoder().encode("naïve β"); // 9 bytes
    const row = Uint16Array.from([0, ...text, 0, 0], (v, i) => i > 0 && i <= 9 ? v + 1 : v);
    const corpus = {
      ...inventedCorpus({ sequenceLength: 12 }),
      vocabularySize: 257,
      tokenizerSha256: sha256(tokenizer),
      split: () => ({ rows: 4, row: () => row }),
    };
    const result = await evaluatePerplexity({
      model,
      corpus,
      split: "test",
      batchSize: 4,
      makeModel: makeReference,
      reporter,
    });
    assertEquals([result.bytes, result.tokens], [4 * 9, 4 * 10]);
    assertAlmostEquals(result.bits_per_byte!, result.loss * 40 / 36 / Math.LN2, 1e-12);
    assertAlmostEquals(result.byte_perplexity!, 2 ** result.bits_per_byte!, 1e-9);
  }));

Deno.test("evaluatePerplexity() refuses a corpus of another tokenizer and an empty split", () =>
  withFolder(async (dir) => {
    const model = join(dir, "model");
    const read = initialParameters(MINIATURE, 2);
    const tokenizer = new TextEncoder().encode('{"model":{"vocab":{"a":20}}}');
    writeModelFolder(model, { config: MINIATURE, read, tokenizer });
    const request = { model, batchSize: 2, makeModel: makeReference, reporter };
    const empty = inventedCorpus({ rows: { test: 0 } });
    await assertRejects(
      () => evaluatePerplexity({ ...request, corpus: empty, split: "test" }),
      Error,
      "test split is empty",
    );
    await assertRejects(
      () => evaluatePerplexity({ ...request, corpus: inventedCorpus(), split: "test" }),
      Error,
      "another tokenizer",
    );
  }));
