/**
 * Which tensors a checkpoint holds, in which order. A snapshot hands them over in this order, so that
 * whoever writes them needs none but the one at hand in memory.
 * @module
 */
import type { MambaConfig } from "./config.ts";
import { type Parameter, trainedParameters } from "./parameters.ts";

/** What of a parameter a checkpoint holds. */
export type CheckpointSlot = "value" | "m" | "v" | "average";

/** One of its tensors. */
export interface CheckpointTensor {
  slot: CheckpointSlot;
  parameter: Parameter;
}

/**
 * Every tensor of a checkpoint in order: weights, both moments of each, averages where kept. What is
 * frozen beside adapters is not among them.
 */
export function checkpointTensors(config: MambaConfig, average: boolean): CheckpointTensor[] {
  const list = trainedParameters(config);
  const all = (slot: CheckpointSlot) => list.map((parameter) => ({ slot, parameter }));
  return [
    ...all("value"),
    ...list.flatMap((parameter): CheckpointTensor[] => [
      { slot: "m", parameter },
      { slot: "v", parameter },
    ]),
    ...(average ? all("average") : []),
  ];
}
