/** A process for `kill_test.ts` to kill: trains, or goes on training, the folder that is its argument. */
import { isRun } from "../../model/run.ts";
import { trainRun } from "../../model/train_run.ts";
import { inventedCorpus, makeReference, silentReporter } from "./helpers.ts";

const out = Deno.args[0]!, resume = isRun(out);
await trainRun({
  corpus: inventedCorpus(),
  ...(resume ? {} : { init: "random:tiny" }),
  out,
  config: resume ? {} : {
    steps: 60,
    batch: { rows: 1 },
    optimizer: { learning_rate: 0.01 },
    average: { decay: 0.9 },
    checkpoint: { every: 2, keep: 2 },
    validation: { every: 10, rows: 2 },
  },
  resume,
  makeModel: makeReference,
  reporter: silentReporter(),
  signal: new AbortController().signal,
});
