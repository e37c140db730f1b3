/** A run or a checkpoint as a model to be evaluated: with the weights that its validation scored. @module */
import { exists } from "../../core/files.ts";
import { dirname, join, resolve } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { openSafetensors } from "../../core/safetensors.ts";
import { mergedFolder, type ModelFolder, openModelFolder } from "../weights/mod.ts";
import { AVERAGE, listCheckpoints, openNewestCheckpoint, STATE } from "./checkpoint.ts";
import { isRun, readRun } from "./run_file.ts";

/**
 * Opens a model folder, a checkpoint or a run. Of a run it is the checkpoint with the lowest validation
 * loss, or the newest where none was computed; of a checkpoint whose run keeps an average of the weights
 * and scores that, it is the average.
 * @param log hears which weights they are, where that is a choice
 * @throws {UserError} where there is no such folder, or the run has no checkpoint yet.
 */
export function openScoredWeights(
  path: string,
  log: (message: string) => void = () => {},
): ModelFolder {
  const checkpoint = isRun(path) ? scoredCheckpoint(path, log) : path;
  const folder = openModelFolder(checkpoint);
  const file = join(checkpoint, AVERAGE);
  if (!exists(join(checkpoint, STATE)) || !exists(file) || !scoresAverage(checkpoint)) {
    if (checkpoint !== path) log(`Taking ${checkpoint}`);
    return folder;
  }
  log(`Taking the averaged weights of ${checkpoint}, which its run scores`);
  const average = openSafetensors(file);
  // Of a run that trains adapters there are averages of these alone.
  const apart = folder.unmerged ?? folder;
  const read = (name: string) =>
    average.tensors.has(name) ? average.floats(name) : apart.read(name);
  return {
    ...mergedFolder(apart, read),
    averaged: true,
    close() {
      average.close();
      folder.close();
    },
  };
}

/** The folder of a run's checkpoint that validation chose. */
function scoredCheckpoint(run: string, log: (message: string) => void): string {
  const newest = openNewestCheckpoint(run, log);
  if (!newest) {
    throw new UserError(`Cannot use the run ${run} as a model: it has no checkpoint yet`);
  }
  const { path, state: { best } } = newest;
  newest.close();
  return listCheckpoints(run).find(({ step }) => step === best?.step)?.path ?? path;
}

/** Whether the run of a checkpoint scores the average; so it is by default, where no run is found. */
function scoresAverage(checkpoint: string): boolean {
  const run = dirname(dirname(resolve(checkpoint)));
  return !isRun(run) || readRun(run).config.validation.weights === "average";
}
