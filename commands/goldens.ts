/** `goldens DIR`: is what this machine computes right? @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { EXIT, fail } from "../core/errors.ts";
import { openDevice } from "../kernels/open_device.ts";
import { describeUnits } from "../kernels/matrix_units.ts";
import { deviceModels, MIXED_FACTOR, runGoldens } from "../model/goldens/mod.ts";
import { deviceChoice, deviceOptions } from "./device_options.ts";
import { precisionOf, precisionOption } from "./precision_option.ts";

/** `deno task goldens`. */
export const command: Command = {
  name: "goldens",
  summary: "Compare the device's operations and models with golden results",
  description: "Runs every golden case in DIR (NAME.json with its .safetensors beside it) on the " +
    "device and prints one line for each tensor: case, tensor, largest relative error, limit, ok " +
    "or FAIL. Cases of operations that are not built are named as skipped. Exits with 1 on any " +
    "FAIL, and on a golden that is missing or malformed.",
  positionals: [{ name: "DIR", help: "a folder of golden cases", required: true }],
  options: {
    variant: deviceOptions.variant,
    provider: deviceOptions.provider,
    "matrix-units": deviceOptions["matrix-units"],
    precision: precisionOption,
  },
  examples: [
    "deno task goldens ../shared/goldens",
    "deno task goldens ../shared/goldens --variant gpu-tiled --json",
    "deno task goldens ../shared/goldens --precision mixed",
  ],
  async run(invocation) {
    const { positionals, json, reporter, string } = invocation;
    const device = await openDevice(deviceChoice(invocation));
    try {
      const precision = precisionOf({ string });
      if (precision === "mixed") device.requireHalf();
      reporter.log(
        `${device.description}, variant ${device.variant}, WebGPU of ${device.provider}, precision ${precision}${
          precision === "mixed" && device.matrixUnits
            ? `, matrix units ${describeUnits(device.matrixUnits)}`
            : ""
        }`,
      );
      if (precision === "mixed") {
        reporter.line(`mixed precision: limits are f32_rel x ${MIXED_FACTOR} where f16 has a part`);
      }
      const number = (x: number) => x === 0 ? "0" : x.toExponential(1);
      const models = deviceModels(device, precision);
      const summary = await runGoldens(
        positionals[0] ?? fail("the folder is missing"),
        device,
        models,
        {
          line({ case: name, tensor, error, limit, ok }) {
            const verdict = ok ? "ok" : "FAIL";
            reporter.line(`${name} ${tensor} ${number(error)} ${number(limit)} ${verdict}`);
          },
          skip: (name, why) => reporter.line(`${name} skipped: ${why}`),
        },
        precision,
      );
      const { passed, failed, skipped, worst } = summary;
      reporter.line(`${passed} passed, ${failed} failed, ${skipped} skipped`);
      if (json) reporter.line(jsonLine({ passed, failed, skipped, worst }));
      if (passed + failed === 0) reporter.log("Nothing was checked: no case here is built");
      return failed > 0 || passed === 0 ? EXIT.failed : EXIT.done;
    } finally {
      device.destroy();
    }
  },
};
