/** What this machine can do, whether the kernels are right on it, and what to mend. @module */
import { statfsSync } from "node:fs";
import project from "../deno.json" with { type: "json" };
import type { Command, Invocation } from "../core/cli.ts";
import { EXIT, messageOf } from "../core/errors.ts";
import { formatBytes } from "../core/reporter.ts";
import { jsonLine } from "../core/json.ts";
import { hanging } from "../core/terminal.ts";
import { VARIANTS } from "../kernels/device.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { type AdapterFacts, type Asked, inspectWithin } from "./doctor_adapter.ts";
import { type RankDevice, SHARED_DEVICE_REMEDY, sharedDevices } from "../core/mpi/devices.ts";
import { type Job, rankDevices, requireSame } from "../model/training/mod.ts";
import { asRank } from "./ranks.ts";
import { deviceOptions } from "./device_options.ts";

/** Something the user should know; an error keeps the program from working. */
interface Finding {
  level: "error" | "warning" | "note";
  message: string;
  remedy?: string;
}

/** Everything that the doctor looks at. */
export interface Facts {
  program: string;
  deno: string;
  system: string;
  /** Undefined where no device opened; `deviceError` says why. */
  adapter?: AdapterFacts;
  deviceError?: string;
  /** Where WebGPU was asked to come from. */
  provider?: ProviderName;
  cores: number;
  memory: { total: number; available: number };
  /** Free bytes of the disk of the folder looked at. */
  disk?: { folder: string; free: number };
  linux: boolean;
  /** The job, where this process is one of several ranks. */
  ranks?: RankFacts;
}

/** What the doctor finds of a job. */
interface RankFacts {
  library: string;
  abi: string;
  size: number;
  /** Of every rank, by rank. */
  devices: RankDevice[];
  /** What keeps the program from working on each rank, by rank. */
  errors: string[][];
}

/** Seconds from the program's start after which the doctor goes on without the device: it answers in 10. */
const DEVICE_SECONDS = 8;
/** A driver has this long however slowly the program itself started. */
const LEAST_DEVICE_SECONDS = 2;

/** Milliseconds after which no further kernel is tested, so that the doctor answers in 3 s. */
const SELF_TEST_BUDGET = 1500;
const LOW_MEMORY = 4e9;
const LOW_DISK = 10e9;

/** Seconds that are left for the device so many milliseconds after the program's start. */
export function deviceSeconds(elapsed: number): number {
  const left = Math.max(LEAST_DEVICE_SECONDS, DEVICE_SECONDS - elapsed / 1000);
  return Math.round(10 * left) / 10;
}

/** What the facts mean. */
export function diagnose(facts: Facts): Finding[] {
  const findings: Finding[] = [];
  const { adapter } = facts;
  const mesa = "sudo apt-get install libvulkan1 mesa-vulkan-drivers";
  const dawn = facts.provider === "dawn";
  const again = dawn ? "--provider dawn " : "";
  if (!adapter) {
    findings.push({
      level: "error",
      // Where none was found, the message goes on with the remedy that stands below.
      message: `No GPU device could be opened: ${facts.deviceError?.replace(/; install a .*/, "")}`,
      remedy: dawn
        ? "leave --provider dawn out to use Deno's own WebGPU; Dawn needs a Vulkan 1.1 driver of a GPU, " +
          "or SwiftShader"
        : facts.linux
        ? `run: deno task setup (or, on Debian and Ubuntu: ${mesa})`
        : undefined,
    });
  } else {
    if (adapter.backend === "opengl") {
      findings.push({
        level: "warning",
        message: "WebGPU fell back to OpenGL, because no Vulkan driver answered: it is slow, and " +
          "less proven",
        remedy: `run: deno task setup (or, on Debian and Ubuntu: ${mesa}); with an NVIDIA card, ` +
          "install its driver's Vulkan part",
      });
    }
    if (adapter.cutOff !== undefined) {
      const what = adapter.backend === "opengl" ? "OpenGL" : adapter.description;
      findings.push({
        level: "error",
        message:
          `The self-test was cut off after ${adapter.cutOff} s: ${what}, the only device here, is ` +
          "too slow to compile the kernels, and nothing is known of whether it computes right",
        remedy:
          `install a faster driver as above, or wait for it with: deno task doctor ${again}--thorough`,
      });
    }
    if (adapter.cpu) {
      findings.push({
        level: "warning",
        message:
          "WebGPU runs on the processor here (a CPU driver), not on a GPU: right for tests, " +
          "the demo and the presets tiny and small, too slow to train mamba-130m and above",
        remedy: facts.linux
          ? "if this machine has a GPU, install its Vulkan driver; where there are several, pick " +
            "one with VK_DRIVER_FILES or MESA_VK_DEVICE_SELECT"
          : undefined,
      });
    }
    const wrong = adapter.selfTest.filter((t) => !t.ok);
    if (wrong.length) {
      findings.push({
        level: "error",
        message: `The driver computes ${wrong.map((t) => t.kernel).join(", ")} wrongly with the ` +
          `kernel variant ${adapter.variant}: nothing trained here could be trusted`,
        remedy: wrong.every((t) => t.kernel.includes("matrix units"))
          ? "train with --matrix-units off, or in f32"
          : `update the GPU's driver, or try another variant: ${
            VARIANTS.filter((v) => v !== adapter.variant).map((v) => `${again}--variant ${v}`).join(
              ", ",
            )
          }`,
      });
    }
  }
  findings.push(...diagnoseRanks(facts.ranks));
  if (facts.memory.available < LOW_MEMORY) {
    findings.push({
      level: "warning",
      message: `Only ${formatBytes(facts.memory.available)} of memory are free`,
      remedy: "the pipeline takes about 1 GB per worker: give it fewer with --workers",
    });
  }
  if (facts.disk && facts.disk.free < LOW_DISK) {
    findings.push({
      level: "warning",
      message: `Only ${formatBytes(facts.disk.free)} are free in ${facts.disk.folder}`,
      remedy: "all of PubMed needs about 60 GB: choose another disk with --corpus and --out",
    });
  }
  return findings;
}

const errorsOf = (findings: Finding[]) => findings.filter(({ level }) => level === "error");

/** What is wrong with the devices of ranks. */
function diagnoseRanks(ranks: RankFacts | undefined): Finding[] {
  if (!ranks) return [];
  const shared = sharedDevices(ranks.devices).map((message): Finding => ({
    level: "warning",
    message,
    remedy: SHARED_DEVICE_REMEDY,
  }));
  // Rank 0 speaks, and has found its own already.
  const others = ranks.devices.slice(1).flatMap(({ rank, host }) =>
    (ranks.errors[rank] ?? []).map((message): Finding => ({
      level: "error",
      message: `Rank ${rank} on ${host}: ${message}`,
    }))
  );
  return [...shared, ...others];
}

async function inspect(
  asked: Asked,
  folder: string,
  budget: number,
): Promise<Facts> {
  const memory = Deno.systemMemoryInfo();
  const facts: Facts = {
    program: project.version,
    deno: Deno.version.deno,
    system: `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    cores: navigator.hardwareConcurrency,
    memory: { total: memory.total, available: memory.available },
    linux: Deno.build.os === "linux",
    provider: asked.provider,
  };
  try {
    const { bavail, bsize } = statfsSync(folder);
    facts.disk = { folder, free: bavail * bsize };
  } catch {
    // not every file system tells; nothing hangs on it
  }
  try {
    const script = new URL("./doctor_worker.ts", import.meta.url);
    const seconds = budget === Infinity ? Infinity : deviceSeconds(performance.now());
    const worker = new Worker(script, { type: "module" });
    facts.adapter = await inspectWithin(worker, asked, budget, seconds);
  } catch (error) {
    facts.deviceError = messageOf(error);
  }
  return facts;
}

/** The facts as lines of a label and a value. */
function describe(facts: Facts): [string, string][] {
  const lines: [string, string][] = [
    ["Program", `pubmamba ${facts.program}, Deno ${facts.deno}, ${facts.system}`],
    ["Processor", `${facts.cores} cores`],
    [
      "Memory",
      `${formatBytes(facts.memory.available)} free of ${formatBytes(facts.memory.total)}`,
    ],
  ];
  if (facts.disk) {
    lines.push(["Disk", `${formatBytes(facts.disk.free)} free in ${facts.disk.folder}`]);
  }
  if (facts.ranks) {
    const { library, abi, size, devices } = facts.ranks;
    lines.push(["MPI", `${library}, ABI of ${abi}, ${size} ranks`]);
    for (const { rank, host, device = "no device", cpu, choice } of devices) {
      const chosen = /\bDRI_PRIME=\S+/.exec(choice)?.[0];
      const how = cpu ? ", the processor" : chosen === undefined ? "" : `, by ${chosen}`;
      lines.push([`Rank ${rank}`, `on ${host}: ${device}${how}`]);
    }
  }
  const { adapter } = facts;
  if (!adapter) return [...lines, ["Adapter", "none"]];
  const { limits } = adapter;
  const right = adapter.selfTest.filter((t) => t.ok).length;
  const worst = Math.max(...adapter.selfTest.map((t) => t.error));
  const left = (adapter.selfTests ?? 0) - adapter.selfTest.length;
  const seconds = adapter.selfTest.reduce((sum, t) => sum + t.milliseconds, 0) / 1000;
  const native = facts.linux
    ? "Vulkan"
    : Deno.build.os === "darwin"
    ? "Metal"
    : "Direct3D or Vulkan";
  return [
    ...lines,
    ["Adapter", adapter.description],
    [
      "Backend",
      `${adapter.backend === "opengl" ? "OpenGL" : native}, on ${
        adapter.cpu ? "the processor" : "a GPU"
      }`,
    ],
    ["Kernels", adapter.variant],
    ["Features", adapter.features.join(", ") || "none"],
    ["Matrix", matrixLine(adapter)],
    [
      "Limits",
      `buffers up to ${formatBytes(limits.maxBufferSize ?? 0)}, ${
        formatBytes(limits.maxStorageBufferBindingSize ?? 0)
      } bound at once, ${limits.maxStorageBuffersPerShaderStage} buffers and ${
        formatBytes(limits.maxComputeWorkgroupStorageSize ?? 0)
      } of shared memory per kernel`,
    ],
    [
      "Self-test",
      adapter.cutOff !== undefined
        ? `cut off after ${adapter.cutOff} s`
        : `${right} of ${adapter.selfTest.length} kernels right, largest relative error ${
          worst.toExponential(1)
        } (${seconds.toFixed(1)} s)${
          left > 0 ? `; ${left} more with --thorough, this driver is slow to compile` : ""
        }`,
    ],
  ];
}

/** Tensor cores: what is used in mixed precision, of what there is. */
function matrixLine({ matrixConfigs = [], matrixUnits }: AdapterFacts): string {
  if (!matrixConfigs.length) return "no matrix units offered (Dawn does, on some GPUs)";
  const all = matrixConfigs.map((c) =>
    `${c.M} x ${c.N} x ${c.K} ${c.componentType} to ${c.resultComponentType}`
  );
  const used = matrixUnits ? `mixed precision uses ${matrixUnits}` : "not used";
  return `${used}; offered: ${all.join(", ")}`;
}

async function run(
  job: Job,
  { string, requiredString, boolean, json, reporter }: Invocation,
): Promise<number> {
  const variant = string("variant") ?? Deno.env.get("KERNEL_VARIANT");
  const budget = boolean("thorough") ? Infinity : SELF_TEST_BUDGET;
  const facts = await inspect(
    { variant, provider: string("provider") as ProviderName },
    requiredString("folder"),
    budget,
  );
  const { adapter } = facts;
  await requireSame(job, { "program version": project.version });
  const devices = await rankDevices(job, {
    device: adapter?.description,
    cpu: adapter?.cpu ?? false,
  });
  if (job.ranks) {
    const { library, abi, size } = job.ranks;
    const errors = await job.gather(errorsOf(diagnose(facts)).map(({ message }) => message));
    facts.ranks = { library, abi, size, devices, errors };
  }
  const findings = diagnose(facts);
  const ok = errorsOf(findings).length === 0 && !facts.ranks?.errors.flat().length;
  for (const [label, value] of describe(facts)) {
    reporter.line(hanging(`${label.padEnd(10)} `, value));
  }
  reporter.line();
  for (const test of facts.adapter?.selfTest ?? []) {
    if (!test.ok) {
      reporter.line(
        `FAIL ${test.kernel}: relative error ${test.error.toExponential(1)}, limit ${test.limit}`,
      );
    }
  }
  for (const { level, message, remedy } of findings) {
    reporter.line(hanging("", `${level}: ${message}`));
    if (remedy) reporter.line(hanging("  -> ", remedy));
  }
  reporter.line(ok ? "Ready." : "Not ready: mend the errors above.");
  if (json) reporter.line(jsonLine({ ok, ...facts, findings }));
  return ok ? EXIT.done : EXIT.failed;
}

/** `doctor`. */
export const command: Command = {
  name: "doctor",
  summary: "Look at this machine: the GPU, whether the kernels are right on it, memory, disk",
  description: "Opens the GPU as training would, compares a few kernels with float64 references, " +
    "and says what to mend. Started by mpirun or srun it also names the MPI library and every " +
    "rank's GPU. Exits with 1 where the program could not be trusted here.",
  options: {
    variant: {
      type: "string",
      choices: VARIANTS,
      help: "check this form of the kernels instead of the one the adapter would get",
    },
    provider: deviceOptions.provider,
    thorough: {
      type: "boolean",
      help: "test every kernel, however slow the driver compiles",
    },
    folder: {
      type: "string",
      placeholder: "DIR",
      default: ".",
      help: "whose disk to look at",
    },
  },
  examples: ["deno task doctor", "deno task doctor --json", "deno task doctor --variant gpu-tiled"],
  run: (invocation) => asRank(invocation, run),
};
