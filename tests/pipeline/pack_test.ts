import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { openCorpus } from "../../model/training/shard_corpus.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { packSet } from "../../pipeline/pack.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { selectRows } from "../../pipeline/selection/selection.ts";
import { readManifest, SPLITS } from "../../pipeline/shards/mod.ts";
import { trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { article, pubmedSet, putFile, withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");

/** The bytes of a folder's shards by name, and of its manifest. */
function bytesOf(folder: string): Map<string, string> {
  const { splits } = readManifest(folder);
  return new Map(
    SPLITS.flatMap((s) => splits[s].shards.map((e) => [e.name, e.tokens_file.sha256] as const)),
  );
}

Deno.test("a shard set holds the corpus's documents in another way, and equals a corpus made so", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const records = (from: number, to: number) =>
      pubmedSet(...Array.from({ length: to - from }, (_, i) => article(from + i)));
    putFile(mirror, "baseline", 1, records(1, 101));
    const run = (more = {}) =>
      runPipeline({ corpus, source: mirror, workers: 1, tokenizer: TOKENIZER, ...more });
    await run({ sequenceLength: 64 });
    const before = bytesOf(corpus);
    const other = join(folder, "other.json");
    const words = trainTokenizer(["growth of cells and the temperature of the medium"], 300);
    Deno.writeTextFileSync(other, JSON.stringify(words));
    const pack = (name: string, more = {}) => packSet({ corpus, name, workers: 1, ...more });

    const long = await pack("long", { sequenceLength: 256, validation: 0.1 });
    const bio = await pack("bio", { tokenizer: other });
    assertEquals(bytesOf(corpus), before, "the corpus's own shards stay");
    assertEquals((await verifyCorpus(corpus)).problems, []);
    // The same as if a corpus had been made so from the beginning.
    const alone = join(folder, "alone");
    await run({ corpus: alone, sequenceLength: 256, validation: 0.1 });
    assertEquals(bytesOf(long.folder), bytesOf(alone));
    const foreign = join(folder, "foreign");
    await run({ corpus: foreign, sequenceLength: 64, tokenizer: other });
    assertEquals(bytesOf(bio.folder), bytesOf(foreign));
    assertEquals((await pack("long")).written, false);
    await assertRejects(() => pack("long", { sequenceLength: 128 }), UserError, "made with 256");
    await assertRejects(
      () => pack("bio", { tokenizer: TOKENIZER }),
      UserError,
      "another tokenizer",
    );
    await assertRejects(() => pack("../out"), UserError, "Cannot name a shard set");

    // It is read as a corpus is, its documents' columns with it.
    using opened = openCorpus(long.folder);
    assertEquals([opened.sequenceLength, opened.split("train").row(0).length], [256, 256]);
    const all = { upsample: "", curriculum: "", scores: "" };
    const chosen = await selectRows(long.folder, { filter: "year=2020; pmid<=50", ...all });
    assert(chosen.documents > 20 && chosen.documents <= 50, `${chosen.documents}`);
    chosen.close();

    // What comes later, and what is held out later, is so in a set too once it is packed again.
    putFile(mirror, "updatefiles", 2, records(101, 131));
    await run();
    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(questions, JSON.stringify({ "7": { question: "Is it so?" } }));
    await decontaminateCorpus({ corpus, against: [questions] });
    const again = await pack("long");
    assert(again.written);
    const documents = SPLITS.reduce(
      (n, s) => n + readManifest(again.folder).splits[s].documents,
      0,
    );
    assertEquals(documents, 129);
  }));
