import { join } from "../../core/std.ts";
import { command as duplicates } from "../../commands/pipeline_duplicates.ts";
import { command as documents } from "../../commands/pipeline_documents.ts";
import { command as where } from "../../commands/pipeline_where.ts";
import { type Command, parseInvocation } from "../../core/cli.ts";
import { UserError } from "../../core/errors.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { duplicatesPath } from "../../pipeline/corpus_paths.ts";
import { chooseDropped } from "../../pipeline/overlap/dropped_duplicates.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { whereIs } from "../../pipeline/shards/provenance.ts";
import { readStatus } from "../../pipeline/status.ts";
import { buildTextCorpus } from "../../pipeline/texts/corpus.ts";
import { readTextCorpus } from "../../pipeline/texts/state.ts";
import { readTextStatus } from "../../pipeline/texts/check.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";
import { article, pubmedSet, putFile, withFolder } from "./support.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");

async function said(command: Command, ...words: string[]): Promise<string> {
  const reporter = silentReporter();
  await command.run(parseInvocation(command, words, reporter, new AbortController().signal));
  return reporter.lines.join("\n");
}

Deno.test("chooseDropped() keeps the oldest, and copies of what is itself dropped", () => {
  const pair = (pmid: number, other: number, similarity: number) => ({ pmid, other, similarity });
  assertEquals(chooseDropped([pair(9, 4, 0.9), pair(4, 2, 0.8), pair(9, 2, 0.7), pair(5, 4, 1)]), [
    { pmid: 4, kept: 2, similarity: 0.8 },
    { pmid: 9, kept: 2, similarity: 0.7 },
  ]);
  assertEquals(chooseDropped([]), []);
});

/** An abstract of its own for each number. */
const abstractOf = (n: number) =>
  Array.from({ length: 40 }, (_, i) => `finding${n}x${i}`).join(" ");

Deno.test("dropped duplicates are in no shard, counted, told of, and known to later runs", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const records = (from: number, to: number, copies: Record<number, number> = {}) =>
      pubmedSet(
        ...Array.from({ length: to - from }, (_, i) => {
          const pmid = from + i;
          return article(pmid, {
            title: `Title ${pmid}.`,
            abstract: abstractOf(copies[pmid] ?? pmid),
          });
        }),
      );
    putFile(mirror, "baseline", 1, records(1, 31, { 20: 7, 25: 7, 30: 11 }));
    const run = () => runPipeline({ corpus, source: mirror, workers: 1 });
    await runPipeline({ corpus, source: mirror, workers: 1, tokenizer: TOKENIZER, test: 0 });
    const reported = await said(duplicates, "--corpus", corpus);
    assertStringIncludes(reported, "Title 7.");
    assertStringIncludes(reported, "Title 20.");
    assertStringIncludes(reported, "4 pairs among 30 documents");
    const before = (await whereIs(corpus, 20)).shard;
    assert(before !== "", "reporting alone drops nothing");

    const told = await said(duplicates, "--corpus", corpus, "--drop");
    assertStringIncludes(told, "3 documents are dropped as near copies of an older one");
    const inShards = async () => {
      const found: number[] = [];
      for (let pmid = 1; pmid <= 40; pmid++) {
        if ((await whereIs(corpus, pmid)).shard !== "") found.push(pmid);
      }
      return found;
    };
    const kept = Array.from({ length: 30 }, (_, i) => i + 1).filter((p) =>
      ![20, 25, 30].includes(p)
    );
    assertEquals(await inShards(), kept);
    assertStringIncludes(await said(where, "--corpus", corpus, "--pmid", "25"), "near copy of 7");
    const status = () => {
      const catalogue = readCatalogue(corpus);
      try {
        return readStatus(corpus, catalogue);
      } finally {
        catalogue.close();
      }
    };
    assertEquals(status().dropped.duplicate, 3);
    assertEquals(status().held_out.find((h) => h.what === "duplicates")?.documents, 3);
    assertEquals((await verifyCorpus(corpus)).problems, []);

    putFile(mirror, "updatefiles", 2, records(31, 36));
    await run();
    assertEquals(await inShards(), [...kept, 31, 32, 33, 34, 35]);

    // A changed report is noticed, and made again.
    const path = duplicatesPath(corpus);
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace("25", "24"));
    assertEquals((await verifyCorpus(corpus)).problems, [`${path} is not what was written`]);
    await assertRejects(run, UserError, "Cannot tell which near copies");
    await said(duplicates, "--corpus", corpus, "--drop");
    await run();
    assertEquals(await inShards(), [...kept, 31, 32, 33, 34, 35]);

    const [line = ""] = (await said(documents, "--corpus", corpus, "--pmid", "7")).split("\n");
    assertEquals(JSON.parse(line).text, `Title 7.\n\n${abstractOf(7)}`);
  }));

Deno.test("duplicates are dropped from corpora of texts too", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    const corpus = join(folder, "corpus");
    Deno.mkdirSync(source);
    const lines = [1, 2, 3, 1, 4].map((n) => JSON.stringify({ text: abstractOf(n) }));
    Deno.writeTextFileSync(join(source, "a.jsonl"), lines.join("\n"));
    const settings = { tokenizer: TOKENIZER, sequenceLength: 128, validation: 0, test: 0 };
    await buildTextCorpus({ corpus, source, ...settings });
    const told = JSON.parse(
      (await said(duplicates, "--corpus", corpus, "--drop", "--json")).split("\n").at(-1) ?? "",
    );
    assertEquals([told.pairs, told.dropped], [1, 1]);
    const state = readTextCorpus(corpus);
    if (!state) throw new Error("there is no corpus of texts");
    const status = readTextStatus(corpus, state);
    assertEquals(status.splits.train?.documents, 4);
    await buildTextCorpus({ corpus, source });
    assertEquals(readTextStatus(corpus, state).splits.train?.documents, 4);
  }));
