import { join } from "../../core/std.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { contaminationPath, readContamination } from "../../pipeline/overlap/contamination.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { readManifest, SPLITS } from "../../pipeline/tokens/mod.ts";
import { whereIs } from "../../pipeline/tokens/provenance.ts";
import { assert, assertEquals } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { article, deletion, pubmedSet, putFile } from "./support.ts";

const PASSAGE =
  "the quick brown fox jumps over the lazy dog and then sleeps until the morning comes";

function abstractOf(pmid: number): string {
  const words = Array.from({ length: 40 }, (_, i) => `finding${pmid}x${i}`).join(" ");
  return pmid === 12 || pmid === 44 ? `${words}. ${PASSAGE}.` : words;
}

const records = (from: number, to: number, ...more: string[]) =>
  pubmedSet(
    ...Array.from({ length: to - from }, (_, i) => {
      return article(from + i, { abstract: abstractOf(from + i) });
    }),
    ...more,
  );

/** The PMIDs in the shards, by asking for each. */
async function inShards(corpus: string, upTo: number): Promise<number[]> {
  const found: number[] = [];
  for (let pmid = 1; pmid <= upTo; pmid++) {
    if ((await whereIs(corpus, pmid)).shard) found.push(pmid);
  }
  return found;
}

Deno.test("decontaminate: what is held out stays out, through updates and a new series", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const mirror = join(folder, "mirror"), corpus = join(folder, "corpus");
    const run = (more: Partial<RunOptions> = {}) =>
      runPipeline({ corpus, source: mirror, workers: 1, ...more });
    putFile(mirror, "baseline", 1, records(1, 31));
    await run({ tokenizer: join(ROOT, "fixtures/tokenizer.json"), sequenceLength: 64 });
    const all = Array.from({ length: 30 }, (_, i) => i + 1);
    assertEquals(await inShards(corpus, 30), all);

    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(
      questions,
      JSON.stringify({ "7": { question: "Is it so?" }, "40": { question: `Does ${PASSAGE}?` } }),
    );
    const { report, shards } = await decontaminateCorpus({ corpus, against: [questions] });
    assertEquals([report.held_out_by_pmid, report.held_out_by_overlap], [[7, 40], [12]]);
    assertEquals(report.overlaps.map((o) => [o.pmid, o.item, o.text]), [[12, "40", PASSAGE]]);
    assert(shards?.written);
    const clean = all.filter((pmid) => pmid !== 7 && pmid !== 12);
    assertEquals(await inShards(corpus, 30), clean);

    // PMID 40 comes later, and is out from the start; 44 shares the passage, and is found then.
    putFile(mirror, "updatefiles", 2, records(31, 46));
    await run();
    const after = readContamination(corpus)!;
    assertEquals([after.held_out_by_overlap, after.documents_checked], [[12, 44], 45]);
    assertEquals(after.documents_held_out, 4);
    assertEquals(after.overlaps.map((o) => [o.pmid, o.text]), [[12, PASSAGE], [44, PASSAGE]]);
    const later = [...clean, ...Array.from({ length: 15 }, (_, i) => i + 31)]
      .filter((pmid) => pmid !== 40 && pmid !== 44);
    assertEquals(await inShards(corpus, 46), later);

    Deno.removeSync(mirror, { recursive: true });
    putFile(mirror, "baseline", 1, records(1, 46), 27);
    await run();
    assertEquals(await inShards(corpus, 46), later);
    const manifest = readManifest(corpus);
    assertEquals(SPLITS.reduce((n, s) => n + manifest.splits[s].documents, 0), later.length);

    // Without the report everything is back.
    Deno.removeSync(contaminationPath(corpus));
    await run();
    assertEquals((await inShards(corpus, 46)).length, 45);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("decontaminate: a version that a deletion brings back is held out as the others are", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const mirror = join(folder, "mirror"), corpus = join(folder, "corpus");
    const run = (more: Partial<RunOptions> = {}) =>
      runPipeline({ corpus, source: mirror, workers: 1, ...more });
    // PMID 12 has the passage in its first version; the second, in force, is a title alone.
    const bare = article(12, { version: 2, abstract: "" });
    putFile(mirror, "baseline", 1, records(1, 31, bare));
    await run({ tokenizer: join(ROOT, "fixtures/tokenizer.json"), sequenceLength: 64 });
    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(questions, JSON.stringify([{ question: `Does ${PASSAGE}?` }]));
    await decontaminateCorpus({ corpus, against: [questions] });
    assertEquals((await inShards(corpus, 30)).includes(12), false);

    putFile(mirror, "updatefiles", 2, pubmedSet(deletion([12, 2])));
    await run();
    assertEquals((await inShards(corpus, 30)).includes(12), false);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
