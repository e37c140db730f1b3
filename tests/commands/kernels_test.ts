/** `kernels`: every program of a model's steps, without a device. */
import { command } from "../../commands/kernels.ts";
import { parseInvocation } from "../../core/cli.ts";
import { UserError } from "../../core/errors.ts";
import type { Reporter } from "../../core/reporter.ts";
import { describeProgram } from "../../kernels/wgsl/describe.ts";
import { configOfSizes } from "../../model/mamba/config.ts";
import {
  KERNEL_STEPS,
  plannedKernels,
  type StepKernel,
} from "../../model/mamba/gpu/planned_kernels.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";

const SMALL = configOfSizes({ hiddenSize: 64, layers: 3, vocabSize: 100 });

/** What the command prints. */
async function printed(...words: string[]): Promise<string[]> {
  const lines: string[] = [];
  const reporter = { line: (text: string) => lines.push(text), log() {} } as unknown as Reporter;
  await command.run(parseInvocation(command, words, reporter, new AbortController().signal));
  return lines;
}

for (const variant of ["cpu-subgroup", "cpu-plain", "gpu-tiled"] as const) {
  for (const precision of ["f32", "mixed"] as const) {
    Deno.test(`every program of a step is described: ${variant}, ${precision}`, () => {
      const kernels = plannedKernels({
        config: SMALL,
        variant,
        precision,
        batchSize: 2,
        sequenceLength: 40,
      });
      assertEquals(KERNEL_STEPS.filter((step) => !kernels.some((k) => k.step === step)), []);
      for (const { label, bindings, workgroupSize, groups, code } of kernels) {
        // Every binding has its size but textures, and the numbers leave no gap.
        assertEquals(bindings.map((b) => b.binding), bindings.map((_, i) => i), label);
        const unknown = bindings.filter((b) => b.bytes === undefined);
        assertEquals(unknown.filter((b) => b.kind !== "texture"), [], label);
        const threads = workgroupSize[0] * workgroupSize[1] * workgroupSize[2];
        assert(threads >= 1 && threads <= 1024, `${label}: ${threads} invocations`);
        assert(groups.every((n) => n >= 1), label);
        assert(code.includes("fn main("), label);
      }
      const scans = kernels.filter((k) => k.label === "scan forward");
      assertEquals(scans.map((k) => k.dispatches), [SMALL.layers]);
    });
  }
}

Deno.test("a program's constants give its workgroup size", () => {
  const code = "const N: u32 = 32u;\n@group(0) @binding(1) var t: texture_2d<f32>;\n" +
    "@group(0) @binding(0)\nvar<storage, read> a: array<f32>;\n" +
    "@compute @workgroup_size(N, 4u) fn main() {}";
  assertEquals(describeProgram(code), {
    bindings: [
      { binding: 0, name: "a", kind: "storage, read", type: "array<f32>" },
      { binding: 1, name: "t", kind: "texture", type: "texture_2d<f32>" },
    ],
    workgroupSize: [32, 4, 1],
  });
  assertThrows(() => describeProgram("@workgroup_size(M) fn main() {}"), RangeError);
});

Deno.test("kernels: lists by step, prints one by name, and answers in JSON", async () => {
  const list = await printed("--model", "tiny");
  for (const step of KERNEL_STEPS) assert(list.includes(step), step);
  const text = await printed("rmsnorm-dx", "--model", "tiny", "--sequence-length", "64");
  assert(text[0]?.startsWith("// rmsnorm dx (train: loss and backward, 1 dispatch per step)"));
  assertEquals(text[1], "// workgroup: 64 x 1 x 1 invocations");
  assertEquals(text[2], "// dispatch: 512 x 1 x 1 workgroups");
  assert(text[3]?.startsWith("// binding 0: p, uniform, P, 16 bytes"));
  const json = JSON.parse((await printed("sum", "of", "squares", "--json")).at(-1) ?? "");
  const kernels = json.kernels as (StepKernel & { workgroup_size: number[] })[];
  assertEquals(kernels.map((k) => [k.label, k.step, k.workgroup_size]), [
    ["sum of squares", "train: update", [256, 1, 1]],
  ]);
  assert(kernels[0]?.code.includes("fn add_up("));
});

Deno.test("kernels: an unknown name is refused with those there are", async () => {
  let message = "";
  try {
    await printed("wobble", "--model", "tiny");
  } catch (error) {
    assert(error instanceof UserError);
    message = error.message;
  }
  assert(message.startsWith('No kernel here is called "wobble"; there are: adamw, '), message);
});
