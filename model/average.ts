/**
 * An exponential moving average of a run's weights, kept beside the model in main memory: it costs a
 * read-back every few steps and nothing on the device.
 * @module
 */
import { openSafetensors, writeSafetensors } from "../core/safetensors.ts";
import type { ReadParameter } from "./folder.ts";
import type { Parameter } from "./parameters.ts";

/** The file of a checkpoint that holds the average. */
export const AVERAGE_FILE = "average.safetensors";

/** The averaged weights, as float32 so that a resumed run goes on from the same values. */
export class WeightAverage {
  readonly #values: Map<string, Float32Array>;
  readonly #keep: number;

  /**
   * @param decay share of the average that is kept in one step.
   * @param every steps between updates; each keeps decay ^ every.
   * @param read the weights that it starts from.
   */
  constructor(
    readonly parameters: readonly Parameter[],
    decay: number,
    every: number,
    read: ReadParameter,
  ) {
    this.#keep = decay ** every;
    this.#values = new Map(parameters.map(({ name }) => [name, read(name).slice()]));
  }

  /** Takes in the present weights. */
  update(weights: ReadonlyMap<string, Float32Array>): void {
    const keep = this.#keep;
    for (const [name, average] of this.#values) {
      const present = weights.get(name)!;
      for (let i = 0; i < average.length; i++) {
        average[i] = keep * average[i]! + (1 - keep) * present[i]!;
      }
    }
  }

  /** Writes the average as tensors with the parameters' names. */
  write(path: string): void {
    const tensors = this.parameters.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32" as const,
      data: this.#values.get(name)!,
    }));
    writeSafetensors(path, tensors, { metadata: { format: "pt" } });
  }
}

/** The average of a checkpoint, one parameter at a time. */
export function readAverage(path: string): { read: ReadParameter; close(): void } {
  const file = openSafetensors(path);
  return { read: (name) => file.floats(name), close: () => file.close() };
}
