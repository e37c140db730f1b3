import { EXIT, UserError } from "../../core/errors.ts";
import { type TensorToWrite, writeSafetensors } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import { type Device } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { rmsNorm, rmsNormBackward } from "../../kernels/reference/mod.ts";
import { deviceModels } from "../../model/goldens/device_models.ts";
import { compare, fromRows, toRows } from "../../model/goldens/golden_file.ts";
import { type GoldenLine, MIXED_FACTOR, runGoldens } from "../../model/goldens/run.ts";
import type { Precision } from "../../model/mamba/mamba.ts";
import { assert, assertEquals, assertRejects } from "../assert.ts";
import { randoms } from "../kernels/randoms.ts";
import { ROOT, SHARED, sharedTest } from "../shared.ts";

async function run(folder: string, variant?: string, precision: Precision = "f32") {
  const device: Device = await openDevice({ variant });
  const lines: GoldenLine[] = [];
  const skipped: string[] = [];
  try {
    const summary = await runGoldens(folder, device, deviceModels(device, precision), {
      line: (line) => lines.push(line),
      skip: (name) => skipped.push(name),
    }, precision);
    return { summary, lines, skipped };
  } finally {
    device.destroy();
  }
}

for (const variant of ["cpu-subgroup", "gpu-tiled"]) {
  sharedTest("goldens", `goldens: every case passes [${variant}]`, async () => {
    const { summary, lines, skipped } = await run(join(SHARED, "goldens"), variant);
    const failed = lines.filter((l) => !l.ok).map((l) => `${l.case} ${l.tensor} ${l.error}`);
    assertEquals(failed, []);
    assertEquals(summary.failed, 0);
    assert(summary.passed >= 568, `${summary.passed} passed`);
    assertEquals([summary.skipped, skipped], [0, []]);
  });
}

for (const variant of ["cpu-subgroup", "gpu-tiled"]) {
  sharedTest("goldens", `goldens: mixed precision passes at its factor [${variant}]`, async () => {
    const { summary, lines } = await run(join(SHARED, "goldens"), variant, "mixed");
    assertEquals(lines.filter((l) => !l.ok), []);
    assert(summary.passed >= 568, `${summary.passed} passed`);
    // Wider where f16 has a part, and nowhere else: the limits of f32 are 1e-5 to 5e-4.
    for (const { case: name, tensor, limit } of lines) {
      const f32 = /^adamw|\/gen\d/.test(name);
      assert(f32 ? limit < 1e-3 : limit >= 0.999e-5 * MIXED_FACTOR, `${name} ${tensor} ${limit}`);
    }
  });
}

interface Golden {
  json: Record<string, unknown>;
  tensors: TensorToWrite[];
}

/** A golden of one RMSNorm case, true unless changed. */
function tinyGolden(): Golden {
  const [rows, cols, eps] = [2, 3, 1e-5];
  const x = randoms(6, 1);
  const weight = randoms(3, 2);
  const gy = randoms(6, 3);
  const { y } = rmsNorm(x, weight, eps);
  const { dx, dweight } = rmsNormBackward(gy, x, weight, eps);
  const shapes = { x: [rows, cols], weight: [cols], gy: [rows, cols] };
  const outputs = { y: [rows, cols], dx: [rows, cols], dweight: [cols] };
  const tensor = (name: string, shape: number[], values: Float64Array): TensorToWrite => ({
    name: `tiny/${name}`,
    dtype: "F32",
    shape,
    data: Float32Array.from(values),
  });
  const limits = Object.fromEntries(Object.keys(outputs).map((name) => [name, { f32_rel: 1e-5 }]));
  return {
    json: {
      op: "rmsnorm",
      cases: [{ name: "tiny", attrs: { eps }, inputs: shapes, outputs, tol: limits }],
    },
    tensors: [
      tensor("in/x", shapes.x, x),
      tensor("in/weight", shapes.weight, weight),
      tensor("in/gy", shapes.gy, gy),
      tensor("out/y", outputs.y, y),
      tensor("out/dx", outputs.dx, dx),
      tensor("out/dweight", outputs.dweight, dweight),
    ],
  };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function write(folder: string, { json, tensors }: Golden, name = "op_rmsnorm"): void {
  Deno.writeTextFileSync(join(folder, `${name}.json`), JSON.stringify(json));
  writeSafetensors(join(folder, `${name}.safetensors`), tensors);
}

Deno.test("goldens: a true case passes, a changed value fails and is the worst", () =>
  inFolder(async (folder) => {
    write(folder, tinyGolden());
    const good = await run(folder);
    assertEquals([good.summary.passed, good.summary.failed, good.summary.skipped], [3, 0, 0]);
    const changed = tinyGolden();
    const y = changed.tensors[3]!;
    y.data = (y.data as Float32Array).map((v, i) => i === 4 ? v + 1e-3 : v);
    write(folder, changed);
    const bad = await run(folder);
    assertEquals([bad.summary.passed, bad.summary.failed], [2, 1]);
    assertEquals([bad.summary.worst[0]!.case, bad.summary.worst[0]!.tensor], ["rmsnorm/tiny", "y"]);
    assert(!bad.summary.worst[0]!.ok);
  }));

Deno.test("goldens: an operation that is not built is skipped by name, never passed", () =>
  inFolder(async (folder) => {
    const other = tinyGolden();
    other.json.op = "hadamard";
    write(folder, other, "op_hadamard");
    const { summary, skipped } = await run(folder);
    assertEquals(skipped, ["hadamard/tiny"]);
    assertEquals([summary.passed, summary.failed, summary.skipped], [0, 0, 1]);
  }));

Deno.test("goldens: whatever is missing or malformed is an error", () =>
  inFolder(async (folder) => {
    const json = join(folder, "op_rmsnorm.json");
    const data = join(folder, "op_rmsnorm.safetensors");
    const refuses = (what: string) => assertRejects(() => run(folder), UserError, what);
    await refuses("it holds none");
    await assertRejects(() => run(join(folder, "nowhere")), UserError, "no such folder");
    write(folder, tinyGolden());
    Deno.removeSync(data);
    await refuses("no such file");
    write(folder, tinyGolden());
    Deno.removeSync(json);
    await refuses("op_rmsnorm.json is missing");
    const lacking = tinyGolden();
    lacking.tensors.pop();
    write(folder, lacking);
    await refuses('no tensor "tiny/out/dweight"');
    const misshapen = tinyGolden();
    misshapen.tensors[4]!.shape = [3, 2];
    write(folder, misshapen);
    await refuses("its shape is [3,2], not [2,3]");
    write(folder, tinyGolden());
    Deno.truncateSync(data, Deno.statSync(data).size - 4);
    await refuses("not a whole safetensors file");
    const unlimited = tinyGolden();
    (unlimited.json.cases as { tol: Record<string, unknown> }[])[0]!.tol = {};
    write(folder, unlimited);
    await refuses("no tolerance");
    write(folder, { ...tinyGolden(), json: { op: "rmsnorm", cases: [] } });
    await refuses("it has no cases");
    write(folder, tinyGolden());
    Deno.writeTextFileSync(json, "{");
    await refuses("not valid JSON");
  }));

Deno.test("goldens: the command exits with 1 on a FAIL and prints its counts as JSON", () =>
  inFolder(async (folder) => {
    const changed = tinyGolden();
    changed.tensors[3]!.data = new Float32Array(6);
    write(folder, changed);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(ROOT, "main.ts"), "goldens", folder, "--json"],
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals(code, EXIT.failed);
    assert(lines.some((line) => /^rmsnorm\/tiny y \S+ 1.0e-5 FAIL$/.test(line)), lines.join("\n"));
    const { passed, failed, skipped } = JSON.parse(lines.at(-1)!);
    assertEquals([passed, failed, skipped], [2, 1, 0]);
  }));

Deno.test("goldens: compare follows the rule, and NaN or another length never passes", () => {
  assertEquals(compare([1, 2.00001], [1, 2], 1e-5).ok, true);
  assertEquals(compare([1, 2.0001], [1, 2], 1e-5).ok, false);
  assertEquals(compare([NaN, 2], [1, 2], 1e-5).ok, false);
  assertEquals(compare([1, NaN], [1, 2], 1e-5).ok, false);
  assertEquals(compare([Infinity], [1], 1e-5).ok, false);
  assertEquals(compare([1], [1, 2], 1e-5).ok, false);
  assertEquals(compare([5e-8], [0], 1e-5).ok, true);
  assertEquals(compare([2e-7], [0], 1e-5).ok, false);
  assertEquals(compare([3, 4], [3, 4], 0), { error: 0, limit: 0, ok: true });
  assertEquals(compare([3, 5], [3, 4], 0).ok, false);
});

Deno.test("goldens: (b, d, l) and rows (b l, d) are each other's inverse", () => {
  const values = Float64Array.from({ length: 24 }, (_, i) => i);
  const rows = toRows(values, 2, 3, 4);
  assertEquals([...rows.subarray(0, 3)], [0, 4, 8]);
  assertEquals(fromRows(rows, 2, 3, 4), values);
});
