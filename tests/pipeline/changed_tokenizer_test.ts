import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { article, pubmedSet, putFile, withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");

Deno.test("a tokenizer that changed under a corpus is found, and refused until it is back", () =>
  withFolder(async (folder) => {
    const source = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const run = (more: Partial<RunOptions> = {}) =>
      runPipeline({ corpus, source, workers: 1, ...more });
    const problems = async () => {
      const catalogue = readCatalogue(corpus);
      try {
        return (await verifyCorpus(corpus)).problems;
      } finally {
        catalogue.close();
      }
    };
    putFile(source, "baseline", 1, pubmedSet(...[1, 2, 3].map((pmid) => article(pmid))));
    await run({ tokenizer: TOKENIZER, sequenceLength: 64 });
    assertEquals(await problems(), []);

    const own = join(corpus, "tokenizer.json");
    const text = Deno.readTextFileSync(own);
    Deno.writeTextFileSync(own, text + " ");
    assertEquals(await problems(), [`${own} is not the tokenizer that the corpus was made with`]);
    await assertRejects(() => run(), UserError, "not the tokenizer it was made with; put the one");
    await assertRejects(() => run({ tokenizer: own }), UserError, "tokenized with another");
    Deno.removeSync(own);
    assertEquals(await problems(), [`${own} is missing`]);
    await assertRejects(() => run(), UserError, "is missing; put the one with SHA-256");
    await run({ tokenizer: TOKENIZER });
    assertEquals(await problems(), []);
  }));

Deno.test("a vocabulary beyond 16 bits is refused, with what to do", () =>
  withFolder((folder) => {
    const json = JSON.parse(Deno.readTextFileSync(TOKENIZER));
    const path = join(folder, "big.json");
    const { vocab } = json.model;
    const size = Object.keys(vocab).length;
    for (let id = size; id < 65_536; id++) vocab[`token${id}`] = id;
    Deno.writeTextFileSync(path, JSON.stringify(json));
    assertThrows(() => loadTokenizer(path), UserError, 'make a smaller one with "pipeline train');
  }));
