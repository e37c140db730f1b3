/**
 * Checkpoints: a Hugging Face model folder with the optimizer's moments and the trainer's place,
 * written (by checkpoint_writer.ts) whole or not at all, with a checksum of every file.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { exists, hashFile, readJson, removeIfExists } from "../../core/files.ts";
import { openSafetensors } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import type { Moments, ReadParameter } from "../mamba/mod.ts";
import { type ModelFolder, openModelFolder } from "../weights/mod.ts";
import type { LossScale } from "../../kernels/adamw/loss_scale.ts";
import type { SpikeEvent } from "./spikes.ts";

/** Where a run stands. */
export interface TrainerState {
  /** Updates done. */
  step: number;
  /** Rows of the training order used so far: the next one's index. */
  rows: number;
  /** Positions trained on so far, padding included. */
  tokens: number;
  /** The lowest validation loss so far, and its step. */
  best?: { step: number; loss: number };
  /** Of mixed precision. */
  lossScale?: LossScale;
  /** The steps left out, and those that the run went back from; absent where there were none. */
  spikes?: SpikeEvent[];
}

/** trainer_state.json: the state, and the SHA-256 of every other file by name. */
export interface StateFile extends TrainerState {
  version: 1;
  checksums: Record<string, string>;
}

/** The names of a checkpoint's files besides those of a model folder. */
export const STATE = "trainer_state.json";
export const OPTIMIZER = "optimizer.safetensors";
/** See {@linkcode STATE}. */
export const AVERAGE = "average.safetensors";

/** A checkpoint on disk. */
interface CheckpointPlace {
  path: string;
  step: number;
}

/** An open, verified checkpoint. */
export interface Checkpoint {
  path: string;
  state: TrainerState;
  /** Of a run that trains adapters: with these apart, as its configuration says. */
  folder: ModelFolder;
  /** AdamW's moments of one parameter. */
  moments(name: string): Moments;
  /** The averaged weights, where the run keeps them. */
  average: ReadParameter | undefined;
  close(): void;
}

/** The folder of a step's checkpoint. */
export function checkpointPath(run: string, step: number): string {
  return join(run, "checkpoints", `step-${String(step).padStart(8, "0")}`);
}

/** A run's checkpoints by ascending step; folders under construction are not among them. */
export function listCheckpoints(run: string): CheckpointPlace[] {
  const folder = join(run, "checkpoints");
  if (!exists(folder)) return [];
  return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    const step = /^step-(\d{8,})$/.exec(name)?.[1];
    return step === undefined ? [] : [{ path: join(folder, name), step: Number(step) }];
  }).sort((a, b) => a.step - b.step);
}

/** Removes a checkpoint; it loses its name first, so that half of one is never taken for whole. */
export function removeCheckpoint(path: string): void {
  if (!exists(path)) return;
  removeIfExists(`${path}.partial`, { recursive: true });
  Deno.renameSync(path, `${path}.partial`);
  Deno.removeSync(`${path}.partial`, { recursive: true });
}

/** Removes what a killed run left under construction. */
export function cleanCheckpoints(run: string): void {
  const folder = join(run, "checkpoints");
  if (!exists(folder)) return;
  for (const { name } of [...Deno.readDirSync(folder)]) {
    if (name.endsWith(".partial")) removeIfExists(join(folder, name), { recursive: true });
  }
}

/** Removes all but the last `keep` checkpoints and the one of step `best`. */
export function pruneCheckpoints(run: string, keep: number, best?: number): void {
  for (const { path, step } of listCheckpoints(run).slice(0, -keep)) {
    if (step !== best) removeCheckpoint(path);
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value);

/**
 * Opens a checkpoint after checking every file against its checksum.
 * @throws {UserError} naming the file that is missing or damaged.
 */
export function openCheckpoint(path: string): Checkpoint {
  const stateFile = join(path, STATE);
  const file = readJson<Partial<StateFile>>(stateFile, "checkpoint's state");
  const { version, checksums, step, rows, tokens, best, lossScale, spikes } = file;
  if (version !== 1 || !checksums || !isCount(step) || !isCount(rows) || !isCount(tokens)) {
    throw new UserError(`Cannot read the checkpoint's state ${stateFile}: it is not complete`);
  }
  for (const [name, sum] of Object.entries(checksums)) {
    const place = join(path, name);
    if (!exists(place) || hashFile(place) !== sum) {
      const what = exists(place) ? "does not have the checksum it was saved with" : "is missing";
      throw new UserError(`Cannot use the checkpoint ${path}: ${name} ${what}`);
    }
  }
  const opened = openModelFolder(path);
  const folder = opened.unmerged ?? opened;
  const moments = openSafetensors(join(path, OPTIMIZER));
  const averageFile = join(path, AVERAGE);
  const average = exists(averageFile) ? openSafetensors(averageFile) : undefined;
  return {
    path,
    state: {
      step,
      rows,
      tokens,
      ...(best ? { best } : {}),
      ...(lossScale ? { lossScale } : {}),
      ...(spikes ? { spikes } : {}),
    },
    folder,
    moments: (name) => ({
      m: moments.floats(`${name}.exp_avg`),
      v: moments.floats(`${name}.exp_avg_sq`),
    }),
    average: average && ((name) => average.floats(name)),
    close() {
      folder.close();
      moments.close();
      average?.close();
    },
  };
}

/**
 * Opens a run's newest checkpoint that is undamaged; `onDamaged` hears of the ones passed over.
 * Undefined where there is none.
 * @param wanted which steps' checkpoints come into question; by default all.
 */
export function openNewestCheckpoint(
  run: string,
  onDamaged: (message: string) => void,
  wanted: (step: number) => boolean = () => true,
): Checkpoint | undefined {
  for (const { path, step } of listCheckpoints(run).reverse()) {
    if (!wanted(step)) continue;
    try {
      return openCheckpoint(path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      onDamaged(error.message);
    }
  }
  return undefined;
}
