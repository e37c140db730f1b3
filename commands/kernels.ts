/** `kernels [NAME]`: the programs that run on the GPU, to be read. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UserError } from "../core/errors.ts";
import type { Reporter } from "../core/reporter.ts";
import { parseAlternatives } from "../kernels/alternatives.ts";
import type { Variant } from "../kernels/device.ts";
import { presetConfig, PRESETS } from "../model/mamba/config.ts";
import {
  KERNEL_STEPS,
  plannedKernels,
  type StepKernel,
} from "../model/mamba/gpu/planned_kernels.ts";
import { alternativeOption, deviceOptions } from "./device_options.ts";
import { precisionOf, precisionOption } from "./precision_option.ts";

/** `deno task kernels`. */
export const command: Command = {
  name: "kernels",
  summary: "List the GPU kernels of a model's steps, or print one as WGSL",
  description:
    "Without a name, lists every kernel by the step that runs it. With a name, prints each " +
    "program of that name with its bindings, workgroup size and dispatch, as the device compiles " +
    "it. Nothing is computed and no GPU is needed: steps are planned for a device of the given " +
    "variant.",
  positionals: [{
    name: "NAME",
    help: "a kernel's name as listed, or a part of it: scan forward",
    variadic: true,
  }],
  options: {
    model: {
      type: "string",
      help: "the model whose steps are planned",
      choices: PRESETS,
      default: "mamba-130m",
    },
    variant: { ...deviceOptions.variant, default: "gpu-tiled", help: "the kernel variant" },
    precision: precisionOption,
    "batch-size": { type: "integer", help: "rows of a batch", min: 1, default: 8 },
    "sequence-length": { type: "integer", help: "tokens of a row", min: 1, default: 1024 },
    "subgroup-size": {
      type: "integer",
      help: "lanes of the device's subgroups, 0 for none; by default 32, on CPU drivers 8",
      min: 0,
    },
    alternative: alternativeOption,
  },
  examples: [
    "deno task kernels",
    "deno task kernels scan forward --model mamba-130m",
    "deno task kernels rmsnorm --variant cpu-subgroup --json",
  ],
  run(invocation) {
    const { positionals, reporter, json } = invocation;
    const kernels = plan(invocation);
    const wanted = wordsOf(positionals.join(" "));
    const chosen = wanted === "" ? kernels : choose(kernels, wanted);
    if (json) reporter.line(jsonLine({ kernels: chosen.map((k) => described(k, wanted)) }));
    else if (wanted === "") list(chosen, reporter);
    else chosen.forEach((kernel, i) => print(kernel, i, reporter));
    return Promise.resolve();
  },
};

function plan(invocation: Invocation): StepKernel[] {
  return plannedKernels({
    config: presetConfig(invocation.string("model") ?? "mamba-130m"),
    variant: (invocation.string("variant") ?? "gpu-tiled") as Variant,
    precision: precisionOf(invocation),
    batchSize: invocation.number("batch-size") ?? 8,
    sequenceLength: invocation.number("sequence-length") ?? 1024,
    subgroupSize: invocation.number("subgroup-size"),
    alternatives: parseAlternatives(invocation.list("alternative")),
  });
}

const times = (dispatches: number) => dispatches === 1 ? "1 dispatch" : `${dispatches} dispatches`;

const wordsOf = (name: string) => name.toLowerCase().replaceAll("-", " ").trim();

/** The kernels of that name, or else those whose names hold it. */
function choose(kernels: StepKernel[], wanted: string): StepKernel[] {
  const exact = kernels.filter(({ label }) => wordsOf(label) === wanted);
  const found = exact.length
    ? exact
    : kernels.filter(({ label }) => wordsOf(label).includes(wanted));
  if (found.length) return found;
  const names = [...new Set(kernels.map(({ label }) => label))].sort();
  throw new UserError(`No kernel here is called "${wanted}"; there are: ${names.join(", ")}`);
}

/** A kernel as JSON; the list leaves the text out. */
function described({ code, ...kernel }: StepKernel, wanted: string): Partial<StepKernel> {
  return wanted === "" ? kernel : { ...kernel, code };
}

/** One line for each name in each step. */
function list(kernels: StepKernel[], reporter: Reporter): void {
  for (const step of KERNEL_STEPS) {
    const names = new Map<string, { programs: number; dispatches: number }>();
    for (const { label, dispatches } of kernels.filter((kernel) => kernel.step === step)) {
      const sum = names.get(label) ?? { programs: 0, dispatches: 0 };
      names.set(label, { programs: sum.programs + 1, dispatches: sum.dispatches + dispatches });
    }
    reporter.line(step);
    for (const [label, { programs, dispatches }] of names) {
      const more = programs > 1 ? `, ${programs} programs` : "";
      reporter.line(`  ${label.padEnd(32)} ${times(dispatches)}${more}`);
    }
    reporter.line("");
  }
  reporter.line("deno task kernels NAME prints one of them");
}

function print(kernel: StepKernel, index: number, reporter: Reporter): void {
  const { label, step, dispatches, workgroupSize, groups, bindings, code } = kernel;
  if (index > 0) reporter.line("");
  reporter.line(`// ${label} (${step}, ${times(dispatches)} per step)`);
  reporter.line(`// workgroup: ${workgroupSize.join(" x ")} invocations`);
  reporter.line(`// dispatch: ${groups.join(" x ")} workgroups`);
  for (const { binding, kind, name, type, bytes } of bindings) {
    const size = bytes === undefined ? "" : `, ${bytes} bytes`;
    reporter.line(`// binding ${binding}: ${name}, ${kind}, ${type}${size}`);
  }
  reporter.line("");
  reporter.line(code.trimEnd());
}
