import { deviceSeconds, diagnose, type Facts } from "../../commands/doctor.ts";
import { inspectWithin } from "../../commands/doctor_adapter.ts";
import { join } from "../../core/std.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../assert.ts";
import { MPI_PROGRAMS, runRanks } from "../ranks.ts";
import { ROOT, runTask, taskWords } from "../shared.ts";

const FINE: Facts = {
  program: "1.0.0",
  deno: "2.9.6",
  system: "linux",
  cores: 8,
  memory: { total: 64e9, available: 32e9 },
  disk: { folder: ".", free: 500e9 },
  linux: true,
  adapter: {
    description: "A GPU",
    vendor: "4318",
    backend: "native",
    cpu: false,
    variant: "gpu-tiled",
    features: [],
    limits: {},
    selfTest: [{ kernel: "RMSNorm", error: 1e-7, limit: 1e-5, ok: true, milliseconds: 3 }],
  },
};

Deno.test("the doctor finds nothing to say about a machine in order", () => {
  assertEquals(diagnose(FINE), []);
});

Deno.test("the doctor says plainly when there is no GPU, a fallback, or a CPU driver", () => {
  const none = diagnose({ ...FINE, adapter: undefined, deviceError: "none was found" });
  assertEquals(none.map((f) => f.level), ["error"]);
  assertStringIncludes(none[0]!.remedy!, "mesa-vulkan-drivers");
  const adapter = { ...FINE.adapter!, backend: "opengl", cpu: true } as const;
  const fallback = diagnose({ ...FINE, adapter });
  assertEquals(fallback.map((f) => f.level), ["warning", "warning"]);
  assertStringIncludes(fallback[0]!.message, "fell back to OpenGL");
  assertStringIncludes(fallback[1]!.message, "not on a GPU");
});

Deno.test("the doctor fails a driver that computes wrongly, and names the kernel", () => {
  const wrong = { kernel: "selective scan", error: 1, limit: 1e-4, ok: false, milliseconds: 3 };
  const findings = diagnose({ ...FINE, adapter: { ...FINE.adapter!, selfTest: [wrong] } });
  assertEquals(findings[0]!.level, "error");
  assertStringIncludes(findings[0]!.message, "selective scan");
  assertStringIncludes(findings[0]!.remedy!, "--variant cpu-plain");
});

Deno.test("the doctor warns of ranks that share a GPU, and fails one that has none", () => {
  const of = (rank: number, device: string | undefined) => ({
    rank,
    host: "node7",
    device,
    cpu: false,
    choice: "",
  });
  const job = { library: "Open MPI v4.1.4 (libmpi.so.40)", abi: "Open MPI", size: 3 };
  const devices = [of(0, "A GPU"), of(1, "A GPU"), of(2, undefined)];
  const errors = [[], [], ["No GPU device could be opened: none was found"]];
  const findings = diagnose({ ...FINE, ranks: { ...job, devices, errors } });
  assertEquals(findings.map((f) => f.level), ["warning", "error"]);
  assertStringIncludes(findings[0]?.message ?? "", "Ranks 0, 1 on node7 take the same GPU, A GPU");
  assertStringIncludes(findings[0]?.remedy ?? "", "--gpus-per-task=1");
  assertStringIncludes(
    findings[1]?.message ?? "",
    "Rank 2 on node7: No GPU device could be opened",
  );
});

for (const { name, mpirun } of MPI_PROGRAMS) {
  Deno.test({
    name: `the doctor names library, ABI and every rank's device (${name})`,
    ignore: !mpirun,
    async fn() {
      const { code, stdout, stderr } = await runRanks(
        mpirun ?? "",
        2,
        taskWords("doctor", "--json", "--thorough"),
      );
      assertEquals(code, 0, stdout + stderr);
      const { ranks, findings } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
      assertEquals([ranks.abi, ranks.size, ranks.devices.length], [name, 2, 2]);
      assert(ranks.library.includes(name), ranks.library);
      for (const [rank, one] of ranks.devices.entries()) {
        assertEquals(one.rank, rank);
        assertStringIncludes(stdout, `on ${one.host}: ${one.device}`);
      }
      // Processors may be shared: nothing is said of it.
      const { cpu, device } = ranks.devices[0];
      const said = findings.some((f: { message: string }) => f.message.includes("the same GPU"));
      assertEquals(said, !cpu && device === ranks.devices[1].device);
      assertEquals(stdout.match(/^Program/gm)?.length, 1, "one rank prints");
    },
  });
}

Deno.test("the doctor warns of little memory and disk", () => {
  const memory = { total: 8e9, available: 1e9 };
  const disk = { folder: "data", free: 2e9 };
  const messages = diagnose({ ...FINE, memory, disk }).map((f) => f.message);
  assertEquals(messages, ["Only 1.0 GB of memory are free", "Only 2.0 GB are free in data"]);
});

Deno.test("doctor --json ends with one object, and every kernel tested here is right", async () => {
  const { code, stdout } = await runTask(["doctor", "--json", "--thorough"]);
  const lines = stdout.trim().split("\n");
  const report = JSON.parse(lines.at(-1)!);
  assertEquals(code, 0);
  assertEquals(report.ok, true);
  assertEquals(report.adapter.self_test.length, 7);
  for (const { kernel, ok, error } of report.adapter.self_test) assert(ok, `${kernel}: ${error}`);
});

/** A thread that says what a driver would: as much as `news`, and then nothing. */
function driver(...news: object[]): Worker {
  const code = `addEventListener("message", () => {
    for (const one of ${JSON.stringify(news)}) postMessage(one);
    if (${news.length < 2}) for (;;);
  });`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  return new Worker(url, { type: "module" });
}

Deno.test("the doctor goes on without a driver that takes too long, and names it", async () => {
  const adapter = { ...FINE.adapter!, backend: "opengl" as const, selfTest: [] };
  const slow = await inspectWithin(driver({ kind: "opened", adapter }), {}, 0, 0.5);
  assertEquals(slow, { ...adapter, cutOff: 0.5 });
  const findings = diagnose({ ...FINE, adapter: slow });
  const cut = findings.find((f) => f.level === "error");
  assertStringIncludes(cut?.message ?? "", "cut off after 0.5 s: OpenGL, the only device here");
  await assertRejects(
    () => inspectWithin(driver(), {}, 0, 0.2),
    Error,
    "did not open a device in 0.2 s",
  );
  const done = [{ kind: "opened", adapter }, { kind: "done", adapter: FINE.adapter! }];
  assertEquals(await inspectWithin(driver(...done), {}, 0, 60), FINE.adapter);
  const failed = [{ kind: "failed", error: "no adapter" }, {}];
  await assertRejects(() => inspectWithin(driver(...failed), {}, 0, 60), Error, "no adapter");
});

Deno.test("the doctor's remedies are for the provider that was asked for", () => {
  const none = { ...FINE, adapter: undefined, deviceError: "none", provider: "dawn" as const };
  const [finding] = diagnose(none);
  assertStringIncludes(finding?.remedy ?? "", "leave --provider dawn out");
  const wrong = { kernel: "matmul", error: 1, limit: 1e-4, ok: false, milliseconds: 3 };
  const adapter = { ...FINE.adapter!, selfTest: [wrong] };
  const [other] = diagnose({ ...FINE, adapter, provider: "dawn" });
  assertStringIncludes(other?.remedy ?? "", "--provider dawn --variant cpu-plain");
});

Deno.test("the doctor's time for a device is counted from the program's start", () => {
  assertEquals([0, 300, 3000, 7000, 60_000].map(deviceSeconds), [8, 7.7, 5, 2, 2]);
});

Deno.test({
  name: "where OpenGL is all that answers, the doctor says so, and does not wait for it",
  ignore: Deno.build.os !== "linux",
  async fn() {
    // Two seconds in place of eight, everything else as it is: the worker, the driver, the findings.
    const program = join(ROOT, "tests/commands/doctor_program.ts");
    const machine = JSON.stringify({ ...FINE, linux: true, adapter: undefined });
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", program, machine],
      cwd: ROOT,
      // No Vulkan driver is found; Mesa's OpenGL is, where it is installed.
      env: { VK_DRIVER_FILES: "/dev/null", VK_ICD_FILENAMES: "/dev/null" },
    }).output();
    const { facts, findings } = JSON.parse(new TextDecoder().decode(stdout));
    const messages = findings.map((f: { message: string }) => f.message).join("\n");
    if (facts.adapter) {
      assertEquals(facts.adapter.backend, "opengl");
      assertStringIncludes(
        messages,
        "WebGPU fell back to OpenGL, because no Vulkan driver answered",
      );
      if (facts.adapter.cutOff !== undefined) {
        assertStringIncludes(messages, "cut off after 2 s: OpenGL, the only device here");
      }
    } else {
      assertStringIncludes(messages, "No GPU device could be opened");
    }
    assertStringIncludes(findings[0].remedy, "deno task setup");
  },
});
