/** Refresh and training side by side: a run keeps the shards it began with, or follows the new ones. */
import { hashFile } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { Random } from "../../model/mamba/random.ts";
import { listCheckpoints } from "../../model/training/checkpoint.ts";
import { followingCorpus, nextEpoch } from "../../model/training/follow.ts";
import { openCorpus } from "../../model/training/shard_corpus.ts";
import { readMetrics } from "../../model/training/metrics.ts";
import { readRun } from "../../model/training/run_file.ts";
import { sampleRow } from "../../pipeline/selection/sampler.ts";
import { buildShards, writeTokenFile } from "../../pipeline/shards/mod.ts";
import { keptSet, pinShards, pruneShards, readPins } from "../../pipeline/shards/kept.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { MPI_PROGRAMS, runRanks } from "../ranks.ts";
import { ROOT, runTask, taskWords } from "../shared.ts";

const TOKENIZER = join(ROOT, "fixtures", "tokenizer.json");

/** Runs a command that has to succeed; its words, without spaces in them, over one or more lines. */
async function done(line: string): Promise<{ stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await runTask(line.trim().split(/\s+/));
  assertEquals(code, 0, stderr);
  return { stdout, stderr };
}

/** What ends a run: Ctrl-C, or that a process above it is killed. */
type Stop = "interrupt" | "launcher killed" | "task killed";

/** Starts training, and stops it once so many steps are done. Returns what it said. */
async function stopAfter(
  steps: number,
  run: string,
  line: string,
  by: Stop = "interrupt",
): Promise<string> {
  const [name = "", ...words] = line.trim().split(/\s+/);
  const child = new Deno.Command(Deno.execPath(), {
    args: by === "task killed" ? ["task", name, ...words] : taskWords(name, ...words),
    cwd: ROOT,
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const ended = child.output(); // when all that has its stderr has ended, the program itself too
  for (;;) {
    const there = readMetricsSafely(run);
    if (there >= steps) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill(by === "interrupt" ? "SIGINT" : "SIGKILL");
  const { code, signal, stderr } = await ended;
  const said = new TextDecoder().decode(stderr);
  if (by === "interrupt") assertEquals(code, 130, said);
  else assertEquals(signal, "SIGKILL");
  if (by === "launcher killed") assertStringIncludes(said, "process that started this one was");
  assertStringIncludes(said, "Stopping after this step, and saving");
  return said;
}

function readMetricsSafely(run: string): number {
  try {
    return readMetrics(run).length;
  } catch {
    return 0; // it is being written
  }
}

async function copyFolder(from: string, to: string): Promise<void> {
  Deno.mkdirSync(join(to, ".."), { recursive: true });
  await new Deno.Command("cp", { args: ["-r", from, to] }).output();
}

const losses = (run: string) => readMetrics(run).map(({ step, loss }) => [step, loss]);

/** Shards of so many invented documents; with more of them it is what a refresh makes. */
async function makeCorpus(corpus: string, count: number): Promise<void> {
  const tokenizer = loadTokenizer(TOKENIZER);
  const words = "the trial of a new drug in patients with fever showed no effect".split(" ");
  const random = new Random(1, "documents");
  const documents = Array.from({ length: count }, (_, i) => ({
    pmid: i + 1,
    version: 1,
    ordinal: i,
    text: Array.from({ length: 30 }, () => words[random.integer(words.length)]).join(" "),
  }));
  const path = join(corpus, "tokens", "one.tokens");
  Deno.mkdirSync(join(corpus, "tokens"), { recursive: true });
  writeTokenFile(path, "one", documents, tokenizer, 0);
  await buildShards({
    corpus,
    tokenFiles: [{ source: "one", path }],
    live: { isLive: () => true },
    tokenizer,
    sequenceLength: 32,
    seed: 0,
    validation: 0.1,
    test: 0.1,
    sourceFiles: [{ name: "one", md5: String(count).padStart(32, "0") }],
  });
}

Deno.test("a run goes on with its shards after a refresh, and prune removes them when it is done", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    await done(
      `pipeline run --source ${join(ROOT, "fixtures/mirror")} --corpus ${corpus} --files 1-2
      --tokenizer ${TOKENIZER} --sequence-length 128 --validation 0.05 --workers 1`,
    );
    const train = (out: string) =>
      `train --corpus ${corpus} --init random:tiny --out ${out} --steps 30 --batch-size 2
        --validate-every 0`;
    const whole = join(folder, "whole");
    await done(train(whole));
    assertEquals(readPins(corpus), [], "a run that is done needs nothing");
    const stopped = join(folder, "stopped");
    await stopAfter(3, stopped, train(stopped));
    assertEquals(readPins(corpus).map(({ run }) => run), [stopped]);
    const before = readRun(stopped).corpus.manifest_sha256;

    await done(`pipeline refresh --corpus ${corpus} --files all --workers 1`);
    using now = openCorpus(corpus);
    assert(now.manifestSha256 !== before);
    const kept = keptSet(corpus, before);
    assert(kept !== undefined);
    const needed = await done(`pipeline prune --corpus ${corpus} --json`);
    assertStringIncludes(needed.stdout, `needed by ${stopped}`);

    const resumed = await done(`train --out ${stopped} --resume`);
    assertStringIncludes(resumed.stderr, "goes on with the shards that it began with");
    assertEquals(losses(stopped), losses(whole));
    await done(`pipeline verify --corpus ${corpus}`);

    const dry = await done(`pipeline prune --corpus ${corpus} --dry-run --json`);
    const { removed } = JSON.parse(dry.stdout.trimEnd().split("\n").at(-1) ?? "");
    assertEquals(removed.map((set: { folder: string }) => set.folder), [kept]);
    assert(removed[0].bytes > 1000);
    await done(`pipeline prune --corpus ${corpus}`);
    assertEquals(keptSet(corpus, before), undefined);
    const nothing = await done(`pipeline prune --corpus ${corpus}`);
    assertStringIncludes(nothing.stdout, "Nothing is kept");
    const later = await runTask(["train", "--out", stopped, "--resume", "--steps", "31"]);
    assertEquals(later.code, 1);
    assertStringIncludes(later.stderr, "its shards of then were not kept");
  }));

Deno.test("a run on a mix goes on with the shards of each of its corpora after both were refreshed", () =>
  withFolder(async (folder) => {
    const [a, b] = [join(folder, "a"), join(folder, "b")];
    await makeCorpus(a, 60);
    await makeCorpus(b, 50);
    // A set of a corpus of the mix has its pins in that corpus too.
    await copyFolder(b, join(a, "sets", "b"));
    Deno.writeTextFileSync(join(a, "sets", "b", "set.json"), "{}\n");
    const mix = `${a}=0.5,${b}=0.3,${join(a, "sets", "b")}=0.2`;
    const train = (out: string) =>
      `train --mix ${mix} --init random:tiny --out ${out} --steps 14 --batch-size 2
        --upsample a:tokens>=1:2 --validate-every 7`;
    const whole = join(folder, "whole");
    await done(train(whole));
    assertEquals([readPins(a), readPins(b)], [[], []]);
    const stopped = join(folder, "stopped");
    await stopAfter(3, stopped, train(stopped));
    const { shards_sha256: begun = [] } = readRun(stopped).corpus;
    assertEquals(begun.length, 3);
    assertEquals(readPins(a).map(({ manifests }) => manifests), [[begun[0], begun[2]]]);
    assertEquals(readPins(b).map(({ manifests }) => manifests), [[begun[1]]]);

    await makeCorpus(a, 90);
    await makeCorpus(b, 80);
    for (const corpus of [a, b]) {
      assertEquals(pruneShards(corpus).removed, []);
    }
    const follow = await runTask(["train", "--out", stopped, "--resume", "--follow"]);
    assertEquals(follow.code, 1);
    assertStringIncludes(follow.stderr, "Cannot follow the mix");
    const resumed = await done(`train --out ${stopped} --resume`);
    assertStringIncludes(resumed.stderr, "goes on with the shards that it began with");
    assertEquals(resumed.stderr.includes("--follow takes"), false);
    assertEquals(losses(stopped), losses(whole));
    const validations = (run: string) => readMetrics(run).map((m) => m.validation_loss);
    assertEquals(validations(stopped), validations(whole));
    for (const corpus of [a, b]) {
      assertEquals(readPins(corpus), []);
      pruneShards(corpus);
    }
    assertEquals([keptSet(a, begun[0] ?? ""), keptSet(b, begun[1] ?? "")], [undefined, undefined]);
  }));

Deno.test("--follow reads the new shards from the next epoch on, recorded, the same after a stop", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    await makeCorpus(corpus, 60);
    const rows = (() => {
      using opened = openCorpus(corpus);
      return opened.split("train").rows;
    })();
    // Some epochs of steps of a sixth of an epoch.
    const batch = Math.ceil(rows / 6);
    const out = join(folder, "run");
    await stopAfter(
      2,
      out,
      `train --corpus ${corpus} --init random:tiny --out ${out} --steps 40 --batch-size ${batch}
        --validate-every 0`,
    );
    const taken = readMetrics(out).length;
    await makeCorpus(corpus, 90);
    const early = await runTask(["train", "--out", out, "--follow"]);
    assertEquals([early.code, early.stderr.includes("--follow needs --resume")], [2, true]);
    const copy = join(folder, "copy");
    await copyFolder(out, copy);

    const going = await done(`train --out ${out} --resume --follow`);
    assertStringIncludes(going.stderr, "Following");
    const { followed = [], corpus: begun } = readRun(out);
    assertEquals(followed.length, 1);
    const [{ from_row: from = 0, epoch = 0, manifest_sha256: later = "" } = {}] = followed;
    assertEquals([from % rows, epoch], [0, from / rows]);
    assert(from >= taken * batch && from < taken * batch + rows);
    assert(later !== begun.manifest_sha256);
    using now = openCorpus(corpus);
    assertEquals(later, now.manifestSha256);

    // The same with a stop behind the beginning of the new shards' first epoch.
    const past = Math.ceil(from / batch) + 1;
    pinShards(corpus, copy, [begun.manifest_sha256]);
    await stopAfter(past, copy, `train --out ${copy} --resume --follow`);
    await done(`train --out ${copy} --resume`);
    assertEquals(losses(copy), losses(out));
  }));

const mpirun = MPI_PROGRAMS.find((one) => one.mpirun)?.mpirun;
Deno.test({
  name: "--follow on two ranks goes on as one process does, to the same bytes" +
    (mpirun ? "" : " (skipped: no MPI is installed)"),
  ignore: !mpirun,
  fn: () =>
    withFolder(async (folder) => {
      const corpus = join(folder, "corpus");
      await makeCorpus(corpus, 60);
      const rows = (() => {
        using opened = openCorpus(corpus);
        return opened.split("train").rows;
      })();
      const out = join(folder, "run");
      await stopAfter(
        2,
        out,
        `train --corpus ${corpus} --init random:tiny --out ${out} --steps 14
          --batch-size ${Math.ceil(rows / 12)} --accumulate 2 --lanes 2 --validate-every 0`,
      );
      await makeCorpus(corpus, 90);
      const copy = join(folder, "copy");
      await copyFolder(out, copy);
      await done(`train --out ${out} --resume --follow`);
      const follow = taskWords("train", "--out", copy, "--resume", "--follow");
      const { code, stderr } = await runRanks(mpirun ?? "", 2, follow);
      assertEquals(code, 0, stderr);
      assertEquals(stderr.match(/Following /g)?.length, 1, stderr);
      assertEquals(losses(copy), losses(out));
      const last = (run: string) => listCheckpoints(run).at(-1)?.path ?? "";
      for (const name of ["model.safetensors", "optimizer.safetensors"]) {
        assertEquals(hashFile(join(last(copy), name)), hashFile(join(last(out), name)));
      }
      const followed = (run: string) =>
        (readRun(run).followed ?? []).map(({ from_row, epoch, manifest_sha256 }) => [
          from_row,
          epoch,
          manifest_sha256,
        ]);
      assertEquals(followed(copy), followed(out));
      assertEquals([followed(out).length, followed(out)[0]?.[0]], [1, rows]);
      assertEquals(readPins(corpus), [], "each run that is done needs nothing");
    }),
});

Deno.test("followingCorpus() reads each place once, and counts epochs on", () =>
  withFolder(async (folder) => {
    const [old, fresh] = [join(folder, "old"), join(folder, "fresh")];
    await makeCorpus(old, 40);
    await makeCorpus(fresh, 70);
    using first = openCorpus(old);
    using second = openCorpus(fresh);
    const source = first.split("train");
    const next = second.split("train");
    const begun = { corpus: first, from: 0, epoch: 0 };
    assertEquals(nextEpoch(begun, 0), { from: 0, epoch: 0 });
    const start = nextEpoch(begun, source.rows + 1);
    assertEquals(start, { from: 2 * source.rows, epoch: 2 });
    const both = followingCorpus([begun, { corpus: second, ...start }]).split("train");
    const draw = (place: number) => both.draw?.(5, place);
    assertEquals(draw(start.from - 1), source.row(sampleRow(source.rows, 5, start.from - 1)));
    const seen = Array.from({ length: next.rows }, (_, i) => String(draw(start.from + i)));
    const all = Array.from({ length: next.rows }, (_, i) => String(next.row(i)));
    assertEquals(seen.toSorted(), all.toSorted());
    assertEquals(draw(start.from), next.row(sampleRow(next.rows, 5, 2 * next.rows)));
  }));

Deno.test({
  name: "training saves and stops where the launcher is killed, or the task that started it",
  ignore: Deno.build.os === "windows", // a parent's number stays there when it ends
  fn: () =>
    withFolder(async (folder) => {
      const corpus = join(folder, "corpus");
      await makeCorpus(corpus, 40);
      for (const by of ["launcher killed", "task killed"] as const) {
        const out = join(folder, by.slice(0, 4));
        const line =
          `train --corpus ${corpus} --init random:tiny --out ${out} --steps 100000 --batch-size 2
          --validate-every 0`;
        await stopAfter(1, out, line, by);
        const [checkpoint] = listCheckpoints(out);
        assertEquals(checkpoint?.step, readMetrics(out).at(-1)?.step, by);
      }
    }),
});
