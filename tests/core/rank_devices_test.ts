/** Ranks that share a device. */
import { deviceChoiceOf, type RankDevice, sharedDevices } from "../../core/mpi/devices.ts";
import { ALONE, type Job, warnOfSharedDevices } from "../../model/training/job.ts";
import { assertEquals, assertStringIncludes } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";

/** Ranks of one machine with one kind of GPU, and the variables that each was started with. */
const ranksWith = (...environments: Record<string, string>[]): RankDevice[] =>
  environments.map((variables, rank) => ({
    rank,
    host: "node1",
    device: "A GPU",
    cpu: false,
    choice: deviceChoiceOf(rank, (name) => variables[name]),
  }));

Deno.test("ranks share a GPU unless something gives them different ones", () => {
  const [message, ...more] = sharedDevices(ranksWith({}, {}, { DRI_PRIME: "pci-0000_02_00_0" }));
  assertEquals(more, []);
  assertStringIncludes(message ?? "", "Ranks 0, 1 on node1 take the same GPU, A GPU");
  const same = { DRI_PRIME: "pci-0000_01_00_0" };
  assertEquals(sharedDevices(ranksWith(same, same)).length, 1);
  const slurm = { SLURM_GPUS_PER_TASK: "1", NVIDIA_VISIBLE_DEVICES: "all" };
  assertEquals(sharedDevices(ranksWith(slurm, slurm)), []);
  const [first] = ranksWith({});
  if (!first) throw new Error("no rank");
  const other = { ...first, rank: 1 };
  assertEquals(sharedDevices([first, { ...other, host: "node2" }]), []);
  assertEquals(sharedDevices([first, { ...other, device: "Another GPU" }]), []);
  // Processors may be shared, and a rank without a device shares none.
  assertEquals(sharedDevices([{ ...first, cpu: true }, { ...other, cpu: true }]), []);
  assertEquals(
    sharedDevices([{ ...first, device: undefined }, { ...other, device: undefined }]),
    [],
  );
});

Deno.test("a job warns of a shared GPU once, and one process never", async () => {
  const reporter = silentReporter();
  const own = { device: "A GPU" };
  await warnOfSharedDevices(ALONE, own, reporter);
  assertEquals(reporter.logged, []);
  const ranks = { host: "node1" } as Job["ranks"];
  const gather = <T>(value: T): Promise<T[]> =>
    Promise.resolve([value, Object.assign({}, value, { rank: 1 })]);
  const job: Job = { ...ALONE, size: 2, ranks, gather };
  await warnOfSharedDevices(job, own, reporter);
  await warnOfSharedDevices(job, own, reporter);
  assertEquals(reporter.logged.length, 1);
  assertStringIncludes(reporter.logged[0] ?? "", "Warning: Ranks 0, 1 on node1 take the same GPU");
  assertStringIncludes(reporter.logged[0] ?? "", "DRI_PRIME=pci-");
});
