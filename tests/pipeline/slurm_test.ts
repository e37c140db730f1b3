/**
 * The scripts of docs/cluster under a real Slurm of one node: part of `deno task test:faults`. Needs
 * root, and Debian's slurmctld, slurmd, slurm-client and munge.
 * @module
 */
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { ALL_FAULTS } from "./faults.ts";
import { digestOf, withFolder } from "./support.ts";

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
      `NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN`,
      `PartitionName=all Nodes=${host} Default=YES MaxTime=INFINITE State=UP`,
    ].join("\n") + "\n",
  );
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
      const slurm = join(folder, "slurm");
      Deno.mkdirSync(slurm);
      const daemons = await startSlurm(slurm);
      const env = {
        SLURM_CONF: join(slurm, "slurm.conf"),
        PUBMAMBA_HOME: ROOT,
        SBATCH_ARGS: "--cpus-per-task=1 --mem=0",
        PATH: `${join(Deno.execPath(), "..")}:${Deno.env.get("PATH")}`,
      };
      const run = (command: string, ...args: string[]) =>
        new Deno.Command(command, { args, env, cwd: folder }).outputSync();
      try {
        const up = () => text(run("sinfo", "-h", "-o", "%T").stdout).trim() === "idle";
        const end = Date.now() + 60_000;
        while (!up() && Date.now() < end) await new Promise((r) => setTimeout(r, 500));
        assert(up(), text(run("sinfo").stdout));
        const submitted = run(
          join(FOLDER, "submit.sh"),
          "3",
          corpus,
          "run",
          "--source",
          source,
          "--tokenizer",
          tokenizer,
          "--sequence-length",
          "128",
        );
        assert(submitted.success, text(submitted.stderr));
        assertStringIncludes(text(submitted.stdout), "finish: job");
        const waiting = () => text(run("squeue", "-h").stdout).trim();
        const last = Date.now() + 300_000;
        while (waiting() !== "" && Date.now() < last) await new Promise((r) => setTimeout(r, 1000));
        const logs = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".log"))
          .map(({ name }) => `${name}: ${Deno.readTextFileSync(join(folder, name))}`).join("\n");
        assertStringIncludes(logs, "This is part 3/3");
        assertEquals(digestOf(corpus), digestOf(whole), logs + waiting());
      } finally {
        run("scancel", "--user=root");
        for (const daemon of daemons.reverse()) {
          daemon.kill("SIGTERM");
          await daemon.status;
        }
      }
    }),
});
