/** A corpus made in parts is byte for byte the one that a single run makes. @module */
import { DatabaseSync } from "node:sqlite";
import { UsageError, UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { CorpusBusy } from "../../pipeline/corpus.ts";
import { corpusPaths, partsPath, textsPath } from "../../pipeline/corpus_paths.ts";
import { finishParts } from "../../pipeline/parts/finish.ts";
import { enterParts, partPaths } from "../../pipeline/parts/folder.ts";
import { type PartJob, readJob } from "../../pipeline/parts/job.ts";
import { partOf } from "../../pipeline/parts/part.ts";
import { runPart } from "../../pipeline/parts/run_part.ts";
import { finishTextParts, runTextPart } from "../../pipeline/parts/texts.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { readSourceList } from "../../pipeline/source_list.ts";
import { buildTextCorpus } from "../../pipeline/texts/corpus.ts";
import { trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { faults, random } from "./faults.ts";
import { corpusWords, FIXTURES, killUntilDone, startPipeline, TOKENIZER } from "./killed.ts";
import {
  article,
  deletion,
  digestOf,
  documentsOf,
  pubmedSet,
  putFile,
  withFolder,
  withServer,
} from "./support.ts";

const options = (corpus: string, more: Partial<RunOptions> = {}): RunOptions => ({
  corpus,
  source: FIXTURES,
  tokenizer: TOKENIZER,
  sequenceLength: 128,
  validation: 0.05,
  test: 0.05,
  workers: 2,
  ...more,
});

/** Everything in a catalogue that does not tell when and how it was made. */
function catalogueOf(corpus: string): Record<string, unknown[]> {
  const database = new DatabaseSync(corpusPaths.catalogue(corpus), { readOnly: true });
  try {
    const all = (sql: string) => database.prepare(sql).all();
    return {
      meta: all("SELECT * FROM meta ORDER BY key"),
      files: all("SELECT * FROM files ORDER BY number"),
      citations: all("SELECT * FROM citations ORDER BY pmid, version"),
      deletions: all("SELECT * FROM deletions ORDER BY file, ordinal"),
    };
  } finally {
    database.close();
  }
}

async function assertSame(parts: string, whole: string): Promise<void> {
  assertEquals(digestOf(parts), digestOf(whole));
  assertEquals(catalogueOf(parts), catalogueOf(whole));
  assertEquals(await documentsOf(parts), await documentsOf(whole));
  assertEquals(readSourceList(parts), readSourceList(whole));
  assertEquals((await verifyCorpus(parts)).problems, []);
  assert(!exists(partsPath(parts)), "the parts were left behind");
}

async function runParts(parts: number, given: RunOptions): Promise<void> {
  // In no particular order: nothing may depend on it.
  for (let part = parts; part >= 1; part--) await runPart(given, { part, parts });
}

Deno.test("two, three and seven parts of five files make the corpus of a single run", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    await runPipeline(options(whole));
    for (const parts of [2, 3, 7]) {
      const corpus = join(folder, `parts${parts}`);
      await runParts(parts, options(corpus));
      assert(!exists(corpusPaths.catalogue(corpus)), "a part made a catalogue");
      const summary = await finishParts({ corpus, workers: 2 });
      assertEquals(summary.files_added, 5);
      await assertSame(corpus, whole);
    }
  }));

Deno.test("a refresh in parts makes the corpus of a single refresh", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    for (const one of [whole, corpus]) await runPipeline(options(one, { files: "1-3" }));
    const refresh = (at: string): RunOptions => ({ corpus: at, workers: 2 });
    await runPipeline(refresh(whole));
    // Without --source, --tokenizer and settings: the list of source files has them.
    const first = await runPart(refresh(corpus), { part: 1, parts: 2 });
    const second = await runPart(refresh(corpus), { part: 2, parts: 2 });
    assertEquals(first.files + second.files, 2);
    await finishParts({ corpus, workers: 2 });
    await assertSame(corpus, whole);
    // Nothing is new: the parts find nothing to do, and merging them changes nothing.
    const before = digestOf(corpus);
    await runParts(2, refresh(corpus));
    assert((await finishParts({ corpus, workers: 2 })).up_to_date);
    assertEquals(digestOf(corpus), before);
  }));

Deno.test("a refresh in parts keeps to the files that a run chose, as a single refresh does", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    const chosen = { files: "1-2,4" };
    await runPipeline(options(whole, chosen));
    await runParts(2, options(corpus, chosen));
    await finishParts({ corpus, workers: 2 });
    await assertSame(corpus, whole);
    const refresh = async (given: Partial<RunOptions>) => {
      await runPipeline({ corpus: whole, workers: 2, command: "refresh", ...given });
      await runParts(2, { corpus, workers: 2, command: "refresh", ...given });
      const { files } = await finishParts({ corpus, workers: 2 });
      await assertSame(corpus, whole);
      return files;
    };
    assertEquals(await refresh({}), 3);
    assertEquals(await refresh({ files: "all" }), 5);
    assertEquals(await refresh({}), 5);
  }));

Deno.test("files issued again, deleted versions and a new year's series come out as of a single run", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    putFile(mirror, "baseline", 1, pubmedSet(article(1), article(2), article(3)));
    putFile(mirror, "baseline", 2, pubmedSet(article(4), article(2, { version: 2 })));
    putFile(mirror, "updatefiles", 3, pubmedSet(article(5), deletion([1, 1])));
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    const given = (at: string) => options(at, { source: mirror, validation: 0, test: 0 });
    for (const one of [whole, corpus]) await runPipeline(given(one));
    const refreshBoth = async () => {
      await runPipeline({ corpus: whole, workers: 2 });
      await runParts(2, { corpus, workers: 2 });
      await finishParts({ corpus, workers: 2 });
      await assertSame(corpus, whole);
    };
    putFile(mirror, "updatefiles", 3, pubmedSet(article(6), deletion([2, 1])));
    putFile(mirror, "updatefiles", 4, pubmedSet(article(3, { title: "A later title." })));
    await refreshBoth();
    Deno.removeSync(mirror, { recursive: true });
    putFile(mirror, "baseline", 1, pubmedSet(article(7), article(8)), 27);
    putFile(mirror, "baseline", 2, pubmedSet(article(9)), 27);
    await refreshBoth();
    assertEquals((await documentsOf(corpus)).map(({ pmid }) => pmid), [7, 8, 9]);
  }));

Deno.test("parts take from a server as a single run does, and keep the downloads where told", () =>
  withFolder((folder) =>
    withServer(FIXTURES, async (url) => {
      const whole = join(folder, "whole");
      const corpus = join(folder, "corpus");
      const given = (at: string) => options(at, { source: url, keepRaw: true });
      await runPipeline(given(whole));
      await runParts(2, given(corpus));
      await finishParts({ corpus, workers: 2 });
      await assertSame(corpus, whole);
      const names = (at: string) => [...Deno.readDirSync(corpusPaths.raw(at))].map((e) => e.name);
      assertEquals(names(corpus).sort(), names(whole).sort());
    })
  ));

Deno.test("documents without a tokenizer are merged, and tokenized later", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    const { tokenizer: _, ...untokenized } = options(corpus);
    await runPipeline(options(whole));
    await runParts(2, untokenized);
    assertEquals((await finishParts({ corpus, workers: 2 })).tokenized, false);
    await runPipeline(options(corpus));
    assertEquals(digestOf(corpus), digestOf(whole));
  }));

Deno.test("a missing part is named, and a finish that failed leaves all as it was", () =>
  withFolder(async (corpus) => {
    await runPart(options(corpus), { part: 2, parts: 3 });
    const finish = () => finishParts({ corpus, workers: 1 });
    await assertRejects(finish, UserError, "parts 1/3, 3/3 of it are not done");
    await runPart(options(corpus), { part: 3, parts: 3 });
    await assertRejects(finish, UserError, "part 1/3 of it is not done");
    assert(!exists(corpusPaths.catalogue(corpus)), "a catalogue was left behind");
    await runPart(options(corpus), { part: 1, parts: 3 });
    assertEquals((await finish()).files, 5);
    await assertRejects(finish, UserError, "no parts are there");
  }));

Deno.test("parts of another number, tokenizer, setting or program are refused by name", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    await runPart(options(corpus), { part: 1, parts: 2 });
    const refused = (given: Partial<RunOptions>, parts: number, message: string) =>
      assertRejects(
        () => runPart(options(corpus, given), { part: 2, parts }),
        UserError,
        message,
      );
    await refused({}, 3, "the number of parts is 2 in what lies there and 3 here");
    await refused({ seed: 7 }, 2, "--seed is none in what lies there and 7 here");
    await refused({ policies: { minCharacters: 5 } }, 2, "--min-characters is 100 in");
    await refused({ files: "1-2" }, 2, "--files is none in what lies there and 1-2 here");
    const other = join(folder, "other.json");
    const texts = ["another tokenizer of quite other words and numbers"];
    Deno.writeTextFileSync(other, JSON.stringify(await trainTokenizer(texts, 280)));
    await refused({ tokenizer: other }, 2, "the tokenizer's SHA-256 is");
    // A part that an earlier version of the program made, in a folder that another continues.
    const change = (path: string) => {
      const text = Deno.readTextFileSync(path);
      Deno.writeTextFileSync(path, text.replaceAll("pubmamba ", "pubmamba 0.0.1, before "));
    };
    await runPart(options(corpus), { part: 2, parts: 2 });
    change(partPaths.report(corpus, 2, 2));
    await assertRejects(
      () => finishParts({ corpus, workers: 1 }),
      UserError,
      "the program's version is pubmamba 0.0.1, before",
    );
    Deno.removeSync(partPaths.report(corpus, 2, 2));
    await runPart(options(corpus), { part: 2, parts: 2 });
    assertEquals((await finishParts({ corpus, workers: 1 })).files, 5);
  }));

Deno.test("a part with a source or a selection that cannot be begins no job that the others have to join", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const wrong: [Partial<RunOptions>, string][] = [
      [{ files: "none" }, '"none" is no file number'],
      [{ files: "900-901" }, "none of which --files names"],
      [{ source: join(folder, "nowhere") }, "nowhere"],
    ];
    for (const [given, message] of wrong) {
      const part = () => runPart(options(corpus, given), { part: 1, parts: 2 });
      await assertRejects(part, Error, message);
      assert(!exists(partPaths.job(corpus)), "a job was begun");
    }
    await runParts(2, options(corpus));
    assertEquals((await finishParts({ corpus, workers: 1 })).files, 5);
  }));

Deno.test("a report of another number of parts, and a job of another version, are refused by name", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const other = join(folder, "other");
    await runParts(2, options(corpus));
    await runPart(options(other), { part: 3, parts: 3 });
    const stray = partPaths.report(corpus, 3, 3);
    Deno.copyFileSync(partPaths.report(other, 3, 3), stray);
    const finish = () => finishParts({ corpus, workers: 1 });
    await assertRejects(finish, UserError, "it holds parts of 3 and parts of 2; remove");
    assert(!exists(corpusPaths.catalogue(corpus)), "a catalogue was left behind");
    Deno.removeSync(stray);
    const job = partPaths.job(corpus);
    const written = Deno.readTextFileSync(job);
    Deno.writeTextFileSync(job, written.replace("pubmamba ", "pubmamba 0.0.1, before "));
    await assertRejects(
      () => runPart(options(corpus), { part: 1, parts: 2 }),
      UserError,
      "the program's version is pubmamba 0.0.1, before",
    );
    await assertRejects(
      finish,
      UserError,
      "does not fit the other parts: the program's version is",
    );
    Deno.writeTextFileSync(job, written.slice(0, 40));
    await assertRejects(finish, UserError, job);
    Deno.writeTextFileSync(job, written);
    assertEquals((await finish()).files, 5);
  }));

Deno.test("of two finishes at once one merges, the other says why it does not", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    await runPipeline(options(whole));
    await runParts(2, options(corpus));
    const both = await Promise.all([1, 2].map(async () => {
      const { code, stderr } = await startPipeline([
        "finish",
        "--corpus",
        corpus,
        "--workers",
        "1",
      ]).output();
      return { code, said: new TextDecoder().decode(stderr) };
    }));
    const failed = both.filter(({ code }) => code !== 0);
    assertEquals(failed.length, 1, JSON.stringify(both));
    // The other is at work, or was done before this one looked.
    assert(
      /another process is at work|no parts are there/.test(failed[0]?.said ?? ""),
      failed[0]?.said,
    );
    await assertSame(corpus, whole);
  }));

Deno.test("a damaged or lost file of a part is named, and its part makes it again", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    await runPipeline(options(whole));
    await runParts(2, options(corpus));
    const finish = () => finishParts({ corpus, workers: 1 });
    const name = "pubmed26n0003";
    const changes = partPaths.changes(corpus, name);
    const bytes = Deno.readFileSync(changes);
    bytes.reverse();
    Deno.writeFileSync(changes, bytes);
    await assertRejects(finish, UserError, "is not what was written; remove the file");
    assertEquals((await runPart(options(corpus), { part: 1, parts: 2 })).files_added, 1);
    Deno.truncateSync(corpusPaths.documents(partsPath(corpus), name), 100);
    await assertRejects(finish, UserError, "run part 1/2 again");
    assertEquals((await runPart(options(corpus), { part: 1, parts: 2 })).files_added, 1);
    await finish();
    await assertSame(corpus, whole);
  }));

Deno.test("finishing waits for no part and no other command: both are told plainly", () =>
  withFolder(async (corpus) => {
    await runParts(2, options(corpus));
    const finish = () => finishParts({ corpus, workers: 1 });
    {
      using _part = enterParts(corpus, "1/2");
      await assertRejects(finish, UserError, "a part is still at work");
    }
    const lock = Deno.openSync(corpusPaths.lock(corpus), { write: true, create: true });
    try {
      lock.lockSync(true);
      await assertRejects(finish, CorpusBusy, "another process is at work");
    } finally {
      lock.close();
    }
    await finish();
  }));

Deno.test("a part that saw fewer files than another is to look again", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const given = options(corpus, { source: mirror, validation: 0, test: 0 });
    putFile(mirror, "baseline", 1, pubmedSet(article(1)));
    await runPart(given, { part: 2, parts: 2 });
    putFile(mirror, "updatefiles", 2, pubmedSet(article(2)));
    await runPart(given, { part: 1, parts: 2 });
    const finish = () => finishParts({ corpus, workers: 1 });
    await assertRejects(finish, UserError, "file 2 came to the source after part 2/2 had looked");
    await runPart(given, { part: 2, parts: 2 });
    assertEquals((await finish()).files, 2);
  }));

Deno.test("the part of a process is what it is told, or what the cluster says", () => {
  const of = (given: string | undefined, variables: Record<string, string> = {}) =>
    partOf(given, (name) => variables[name]);
  assertEquals(of(undefined), undefined);
  assertEquals(of("2/8"), { part: 2, parts: 8 });
  assertEquals(of("0/8"), { part: 8, parts: 8 });
  for (const bad of ["", "9/8", "1/0", "1", "a/b", "-1/2", "1.5/2"]) {
    assertThrows(() => of(bad), UsageError, "two numbers such as 2/8");
  }
  const slurm = (id: string, count: string, min: string, step = "1") => ({
    SLURM_ARRAY_TASK_ID: id,
    SLURM_ARRAY_TASK_COUNT: count,
    SLURM_ARRAY_TASK_MIN: min,
    SLURM_ARRAY_TASK_STEP: step,
  });
  assertEquals(of(undefined, slurm("1", "4", "1")), { part: 1, parts: 4 });
  assertEquals(of(undefined, slurm("0", "4", "0")), { part: 1, parts: 4 });
  assertEquals(of(undefined, slurm("7", "4", "1", "2")), { part: 4, parts: 4 });
  assertThrows(() => of(undefined, slurm("9", "3", "1")), UsageError, "not one of a range");
  assertEquals(of("off", slurm("1", "4", "1")), undefined);
  assertEquals(of("3/4", slurm("1", "2", "1")), { part: 3, parts: 4 });
  const indexed = { JOB_COMPLETION_INDEX: "3", PUBMAMBA_PARTS: "4" };
  assertEquals(of(undefined, indexed), { part: 4, parts: 4 });
  assertThrows(() => of(undefined, { JOB_COMPLETION_INDEX: "3" }), UsageError, "PUBMAMBA_PARTS");
});

/** A copy of a folder with all that is in it. */
function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(join(from, name), join(to, name));
    else Deno.copyFileSync(join(from, name), join(to, name));
  }
}

const words = (corpus: string) => [
  "--source",
  FIXTURES,
  ...corpusWords(corpus),
  "--workers",
  "1",
];

Deno.test("parts that are killed, repeated and done twice at once end in the same bytes", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    await runPipeline(options(whole));
    const next = random(3);
    for (let round = 0, kills = 0; kills < faults(2, 6, 60); round++) {
      const corpus = join(folder, `parts${round}`);
      const part = (name: string) => ["run", ...words(corpus), "--part", name];
      // The same part twice, beside the other one.
      const ended = await Promise.allSettled(
        ["1/2", "0/2", "2/2"].map((name) => killUntilDone(part(name), next, 1500)),
      );
      for (const one of ended) {
        if (one.status === "rejected") throw one.reason; // once no other writes any more
        kills += one.value;
      }
      kills += await killUntilDone(["finish", "--corpus", corpus, "--workers", "1"], next, 1500);
      await assertSame(corpus, whole);
      assert(!exists(join(corpus, "parts-merged")), "merged parts were left behind");
      Deno.removeSync(corpus, { recursive: true });
    }
  }));

Deno.test("a refresh in parts that are killed ends in the bytes of a single refresh", () =>
  withFolder(async (folder) => {
    const whole = join(folder, "whole");
    await runPipeline(options(whole, { files: "1-3" }));
    const first = join(folder, "first");
    copyFolder(whole, first);
    await runPipeline({ corpus: whole, workers: 2 });
    const next = random(5);
    for (let round = 0, kills = 0; kills < faults(1, 3, 30); round++) {
      const corpus = join(folder, `parts${round}`);
      copyFolder(first, corpus);
      const words = ["--corpus", corpus, "--workers", "1"];
      const ended = await Promise.allSettled(
        ["1/2", "2/2"].map((name) =>
          killUntilDone(["refresh", ...words, "--files", "all", "--part", name], next, 1200)
        ),
      );
      for (const one of ended) {
        if (one.status === "rejected") throw one.reason;
        kills += one.value;
      }
      kills += await killUntilDone(["finish", ...words], next, 1200);
      await assertSame(corpus, whole);
      Deno.removeSync(corpus, { recursive: true });
    }
  }));

Deno.test("the command line takes its part from Slurm's variables and says so", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    for (const id of ["4", "5"]) {
      const process = startPipeline(["run", ...words(corpus), "--json"], {
        env: {
          SLURM_ARRAY_TASK_ID: id,
          SLURM_ARRAY_TASK_COUNT: "2",
          SLURM_ARRAY_TASK_MIN: "4",
        },
        stdout: "piped",
      });
      const { code, stdout, stderr } = await process.output();
      const log = new TextDecoder().decode(stderr);
      assertEquals(code, 0, log);
      assert(log.includes(`This is part ${Number(id) - 3}/2`), log);
      const summary = JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "");
      assertEquals([summary.part, summary.parts], [Number(id) - 3, 2]);
    }
    const { code } = await startPipeline(["finish", "--corpus", corpus, "--workers", "1"]).output();
    assertEquals(code, 0);
    await runPipeline(options(join(folder, "whole")));
    await assertSame(corpus, join(folder, "whole"));
  }));

/** A folder of texts: JSON lines and plain files, one of them empty. */
function putTexts(source: string): void {
  Deno.mkdirSync(source, { recursive: true });
  const line = (i: number) =>
    JSON.stringify({
      text: i % 7 === 0 ? "" : `Text ${i} tells of ${"many ".repeat(i % 9)}things.`,
    });
  for (const [at, count] of [40, 25, 0, 33].entries()) {
    const lines = Array.from({ length: count }, (_, i) => line(i + 100 * at) + "\n");
    Deno.writeTextFileSync(join(source, `a${at}.jsonl`), lines.join(""));
  }
  Deno.writeTextFileSync(join(source, "b.txt"), "One text that is all of its file.");
}

Deno.test("a corpus of texts in parts has the bytes of one made at once, refreshed too", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    putTexts(source);
    const whole = join(folder, "whole");
    const corpus = join(folder, "corpus");
    const { tokenizer, ...bare } = options(corpus);
    let more: { tokenizer?: string } = {};
    const given = (at: string) => ({ ...bare, ...more, corpus: at, source, sequenceLength: 32 });
    const both = async (parts: number) => {
      await buildTextCorpus(given(whole));
      for (let part = parts; part >= 1; part--) await runTextPart(given(corpus), { part, parts });
      await finishTextParts({ corpus, workers: 1 });
      assertEquals(digestOf(corpus), digestOf(whole));
      assertEquals(
        Deno.readTextFileSync(textsPath(corpus)),
        Deno.readTextFileSync(textsPath(whole)),
      );
      assert(!exists(partsPath(corpus)), "the parts were left behind");
    };
    await both(2); // documents alone
    more = { tokenizer };
    await both(2);
    Deno.writeTextFileSync(join(source, "a1.jsonl"), '{"text":"Another one."}\n');
    Deno.writeTextFileSync(join(source, "a00.jsonl"), '{"text":"A file that is new."}\n');
    Deno.removeSync(join(source, "b.txt"));
    await both(3);
  }));

Deno.test("parts of texts: what is missing or lost is named", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    putTexts(source);
    const corpus = join(folder, "corpus");
    const given = { ...options(corpus), source, sequenceLength: 32 };
    const finish = () => finishTextParts({ corpus, workers: 1 });
    await runTextPart(given, { part: 1, parts: 2 });
    await assertRejects(finish, UserError, "part 2/2 of it is not done");
    await assertRejects(
      () => runTextPart({ ...given, sequenceLength: 64 }, { part: 2, parts: 2 }),
      UserError,
      "--sequence-length is 32 in what lies there and 64 here",
    );
    await runTextPart(given, { part: 2, parts: 2 });
    const job: PartJob | undefined = readJob(corpus);
    assertEquals(job?.names, ["a0.jsonl", "a1.jsonl", "a2.jsonl", "a3.jsonl", "b.txt"]);
    Deno.removeSync(join(partsPath(corpus), "tokens", "a1.jsonl.tokens"));
    await assertRejects(finish, UserError, "run part 2/2 again");
    await runTextPart(given, { part: 2, parts: 2 });
    await finish();
  }));

Deno.test("parts of texts that are killed and done twice at once end in the same bytes", () =>
  withFolder(async (folder) => {
    const source = join(folder, "texts");
    putTexts(source);
    const whole = join(folder, "whole");
    await buildTextCorpus({ ...options(whole), source });
    const next = random(9);
    for (let round = 0, kills = 0; kills < faults(1, 3, 30); round++) {
      const corpus = join(folder, `parts${round}`);
      const part = (name: string) => [
        "run",
        "--source",
        source,
        ...corpusWords(corpus),
        "--part",
        name,
      ];
      const ended = await Promise.allSettled(
        ["1/2", "0/2", "2/2"].map((name) => killUntilDone(part(name), next, 1000)),
      );
      for (const one of ended) {
        if (one.status === "rejected") throw one.reason;
        kills += one.value;
      }
      kills += await killUntilDone(["finish", "--corpus", corpus], next, 1000);
      assertEquals(digestOf(corpus), digestOf(whole));
      assertEquals(
        Deno.readTextFileSync(textsPath(corpus)),
        Deno.readTextFileSync(textsPath(whole)),
      );
      assert(!exists(partsPath(corpus)), "the parts were left behind");
      Deno.removeSync(corpus, { recursive: true });
    }
  }));
