/** What docs/cluster and docs/schedule hand to Slurm, Kubernetes and Docker calls what there is. @module */
import * as untyped from "@std/yaml";
import { ROOT_COMMANDS } from "../../commands/mod.ts";
import { type Command, parseInvocation } from "../../core/cli.ts";
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { partOf } from "../../pipeline/parts/part.ts";
import { resolveConfig } from "../../model/training/configuration.ts";
import project from "../../deno.json" with { type: "json" };
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

const { parseAll } = untyped as unknown as { parseAll(text: string): unknown[] };
const read = (name: string) => Deno.readTextFileSync(join(ROOT, "docs", name));

/** A value of a manifest by its keys. */
function at(value: unknown, ...keys: (string | number)[]): unknown {
  return keys.reduce<unknown>(
    (inner, key) => (inner as Record<string | number, unknown> | undefined)?.[key],
    value,
  );
}

/** Checks words after `deno task` against the command that they name. */
async function parseWords(words: string[]) {
  let entry: unknown = ROOT_COMMANDS;
  let rest = words;
  while (at(entry, "commands")) {
    const found = at(entry, "commands", rest[0] ?? "") as
      | { load(): Promise<unknown> }
      | undefined;
    assert(found, `there is no command ${words.join(" ")}`);
    entry = await found.load();
    rest = rest.slice(1);
  }
  const { signal } = new AbortController();
  return parseInvocation(entry as Command, rest, silentReporter(), signal);
}

/** A pod's container, whose mounts have to be volumes of the pod. */
function containerOf(pod: unknown): unknown {
  const [container] = at(pod, "containers") as unknown[];
  const volumes = (at(pod, "volumes") as unknown[]).map((volume) => at(volume, "name"));
  for (const mount of at(container, "volumeMounts") as unknown[]) {
    assert(volumes.includes(at(mount, "name")), `${at(mount, "name")} is no volume`);
  }
  return container;
}

Deno.test("the Indexed Job's pods are the parts of one run, and the other Job merges them", async () => {
  const [parts, finish] = parseAll(read("cluster/indexed-job.yaml"));
  for (const job of [parts, finish]) {
    assertEquals([at(job, "apiVersion"), at(job, "kind")], ["batch/v1", "Job"]);
  }
  assertEquals(at(parts, "spec", "completionMode"), "Indexed");
  const completions = at(parts, "spec", "completions") as number;
  const pod = containerOf(at(parts, "spec", "template", "spec"));
  const variables = Object.fromEntries(
    (at(pod, "env") as { name: string; value: string }[]).map(({ name, value }) => [name, value]),
  );
  for (let index = 0; index < completions; index++) {
    const get = (name: string) =>
      ({ ...variables, JOB_COMPLETION_INDEX: String(index) } as Record<string, string>)[name];
    assertEquals(partOf(undefined, get), { part: index + 1, parts: completions });
  }
  const run = await parseWords(at(pod, "args") as string[]);
  const merging = containerOf(at(finish, "spec", "template", "spec"));
  const merge = await parseWords(at(merging, "args") as string[]);
  assertEquals(merge.string("corpus"), run.string("corpus"));
  assertEquals(at(finish, "spec", "suspend"), true);
});

/** The command lines of `deno task` in a shell script, with `words` in the place of a variable. */
function taskLines(script: string, words: Record<string, string>): string[][] {
  const joined = script.replace(/\\\n/g, " ");
  return [...joined.matchAll(/^(?!\s*#).*?deno task (?:--config \S+ )?(.*)$/gm)].map((match) => {
    const line = (match[1] ?? "").replace(/\s*&$/, "");
    return Object.entries(words)
      .reduce((text, [variable, value]) => text.replaceAll(variable, value), line)
      .trim().split(/\s+/);
  });
}

Deno.test("the MPIJob starts as many ranks as it has workers, on lanes that they can share", async () => {
  const [job] = parseAll(read("cluster/mpijob.yaml"));
  assertEquals([at(job, "apiVersion"), at(job, "kind")], ["kubeflow.org/v2beta1", "MPIJob"]);
  const replicas = at(job, "spec", "mpiReplicaSpecs");
  const launcher = containerOf(at(replicas, "Launcher", "template", "spec"));
  containerOf(at(replicas, "Worker", "template", "spec"));
  const workers = at(replicas, "Worker", "replicas") as number;
  const slots = at(job, "spec", "slotsPerWorker") as number;
  const script = (at(launcher, "args") as string[])[0] ?? "";
  assertEquals(/mpirun .*-n (\d+)/.exec(script)?.[1], String(workers * slots));
  const first = /words="([^"]*)"/.exec(script)?.[1] ?? "";
  for (const words of [first, "--resume"]) {
    const [line, ...others] = taskLines(script, { $words: words });
    assertEquals(others, []);
    const { list, number } = await parseWords(line ?? []).then((call) => ({
      list: call.list("set"),
      number: call.number("accumulate"),
    }));
    if (words === "--resume") continue;
    assertEquals(list, [`batch.lanes=${workers * slots}`]);
    const batch = { lanes: workers * slots, accumulate: number ?? 1 };
    assertEquals(resolveConfig({ batch }, "the MPIJob").batch.lanes % (workers * slots), 0);
  }
});

Deno.test("the CronJob refreshes", async () => {
  const [job] = parseAll(read("schedule/cronjob.yaml"));
  assertEquals([at(job, "apiVersion"), at(job, "kind")], ["batch/v1", "CronJob"]);
  const pod = containerOf(at(job, "spec", "jobTemplate", "spec", "template", "spec"));
  const [deno, task, ...words] = at(pod, "command") as string[];
  assertEquals([deno, task, words[1]], ["deno", "task", "refresh"]);
  await parseWords(words);
});

Deno.test("the scripts for Slurm call commands with options that there are", async () => {
  const cases: [string, Record<string, string>][] = [
    ["part.sbatch", { '"$@"': "run --source m --tokenizer t.json --corpus c" }],
    ["part.sbatch", { '"$@"': "refresh --corpus c" }],
    ["finish.sbatch", { '"$1"': "c" }],
    [
      "train.sbatch",
      {
        '"${words[@]}"':
          "--corpus c --init random:mamba-130m --out r --set batch.lanes=16 --accumulate 16",
      },
    ],
    ["train.sbatch", { '"${words[@]}"': "--out r --resume" }],
  ];
  for (const [name, words] of cases) {
    const lines = taskLines(read(`cluster/${name}`), {
      ...words,
      '"${SLURM_CPUS_PER_TASK:-4}"': "4",
    });
    assertEquals(lines.length, 1, name);
    for (const line of lines) await parseWords(line);
  }
  // The words in the script's head are those that are tried here.
  const head = read("cluster/train.sbatch").replace(/\\\n# +/g, "");
  assertStringIncludes(head, "--out /shared/runs/one --set batch.lanes=16 --accumulate 16");
});

Deno.test("docs/cluster.md shows command lines that parse", async () => {
  const blocks = [...read("cluster.md").matchAll(/```sh\n([^]*?)```/g)].map((match) =>
    match[1] ?? ""
  );
  const lines = blocks.flatMap((block) => taskLines(block, {}))
    .filter((line) => line.at(-1) !== "...");
  assert(lines.length >= 7, `${lines.length} lines`);
  for (const line of lines) await parseWords(line);
});

Deno.test("the image has the Deno that the project is made for, and copies files that are there", () => {
  const docker = read("cluster/Dockerfile");
  const version = /^FROM denoland\/deno:debian-(\S+)$/m.exec(docker)?.[1];
  assertStringIncludes(Deno.readTextFileSync(join(ROOT, ".ci/run")), `deno@${version} `);
  const entries = /--entrypoint (.*?) &&/.exec(docker)?.[1]?.split(" ") ?? [];
  assertEquals(entries.length, 2);
  for (const name of entries) assert(exists(join(ROOT, name)), name);
  assertStringIncludes(docker, 'ENTRYPOINT ["deno", "task"]');
  for (const task of ["pipeline", "train"]) assert(Object.hasOwn(project.tasks, task), task);
  // What the MPIJob's image is built with, and what its ranks need of the image's variables.
  const job = read("cluster/mpijob.yaml");
  const mpi = "openmpi-bin libopenmpi3 openssh-server openssh-client";
  for (const file of [docker, job]) assertStringIncludes(file, mpi);
  assert(/^ENV DENO_DIR=/m.test(docker) && /mpirun .*-x DENO_DIR /.test(job));
  const packages = /install -y --no-install-recommends (\S+) \$MPI/.exec(docker)?.[1];
  assertEquals(packages, "libvulkan1");
});
