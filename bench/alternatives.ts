/** The section of `bench gpu` on other ways of writing the same kernels. @module */
import { type AlternativeName, describeAlternative } from "../kernels/alternatives.ts";
import { type AlternativeFigure, measureAlternatives } from "../kernels/alternatives_timing.ts";
import type { Device } from "../kernels/device.ts";
import { Workbench } from "../kernels/workbench.ts";
import { type KernelShapes, kernelSubjects } from "../model/mamba/gpu/kernel_subjects.ts";

/** Measures alternatives of the kernels at a model's shapes; see `kernels/alternatives.ts`. */
export async function measureModelAlternatives(
  device: Device,
  shapes: KernelShapes,
  names: readonly AlternativeName[],
  budgetMs: number,
): Promise<AlternativeFigure[]> {
  const bench = new Workbench(device);
  try {
    const subjects = kernelSubjects(bench, shapes);
    return await measureAlternatives(device, { subjects, names, budgetMs });
  } finally {
    bench.clear();
  }
}

/** The headings of {@linkcode alternativeRows}. */
export const ALTERNATIVE_HEADINGS = ["kernel", "alternative", "value", "ms", "of the default's"];

/** A table of figures: a line for each value, the best of each kernel and alternative marked. */
export function alternativeRows(figures: readonly AlternativeFigure[]): string[][] {
  return figures.map((figure) => {
    const { kernel, alternative, value, ms, error, isDefault } = figure;
    const rivals = figures.filter((f) => f.kernel === kernel && f.alternative === alternative);
    const usual = rivals.find((f) => f.isDefault)?.ms;
    const best = Math.min(...rivals.map((f) => f.ms ?? Infinity));
    const share = ms !== undefined && usual ? `${(100 * ms / usual).toFixed(0)} %` : "";
    const notes = [
      ms === best ? "best" : "",
      describeAlternative(alternative).sameBits ? "" : "other bits",
    ];
    return [
      isDefault ? kernel : "",
      isDefault ? alternative : "",
      String(value),
      ms === undefined ? `failed: ${error}` : ms.toFixed(3),
      [share, ...notes].filter(Boolean).join(", "),
    ];
  });
}
