/**
 * Has Dawn's compiler, without any driver, look at the programs for matrix units; prints what it says
 * against them, then how many it saw. Run in a process of its own: Dawn is native code.
 * @module
 */
import { matrixUnits } from "../../kernels/matrix_units.ts";
import { subgroupMatrixProgram } from "../../kernels/matmul/subgroup_matrix.ts";
import { unitBytes, unitChoices } from "../../kernels/matmul/unit_choice.ts";
import type { Operands, Product } from "../../kernels/matmul/mod.ts";
import { DAWN_PACKAGE } from "../../kernels/providers.ts";

const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
const dawn = await import(DAWN_PACKAGE) as { create(options: string[]): GPU };
const gpu = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
const adapter = (await gpu.requestAdapter())!;
const bytes = adapter.limits.maxComputeWorkgroupStorageSize;
const device = await adapter.requestDevice({
  requiredFeatures: [
    "shader-f16",
    "subgroups",
    "chromium-experimental-subgroup-matrix",
    "subgroup-size-control",
  ] as GPUFeatureName[],
  requiredLimits: { maxComputeWorkgroupStorageSize: bytes },
});
if (matrixUnits(adapter)) say("this adapter was thought to offer no shapes");

const f16 = { type: "f16" as const };
const f32 = {};
const STORED: [Operands, boolean][] = [
  [{ a: f16, b: f16, c: f32 }, false],
  [{ a: f16, b: f16, c: f16 }, false],
  [{ a: { exponent: 6 }, b: f16, c: f32 }, true],
  [{ a: f32, b: f32, c: f32, mixed: true }, false],
];
let seen = 0;
let built = 0;
for (
  const units of [
    { m: 16, n: 16, k: 16, lanes: 32 },
    { m: 16, n: 8, k: 16, lanes: 32 },
    { m: 8, n: 8, k: 8, lanes: 32 },
    { m: 8, n: 16, k: 16, lanes: 16, sized: true },
  ]
) {
  for (const product of ["NT", "NN", "TN"] as Product[]) {
    for (const [operands, residual] of STORED) {
      const limits = { workgroupBytes: 49152, matrixUnits: units };
      for (const choice of unitChoices(operands, limits).filter((c) => c.order === "n")) {
        const { code } = subgroupMatrixProgram(product, operands, choice, residual, units);
        device.pushErrorScope("validation");
        const module = device.createShaderModule({ code });
        // Pipelines check more, but this backend has little shared memory.
        const fits = unitBytes(choice, operands) <= bytes;
        if (fits) device.createComputePipeline({ layout: "auto", compute: { module } });
        const error = await device.popErrorScope();
        if (error) {
          say(`${product} ${JSON.stringify({ units, choice, operands })} ${error.message}`);
        }
        seen++;
        built += Number(fits);
      }
    }
  }
}
say(`${seen} programs, ${built} built`);
Deno.exit(0); // Dawn's threads would hold it
