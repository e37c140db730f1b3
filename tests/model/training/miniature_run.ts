/** Runs of the miniature model on an invented corpus, and what is compared of them. @module */
import { exists } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath } from "../../../model/training/checkpoint.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import type { TrainRequest } from "../../../model/training/run.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import {
  inventedCorpus,
  makeReference,
  MINIATURE,
  MINIATURE_TOKENIZER,
  silentReporter,
} from "../helpers.ts";

/** A miniature model folder, and a request to train it. */
export function prepare(dir: string, changes: Partial<TrainRequest> = {}): TrainRequest {
  const init = join(dir, "init");
  if (!exists(init)) {
    const read = initialParameters(MINIATURE, 7);
    writeModelFolder(init, { config: MINIATURE, read, tokenizer: MINIATURE_TOKENIZER });
  }
  return {
    corpus: inventedCorpus(),
    init,
    out: join(dir, "run"),
    config: {
      steps: 12,
      batch: { rows: 3 },
      optimizer: { learning_rate: 0.01 },
      checkpoint: { every: 5, keep: 2 },
      validation: { every: 4 },
    },
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

/** Every file of a checkpoint that training determines, by name. */
export function bytesOf(run: string, step: number): Map<string, Uint8Array> {
  const folder = checkpointPath(run, step);
  return new Map(
    ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"].map(
      (name) => [name, Deno.readFileSync(join(folder, name))],
    ),
  );
}

/** What two runs' metrics must share: everything but the clock. */
export const withoutClock = (run: string) =>
  readMetrics(run).map(({ tokens_per_second: _, ...rest }) => rest);

/** The reference model, which calls `onUpdate` before each of its updates. */
export const observed =
  (onUpdate: (step: number, model: ReferenceModel) => void): MakeModel =>
  (config, { batchSize, sequenceLength, ...terms }) => {
    class Observed extends ReferenceModel {
      override update(options: Parameters<ReferenceModel["update"]>[0]) {
        onUpdate(options.step, this);
        super.update(options);
      }
    }
    const model = new Observed(config, batchSize, sequenceLength, terms);
    return Promise.resolve({ model, device: "observed reference", close() {} });
  };
