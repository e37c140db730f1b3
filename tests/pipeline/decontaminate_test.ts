import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { contaminationPath, readContamination } from "../../pipeline/overlap/contamination.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { readManifest, SPLITS } from "../../pipeline/shards/mod.ts";
import { whereIs } from "../../pipeline/shards/provenance.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
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
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
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

    // Without the report, or with another, nothing is built: what is held out is not known then.
    const path = contaminationPath(corpus);
    const text = Deno.readTextFileSync(path);
    const verify = async () => (await verifyCorpus(corpus)).problems;
    assertEquals(await verify(), []);
    Deno.removeSync(path);
    await assertRejects(() => run(), UserError, "contamination.json is missing");
    assertEquals(await verify(), [`${path} is missing`]);
    await assertRejects(() => decontaminateCorpus({ corpus, against: [questions] }), UserError);
    Deno.writeTextFileSync(path, text.replace("12", "13"));
    await assertRejects(() => run(), UserError, "contamination.json is not what was written");
    assertEquals(await verify(), [`${path} is not what was written`]);
    Deno.writeTextFileSync(path, text);
    assertEquals((await run()).up_to_date, true);

    // A second report adds to the first; --anew forgets it.
    const more = join(folder, "more.json");
    Deno.writeTextFileSync(more, JSON.stringify({ "20": { question: "Is it that?" } }));
    const added = (await decontaminateCorpus({ corpus, against: [more, questions] })).report;
    assertEquals(added.held_out_by_pmid, [7, 20, 40]);
    assertEquals(added.held_out_by_overlap, [12, 44]);
    assertEquals(added.against.map((a) => a.file), ["questions.json", "more.json"]);
    assertEquals(added.documents_held_out, 5);
    assertEquals(await inShards(corpus, 46), later.filter((pmid) => pmid !== 20));
    await assertRejects(
      () => decontaminateCorpus({ corpus, against: [more], ngramWords: 8 }),
      UserError,
      "runs of 13 words, this is 8",
    );
    await assertRejects(
      () => decontaminateCorpus({ corpus, against: [more], keepOverlaps: true }),
      UserError,
      "without --keep-overlaps",
    );
    Deno.removeSync(path);
    const anew = (await decontaminateCorpus({ corpus, against: [more], anew: true })).report;
    assertEquals([anew.held_out_by_pmid, anew.held_out_by_overlap], [[20], []]);
    assertEquals((await inShards(corpus, 46)).length, 44);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("decontaminate: tokens that have to be made again follow the corpus's own policies", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const titles = [1, 2, 3].map((pmid) => article(pmid, { abstract: "", title: "A title alone" }));
    const whole = Array.from({ length: 20 }, (_, i) => article(i + 4));
    putFile(mirror, "baseline", 1, pubmedSet(...titles, ...whole));
    await runPipeline({
      corpus,
      source: mirror,
      workers: 1,
      tokenizer: join(ROOT, "fixtures/tokenizer.json"),
      sequenceLength: 64,
      policies: { noAbstract: "keep", minCharacters: 5 },
    });
    assertEquals((await inShards(corpus, 23)).length, 23);
    Deno.removeSync(join(corpus, "tokens/pubmed26n0001.tokens"));
    const questions = join(folder, "questions.json");
    Deno.writeTextFileSync(questions, JSON.stringify({ "9": { question: "Is it so?" } }));
    await decontaminateCorpus({ corpus, against: [questions] });
    const found = await inShards(corpus, 23);
    assertEquals(found, Array.from({ length: 23 }, (_, i) => i + 1).filter((pmid) => pmid !== 9));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("decontaminate: a version that a deletion brings back is held out as the others are", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
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
