/**
 * The scripts of docs/cluster under a real Slurm of one node: part of `deno task test:faults`. Needs
 * root, and Debian's slurmctld, slurmd, slurm-client and munge; for training also Open MPI or MPICH.
 * @module
 */
import { exists, hashFile } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { checkpointPath } from "../../model/training/checkpoint.ts";
import { isDone } from "../../model/training/run_file.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT, runTask } from "../shared.ts";
import { ALL_FAULTS } from "./faults.ts";
import { digestOf, withFolder } from "./support.ts";
import { standard } from "./token_corpus.ts";

const FOLDER = join(ROOT, "docs/cluster");
const DAEMONS = ["/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd"];
const missing = [...DAEMONS, "/usr/bin/sbatch"].filter((path) => !exists(path));
const able = ALL_FAULTS && Deno.build.os === "linux" && Deno.uid() === 0 && missing.length === 0;
const PORTS = { controller: 16817, node: 16818 };

Deno.test("the scripts for clusters call options that there are, and are valid shell", () => {
  for (const name of ["part.sbatch", "finish.sbatch", "submit.sh", "train.sbatch"]) {
    const { success, stderr } = new Deno.Command("bash", { args: ["-n", join(FOLDER, name)] })
      .outputSync();
    assert(success, new TextDecoder().decode(stderr));
  }
  const job = Deno.readTextFileSync(join(FOLDER, "indexed-job.yaml"));
  const completions = /completions: (\d+)/.exec(job)?.[1];
  assertEquals(/PUBMAMBA_PARTS, value: "(\d+)"/.exec(job)?.[1], completions);
});

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A Slurm of this machine alone, below `folder`; returns the daemons. */
async function startSlurm(folder: string): Promise<Deno.ChildProcess[]> {
  const at = (name: string) => join(folder, name);
  for (const name of ["state", "spool", "munge"]) Deno.mkdirSync(at(name), { mode: 0o755 });
  Deno.chmodSync(folder, 0o755);
  const host = Deno.hostname();
  Deno.writeFileSync(at("munge/key"), crypto.getRandomValues(new Uint8Array(1024)), {
    mode: 0o400,
  });
  Deno.writeTextFileSync(
    at("slurm.conf"),
    [
      "ClusterName=test",
      `SlurmctldHost=${host}(127.0.0.1)`,
      "SlurmUser=root",
      `SlurmctldPort=${PORTS.controller}`,
      `SlurmdPort=${PORTS.node}`,
      `StateSaveLocation=${at("state")}`,
      `SlurmdSpoolDir=${at("spool")}`,
      `SlurmctldPidFile=${at("controller.pid")}`,
      `SlurmdPidFile=${at("node.pid")}`,
      `AuthInfo=socket=${at("munge/socket")}`,
      "AuthType=auth/munge",
      "CredType=cred/munge",
      "ProctrackType=proctrack/linuxproc",
      "TaskPlugin=task/none",
      "SelectType=select/cons_tres",
      "SelectTypeParameters=CR_Core",
      "MpiDefault=none",
      // Two GPUs, in name alone, so that a job can ask for them.
      "GresTypes=gpu",
      `NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2 State=UNKNOWN`,
      `PartitionName=all Nodes=${host} Default=YES MaxTime=INFINITE State=UP`,
    ].join("\n") + "\n",
  );
  Deno.writeTextFileSync(at("gres.conf"), "AutoDetect=off\nName=gpu File=/dev/null,/dev/zero\n");
  const env = { SLURM_CONF: at("slurm.conf") };
  const start = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args, env, stdout: "null", stderr: "null" }).spawn();
  const daemons = [start(
    "/usr/sbin/munged",
    "--foreground",
    "--force",
    `--key-file=${at("munge/key")}`,
    `--socket=${at("munge/socket")}`,
    `--pid-file=${at("munge/pid")}`,
    `--log-file=${at("munge/log")}`,
    `--seed-file=${at("munge/seed")}`,
  )];
  while (!exists(at("munge/socket"))) await new Promise((r) => setTimeout(r, 50));
  daemons.push(start("/usr/sbin/slurmctld", "-D", "-L", at("controller.log")));
  daemons.push(start("/usr/sbin/slurmd", "-D", "-L", at("node.log")));
  return daemons;
}

/** Runs a program with Slurm's variables; `jobs` waits until no job is left and returns their logs. */
interface Slurm {
  run(command: string, ...args: string[]): { code: number; stdout: string; stderr: string };
  jobs(seconds: number, look?: () => void): Promise<string>;
}

/** A running Slurm, whose jobs write their logs into `folder`. */
async function withSlurm(
  folder: string,
  variables: Record<string, string>,
  use: (slurm: Slurm) => Promise<void>,
): Promise<void> {
  const at = join(folder, "slurm");
  Deno.mkdirSync(at);
  const daemons = await startSlurm(at);
  const env = {
    SLURM_CONF: join(at, "slurm.conf"),
    PUBMAMBA_HOME: ROOT,
    PATH: `${join(Deno.execPath(), "..")}:${Deno.env.get("PATH")}`,
    ...variables,
  };
  const run = (command: string, ...args: string[]) => {
    const { code, stdout, stderr } = new Deno.Command(command, { args, env, cwd: folder })
      .outputSync();
    return { code, stdout: text(stdout), stderr: text(stderr) };
  };
  const waiting = () => run("squeue", "-h").stdout.trim();
  try {
    const up = () => run("sinfo", "-h", "-o", "%T").stdout.trim() === "idle";
    const end = Date.now() + 60_000;
    while (!up() && Date.now() < end) await new Promise((r) => setTimeout(r, 500));
    assert(up(), run("sinfo").stdout);
    await use({
      run,
      async jobs(seconds, look) {
        const last = Date.now() + 1000 * seconds;
        while (waiting() !== "" && Date.now() < last) {
          look?.();
          await new Promise((r) => setTimeout(r, 200));
        }
        return [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".log"))
          .map(({ name }) => `${name}: ${Deno.readTextFileSync(join(folder, name))}`)
          .join("\n") + waiting();
      },
    });
  } finally {
    run("scancel", "--user=root");
    for (const daemon of daemons.reverse()) {
      daemon.kill("SIGTERM");
      await daemon.status;
    }
  }
}

Deno.test({
  name: "a real Slurm makes a corpus by an array of parts and the job that waits for them" +
    (able ? "" : ` (skipped: needs test:faults, root${missing.map((m) => `, ${m}`).join("")})`),
  ignore: !able,
  fn: () =>
    withFolder(async (folder) => {
      const source = join(ROOT, "fixtures/mirror");
      const tokenizer = join(ROOT, "fixtures/tokenizer.json");
      const whole = join(folder, "whole");
      const corpus = join(folder, "corpus");
      await runPipeline({ source, tokenizer, corpus: whole, workers: 1, sequenceLength: 128 });
      await withSlurm(folder, { SBATCH_ARGS: "--cpus-per-task=1 --mem=0" }, async (slurm) => {
        const words = `--source ${source} --tokenizer ${tokenizer} --sequence-length 128`;
        const submit = (...more: string[]) => {
          const given = ["3", corpus, "run", ...words.split(" "), ...more];
          const { code, stdout, stderr } = slurm.run(join(FOLDER, "submit.sh"), ...given);
          assertEquals(code, 0, stderr);
          assertStringIncludes(stdout, "finish: job");
        };
        // Parts that fail cancel the finish, and nothing stays in the queue.
        submit("--files", "none");
        const failed = await slurm.jobs(120);
        assertStringIncludes(failed, "no file number");
        assert(!failed.includes("pubmamba-finish"), failed);
        submit();
        const logs = await slurm.jobs(300);
        assertStringIncludes(logs, "This is part 3/3");
        assertEquals(digestOf(corpus), digestOf(whole), logs);
      });
    }),
});

/** What srun is told for each MPI, and the library that it needs. */
const TRAINING = [
  { name: "Open MPI", word: "pmix", library: "libmpi.so.40" },
  { name: "MPICH", word: "pmi2", library: "libmpich.so.12" },
];

for (const { name, word, library } of TRAINING) {
  const found = exists(`/usr/lib/x86_64-linux-gnu/${library}`);
  Deno.test({
    name:
      `train.sbatch trains over srun --mpi=${word} (${name}), is stopped, put back and goes on` +
      (able && found ? "" : ` (skipped: needs what Slurm's test needs, and ${library})`),
    ignore: !able || !found,
    fn: () =>
      withFolder(async (folder) => {
        using built = standard();
        await built.build();
        const words = (out: string) => [
          ...`--corpus ${built.folder} --init random:tiny --out ${out} --autotune off`.split(" "),
          ..."--steps 12 --batch-size 1 --accumulate 2 --checkpoint-every 2".split(" "),
          ..."--set batch.lanes=2".split(" "),
        ];
        const alone = join(folder, "alone");
        const out = join(folder, "ranks");
        const { code, stderr } = await runTask(["train", ...words(alone)]);
        assertEquals(code, 0, stderr);
        await withSlurm(folder, { PUBMAMBA_MPI: word }, async (slurm) => {
          const submitted = slurm.run(
            "sbatch",
            "--parsable",
            ..."--ntasks-per-node=2 --cpus-per-task=1".split(" "),
            join(FOLDER, "train.sbatch"),
            ...words(out),
          );
          assertEquals(submitted.code, 0, submitted.stderr);
          const job = submitted.stdout.trim();
          let stopped = false;
          const logs = await slurm.jobs(300, () => {
            if (!stopped && exists(checkpointPath(out, 2))) {
              // As Slurm does before the job's time is over.
              stopped = true;
              slurm.run("scancel", "--signal=TERM", "--batch", job);
            } else if (stopped) {
              // A job that was put back waits two minutes otherwise.
              slurm.run("scontrol", "update", `JobId=${job}`, "StartTime=now");
            }
          });
          assert(stopped, logs);
          assertStringIncludes(logs, `Rank 0 of 2, by ${name}`);
          assertStringIncludes(logs, "Stopped after step");
          assert(isDone(out), logs);
          for (const file of ["model.safetensors", "optimizer.safetensors"]) {
            const hash = (run: string) => hashFile(join(checkpointPath(run, 12), file));
            assertEquals(hash(out), hash(alone), logs);
          }
        });
      }),
  });
}
