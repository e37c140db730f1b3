/** Training over ranks that a real mpirun starts, on a CPU driver. */
import { join } from "../../core/std.ts";
import { exists, hashFile } from "../../core/files.ts";
import { checkpointPath, listCheckpoints } from "../../model/training/checkpoint.ts";
import { readMetrics } from "../../model/training/metrics.ts";
import { isDone, readRun } from "../../model/training/run_file.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { faults } from "../pipeline/faults.ts";
import { standard } from "../pipeline/token_corpus.ts";
import { MPI_PROGRAMS, rankProcesses, runRanks, startRanks } from "../ranks.ts";
import { ROOT, runTask, taskWords } from "../shared.ts";

const STEPS = 6;
const LANES = ["--set", "batch.lanes=4"];
/** Kills of a random rank; more of them in `deno task test:faults`. */
const KILLS = faults(1, 2, 20);
/** Whether what the library has little part in is tried with each of them. */
const EACH = faults(0, 0, 1) === 1;

/** The words of a run of a tiny model. */
const trainWords = (corpus: string, out: string, ...more: string[]): [string, ...string[]] => [
  "train",
  ...`--corpus ${corpus} --init random:tiny --out ${out} --autotune off`.split(" "),
  ...`--steps ${STEPS} --batch-size 1 --accumulate 4 --checkpoint-every 2`.split(" "),
  ..."--validate-every 3 --set validation.rows=5".split(" "),
  ...more,
];

const lastLine = (text: string) => text.trimEnd().split("\n").at(-1);

/** The digests of what training determines. */
function digests(run: string, step = STEPS): string[] {
  const names = ["model.safetensors", "optimizer.safetensors", "average.safetensors"];
  return names.map((name) => join(checkpointPath(run, step), name)).filter(exists).map((path) =>
    hashFile(path)
  );
}

/** Metrics without the clock's. */
const timeless = (run: string) => readMetrics(run).map(({ tokens_per_second: _, ...rest }) => rest);

/** Calls `use` with a corpus and a folder for runs. */
async function withCorpus(use: (corpus: string, at: (name: string) => string) => Promise<void>) {
  using built = standard();
  await built.build();
  await withFolder((folder) => use(built.folder, (name) => join(folder, name)));
}

for (const { name, mpirun } of MPI_PROGRAMS) {
  const skipped = mpirun ? "" : " (skipped: not installed)";
  const test = (what: string, fn: (mpirun: string) => Promise<void>, onAll = EACH) =>
    Deno.test({
      name: `${name}: ${what}${skipped}`,
      // What the library has little or no part in is tried with one of them.
      ignore: !mpirun || (!onAll && name !== "Open MPI"),
      fn: () => fn(mpirun ?? ""),
    });

  test(
    "a run with 4 lanes has the same bytes on 1, 2 and 4 ranks",
    (mpirun) =>
      withCorpus(async (corpus, at) => {
        const average = [
          "--set",
          "average.decay=0.9",
          "--set",
          "objective.dropout=0.1",
          "--set",
          "objective.z_loss=1e-3",
        ];
        const words = (out: string) => trainWords(corpus, at(out), ...LANES, ...average);
        const alone = await runTask(words("1"));
        assertEquals(alone.code, 0, alone.stderr);
        for (const size of [2, 4]) {
          const out = String(size);
          const { code, stdout, stderr } = await runRanks(mpirun, size, taskWords(...words(out)));
          assertEquals(code, 0, stderr);
          assertEquals(digests(at(out)), digests(at("1")));
          // One that was written while the run went on.
          assertEquals(digests(at(out), STEPS - 2), digests(at("1"), STEPS - 2));
          assertEquals(timeless(at(out)), timeless(at("1")));
          assert(isDone(at(out)));
          assertEquals(readRun(at(out)).ranks, size);
          // One voice, and every rank's times.
          assertEquals(stderr.match(/Training [\d,]+ parameters/g)?.length, 1, stderr);
          assertStringIncludes(stderr, name === "MPICH" ? "MPICH" : "Open MPI");
          const table = stdout.slice(stdout.indexOf("exchanging"));
          assertEquals(table.match(/^ +\d {2}/gm)?.length, size, stdout);
          const report = Deno.readTextFileSync(join(at(out), "report.html"));
          assertStringIncludes(report, "exchanging, s");
        }
        assertEquals(digests(at("1")).length, 3);
        assertEquals(digests(at("1"), STEPS - 2).length, 3);
      }),
    true,
  );

  test(
    "a run that is stopped on 4 ranks goes on as one process and on 2 ranks, to the same bytes",
    (mpirun) =>
      withCorpus(async (corpus, at) => {
        const whole = await runTask(trainWords(corpus, at("whole"), ...LANES));
        assertEquals(whole.code, 0, whole.stderr);
        const first = await runRanks(
          mpirun,
          4,
          taskWords(...trainWords(corpus, at("run"), ...LANES, "--set", "hours=1e-9")),
        );
        assertEquals(first.code, 0, first.stderr);
        assert(!isDone(at("run")), "it ended before its time");
        // One step at a time would be slow: a signal to one rank stops all, somewhere in the middle.
        const going = startRanks(mpirun, 4, [
          ...taskWords("train", "--out", at("run"), "--resume", "--set", "hours=0"),
        ]);
        const stopped = (async () => {
          while (!listCheckpoints(at("run")).some(({ step }) => step >= 2)) {
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          const rank = rankProcesses(at("run")).get(2);
          if (rank !== undefined) Deno.kill(rank, "SIGTERM");
        })();
        const { code, stderr } = await going.output();
        await stopped;
        const told = new TextDecoder().decode(stderr);
        // It may have come to its end before the signal.
        if (!isDone(at("run"))) {
          assertEquals(code, 130, told);
          assertEquals(told.match(/Stopped after step/g)?.length, 1, told);
        }
        await new Deno.Command("cp", { args: ["-r", at("run"), at("copy")] }).output();
        const last = await runTask(["train", "--out", at("run"), "--resume"]);
        assertEquals(last.code, 0, last.stderr);
        const pair = await runRanks(mpirun, 2, taskWords("train", "--out", at("copy"), "--resume"));
        assertEquals(pair.code, 0, pair.stderr);
        assertEquals(digests(at("copy")), digests(at("whole")));
        assertEquals(timeless(at("copy")), timeless(at("whole")));
        assertEquals(digests(at("run")), digests(at("whole")));
        assertEquals(timeless(at("run")), timeless(at("whole")));
      }),
    false,
  );

  test(
    "without lanes, a step's rows are shared, and equal ranks have equal bytes",
    (mpirun) =>
      withCorpus(async (corpus, at) => {
        const batch = ["--batch-size", "4", "--accumulate", "1"];
        for (const out of ["a", "b"]) {
          const words = trainWords(corpus, at(out), ...batch);
          const { code, stderr } = await runRanks(mpirun, 2, taskWords(...words));
          assertEquals(code, 0, stderr);
        }
        assertEquals(digests(at("a")), digests(at("b")));
        const alone = await runTask(trainWords(corpus, at("alone"), ...batch));
        assertEquals(alone.code, 0, alone.stderr);
        const losses = (out: string) => readMetrics(at(out)).map(({ loss }) => loss.toFixed(4));
        assertEquals(losses("a"), losses("alone"));
        // Adapters beside what that run has learned, with lanes: the same bytes again.
        const adapters = (out: string): [string, ...string[]] => {
          const [name, ...words] = trainWords(corpus, at(out), ...LANES);
          const base = checkpointPath(at("alone"), STEPS);
          const init = words.map((word) => word === "random:tiny" ? base : word);
          return [name, ...init, "--lora", "linear", "--lora-dropout", "0.1"];
        };
        const one = await runTask(adapters("lora-1"));
        assertEquals(one.code, 0, one.stderr);
        const two = await runRanks(mpirun, 2, taskWords(...adapters("lora-2")));
        assertEquals(two.code, 0, two.stderr);
        const adapterDigests = (out: string) =>
          ["adapter_model.safetensors", "optimizer.safetensors"].flatMap((name) =>
            [STEPS - 2, STEPS].map((step) => hashFile(join(checkpointPath(at(out), step), name)))
          );
        assertEquals(adapterDigests("lora-2"), adapterDigests("lora-1"));
        assertEquals(timeless(at("lora-2")), timeless(at("lora-1")));
      }),
    false,
  );

  test(
    "what cannot be is said once, before the first step",
    (mpirun) =>
      withCorpus(async (corpus, at) => {
        const three = await runRanks(
          mpirun,
          3,
          taskWords(...trainWords(corpus, at("three"), ...LANES)),
        );
        assertEquals(three.code, 1);
        assertEquals(three.stderr.match(/Cannot share steps of 4 lanes/g)?.length, 1, three.stderr);
        // A rank with another configuration, corpus or form of the kernels.
        using other = standard();
        await other.build({ validation: 0.2 });
        const rank = "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}";
        for (
          const [what, words] of [
            ["command or configuration", `--seed ${rank}`],
            ["corpus", `--corpus $([ ${rank} = 1 ] && echo ${other.folder} || echo ${corpus})`],
            ["device", `--variant $([ ${rank} = 1 ] && echo cpu-plain || echo cpu-subgroup)`],
          ]
        ) {
          const line = trainWords("CORPUS", at("different")).filter((word) =>
            word !== "--corpus" && word !== "CORPUS"
          );
          const own = what === "corpus" ? words : `--corpus ${corpus} ${words}`;
          Deno.writeTextFileSync(at("rank.sh"), `exec ${Deno.execPath()} "$@" ${own}\n`);
          const ended = await runRanks(mpirun, 2, [
            "eval",
            "const c = new Deno.Command('sh', { args: Deno.args }).spawn(); Deno.exit((await c.status).code)",
            "--",
            at("rank.sh"),
            ...taskWords("train", ...line.slice(1)),
          ]);
          assertEquals(ended.code, 1, ended.stderr);
          const told = ended.stderr.match(/rank 1 has another [a-z ]+ than rank 0/g);
          assertEquals(told, [`rank 1 has another ${what} than rank 0`], ended.stderr);
          assert(!exists(join(at("different"), "run.json")));
        }
        // What one process does alone is not done twice into one folder.
        const tuned = await runRanks(
          mpirun,
          2,
          taskWords(
            "finetune",
            "ner",
            "--model",
            at("none"),
            "--data",
            at("none"),
            "--out",
            at("tuned"),
          ),
        );
        assertEquals(tuned.code, 2, tuned.stderr);
        assertEquals(tuned.stderr.match(/Cannot run "finetune ner" as 2 processes/g)?.length, 1);
        assert(!exists(at("tuned")));
      }),
    false,
  );

  test("the perplexity of rows is the same on 1, 2 and 3 ranks, to the byte", (mpirun) =>
    withCorpus(async (corpus, at) => {
      const trained = await runTask(trainWords(corpus, at("run")));
      assertEquals(trained.code, 0, trained.stderr);
      const model = checkpointPath(at("run"), STEPS);
      const base = checkpointPath(at("run"), STEPS - 2);
      // 7 rows in batches of 2: ranks have more and less of them, and in the last round none.
      const words = (out: string) =>
        taskWords(
          "evaluate",
          ..."perplexity --split train --rows 7 --batch-size 2 --autotune off".split(" "),
          "--json",
          "--model",
          model,
          "--base",
          base,
          "--corpus",
          corpus,
          "--output",
          at(out),
        );
      const alone = await new Deno.Command(Deno.execPath(), { args: words("1"), cwd: ROOT })
        .output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assertEquals(alone.code, 0, text(alone.stderr));
      for (const size of [2, 3]) {
        const { code, stdout, stderr } = await runRanks(mpirun, size, words(String(size)));
        assertEquals(code, 0, stderr);
        // Tables are as wide as the terminal, which mpirun may make one.
        assertEquals(lastLine(stdout), lastLine(text(alone.stdout)));
        assert(stdout.includes("It is better than its base."), stdout);
        assertEquals(stdout.split("It is better").length, 2, "one rank prints");
        assertEquals(Deno.readTextFileSync(at(String(size))), Deno.readTextFileSync(at("1")));
        assertStringIncludes(stderr, `Rank 0 of ${size}`);
      }
      const { rows, comparison } = JSON.parse(Deno.readTextFileSync(at("1")));
      assertEquals(rows, 7);
      assert(comparison.documents > 7, "the documents of all rows are compared");
    }));

  test(
    "evaluating over ranks, what all fail with is told once",
    (mpirun) =>
      withCorpus(async (corpus, at) => {
        const trained = await runTask(trainWords(corpus, at("run")));
        assertEquals(trained.code, 0, trained.stderr);
        const model = checkpointPath(at("run"), STEPS);
        const words = ["--model", model, "--corpus", corpus, "--split", "train"];
        for (
          const more of [["--model", at("none")], ["--base", at("none")], ["--corpus", at("none")]]
        ) {
          const { code, stdout, stderr } = await runRanks(mpirun, 2, [
            ...taskWords("evaluate", "perplexity", ...words, ...more, "--rows", "2"),
            "--autotune=off",
          ]);
          assertEquals(code, 1, stderr);
          assertEquals(stdout, "");
          // Apart from what mpirun itself says of its program's exit code.
          const told = stderr.split("\n").filter((line) => line.includes(at("none")));
          assertEquals(told.length, 1, stderr);
        }
      }),
    false,
  );

  test(`a job survives ${KILLS} kills of a random rank`, (mpirun) =>
    withCorpus(async (corpus, at) => {
      const words = (out: string) => trainWords(corpus, at(out), ...LANES);
      const begun = performance.now();
      const whole = await runRanks(mpirun, 2, taskWords(...words("whole")));
      assertEquals(whole.code, 0, whole.stderr);
      const life = performance.now() - begun;
      const resume = () => taskWords("train", "--out", at("run"), "--resume");
      for (let kill = 0; kill < KILLS; kill++) {
        const again = exists(join(at("run"), "run.json"));
        const job = startRanks(mpirun, 2, again ? resume() : taskWords(...words("run")));
        const timer = setTimeout(() => {
          const ranks = [...rankProcesses(at("run")).values()];
          const victim = ranks[Math.floor(Math.random() * ranks.length)];
          try {
            if (victim !== undefined) Deno.kill(victim, "SIGKILL");
          } catch { /* it has just ended by itself */ }
        }, life * (0.2 + 0.7 * Math.random()));
        const { stderr } = await job.output();
        clearTimeout(timer);
        const told = new TextDecoder().decode(stderr);
        // Done before its time, or ended with the rank's name.
        if (!isDone(at("run"))) {
          assert(/rank (0|1)/i.test(told), told);
          continue;
        }
        // The next kill is to have something to end: it gets a run of its own.
        assertEquals(digests(at("run")), digests(at("whole")));
        assertEquals(timeless(at("run")), timeless(at("whole")));
        if (kill < KILLS - 1) Deno.removeSync(at("run"), { recursive: true });
      }
      const again = exists(join(at("run"), "run.json"));
      const last = await runRanks(mpirun, 2, again ? resume() : taskWords(...words("run")));
      assertEquals(last.code, 0, last.stderr);
      assert(isDone(at("run")));
      assertEquals(digests(at("run")), digests(at("whole")));
      assertEquals(timeless(at("run")), timeless(at("whole")));
    }));
}
