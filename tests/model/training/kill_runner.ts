/**
 * A process for `kill_test.ts` to kill: trains, or goes on training, the folder that is its first
 * argument, on the float64 reference or, where a second one says so, on the device, which writes
 * checkpoints while steps go on.
 * @module
 */
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { isRun } from "../../../model/training/run_file.ts";
import { trainRun } from "../../../model/training/run.ts";
import { inventedCorpus, makeReference, silentReporter } from "../helpers.ts";

const out = Deno.args[0]!;
const device = Deno.args[1] === "device";
const resume = isRun(out);
await trainRun({
  corpus: inventedCorpus(),
  ...(resume ? {} : { init: "random:tiny" }),
  out,
  config: resume ? {} : {
    steps: device ? 40 : 60,
    batch: { rows: 1 },
    optimizer: { learning_rate: 0.01 },
    average: { decay: 0.9 },
    checkpoint: { every: 2, keep: 2 },
    validation: { every: 10, rows: 2 },
  },
  resume,
  makeModel: device ? deviceModel() : makeReference,
  reporter: silentReporter(),
  signal: new AbortController().signal,
});
