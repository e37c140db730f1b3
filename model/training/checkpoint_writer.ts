/**
 * Writes a checkpoint tensor by tensor, in a fixed order. Whoever saves hands the tensors over in that
 * order as they come from the device, so that no tensor has to wait in memory for another.
 * @module
 */
import { collectGarbage } from "../../core/collect.ts";
import { hashFile, writeAtomic } from "../../core/files.ts";
import { createSafetensors, type SafetensorsWriter } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import {
  AVERAGE,
  checkpointPath,
  OPTIMIZER,
  removeCheckpoint,
  STATE,
  type StateFile,
  type TrainerState,
} from "./checkpoint.ts";
import {
  type CheckpointSlot,
  type CheckpointTensor,
  checkpointTensors,
  type TrainableModel,
  trainedParameters,
} from "../mamba/mod.ts";
import { AdapterFolderWriter, type FolderContents, ModelFolderWriter } from "../weights/mod.ts";

/** What a checkpoint holds besides tensors and the trainer's state. */
export interface CheckpointContents extends FolderContents {
  /** Whether averages are kept. */
  average: boolean;
}

/** A checkpoint under construction: a folder that gets its name in `finish`. */
export class CheckpointWriter {
  readonly #contents: CheckpointContents;
  readonly #folder: Pick<ModelFolderWriter, "folder" | "add" | "finish" | "abort">;
  readonly #path: string;
  readonly #tensors: CheckpointTensor[];
  #optimizer: SafetensorsWriter | undefined;
  #average: SafetensorsWriter | undefined;
  #next = 0;

  /** Removes an earlier checkpoint of the step: a damaged one that resuming has passed over. */
  constructor(run: string, step: number, contents: CheckpointContents) {
    this.#contents = contents;
    this.#path = checkpointPath(run, step);
    this.#tensors = checkpointTensors(contents.config, contents.average);
    removeCheckpoint(this.#path);
    // Of adapters the folder has what is trained alone: the base is where it was.
    this.#folder = contents.config.lora
      ? new AdapterFolderWriter(this.#path, contents)
      : new ModelFolderWriter(this.#path, contents);
  }

  /** Writes the next tensor of {@linkcode checkpointTensors}. */
  add(values: Float32Array): void {
    const tensor = this.#tensors[this.#next++];
    if (!tensor) throw new RangeError(`${this.#path} has all its tensors`);
    if (tensor.slot === "value") this.#folder.add(values);
    else if (tensor.slot === "average") (this.#average ??= this.#begin(AVERAGE)).write(values);
    else (this.#optimizer ??= this.#begin(OPTIMIZER)).write(values);
  }

  #begin(name: string): SafetensorsWriter {
    const list = trainedParameters(this.#contents.config);
    const dtype = "F32";
    const path = join(this.#folder.folder, name);
    if (name === AVERAGE) {
      const tensors = list.map(({ name, shape }) => ({ name, shape, dtype } as const));
      return createSafetensors(path, tensors, { format: "pt" });
    }
    return createSafetensors(
      path,
      list.flatMap(({ name, shape }) => [
        { name: `${name}.exp_avg`, shape, dtype },
        { name: `${name}.exp_avg_sq`, shape, dtype },
      ]),
    );
  }

  /** Writes the state with every file's checksum, and gives the folder its name. Returns its path. */
  finish(state: TrainerState): string {
    this.#optimizer?.commit();
    this.#average?.commit();
    this.#folder.finish((folder) => {
      const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
      const checksums = Object.fromEntries(names.map((n) => [n, hashFile(join(folder, n))]));
      const file: StateFile = { version: 1, ...state, checksums };
      writeAtomic(join(folder, STATE), JSON.stringify(file, null, 2) + "\n");
    });
    return this.#path;
  }

  /** Removes what was written. Harmless after `finish`. */
  abort(): void {
    this.#optimizer?.abort();
    this.#average?.abort();
    this.#folder.abort();
  }
}

/** Garbage is collected after so many bytes of tensors, each of which leaves copies behind. */
const COLLECT_BYTES = 128 << 20;

/** Saves model and state as the run's checkpoint of `state.step`. Returns its path. */
export async function saveCheckpoint(
  run: string,
  model: TrainableModel,
  state: TrainerState,
  extras: Pick<FolderContents, "tokenizer" | "card" | "taught">,
): Promise<string> {
  const { config } = model;
  const lossScale = await model.readLossScale?.();
  const read = await tensorReader(model);
  const average = model.keepsAverages;
  const writer = new CheckpointWriter(run, state.step, { config, average, ...extras });
  let bytes = 0;
  try {
    for (const { slot, parameter: { name } } of checkpointTensors(config, average)) {
      const values = await read(slot, name);
      if (!values) throw new RangeError(`The model keeps no ${slot} of ${name}`);
      writer.add(values);
      if ((bytes += values.byteLength) < COLLECT_BYTES) continue;
      collectGarbage();
      bytes = 0;
    }
    return writer.finish({ ...state, lossScale });
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/**
 * Another rank's part in {@linkcode saveCheckpoint}, which rank 0 calls meanwhile: moments and averages
 * are with their owners.
 */
export async function joinCheckpoint(model: TrainableModel): Promise<void> {
  for (
    const { slot, parameter: { name } } of checkpointTensors(model.config, model.keepsAverages)
  ) {
    if (slot !== "value") await model.readTensor?.(slot, name);
  }
}

/** Reads tensor by tensor where the model can: all tensors at once may take much of the memory. */
async function tensorReader(
  model: TrainableModel,
): Promise<(slot: CheckpointSlot, name: string) => Promise<Float32Array | undefined>> {
  if (model.readTensor) return model.readTensor.bind(model);
  const parameters = await model.readParameters();
  const moments = await model.readMoments();
  const averages = await model.readAverages();
  return (slot, name) =>
    Promise.resolve(
      slot === "value"
        ? parameters.get(name)
        : slot === "average"
        ? averages?.get(name)
        : moments.get(name)?.[slot],
    );
}
