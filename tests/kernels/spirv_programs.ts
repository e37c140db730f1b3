/**
 * A program for spirv_test.ts: compiles every kernel of every variant once, so that whatever watches
 * the driver sees the SPIR-V that it is given. Prints how many programs there were.
 */
import { consoleReporter } from "../../core/reporter.ts";
import { VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { presetConfig } from "../../model/mamba/config.ts";
import { plannedKernels } from "../../model/mamba/gpu/planned_kernels.ts";

const device = await openDevice();
const programs = new Map<string, string>();
for (const model of ["mamba-130m", "mamba2-130m"]) {
  for (const variant of VARIANTS) {
    for (const precision of ["f32", "mixed"] as const) {
      const config = presetConfig(model);
      const setting = { config, variant, precision, batchSize: 8, sequenceLength: 1024 };
      for (const { code, label } of plannedKernels(setting)) programs.set(code, label);
    }
  }
}
for (const [code, label] of programs) {
  await device.guard(`compile ${label}`, () => device.pipeline(label, code));
}
device.destroy();
consoleReporter().line(`${programs.size} programs`);
