import { diagnose, type Facts } from "../../commands/doctor.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { runTask } from "../shared.ts";

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
  assertEquals(report.adapter.selfTest.length, 7);
  for (const { kernel, ok, error } of report.adapter.selfTest) assert(ok, `${kernel}: ${error}`);
});
