/** What the adapters of a model work in, allocated. @module */
import { DROPOUT_BYTES } from "../../../kernels/dropout/dropout.ts";
import { matrixFloats } from "../../../kernels/layout.ts";
import type { MambaConfig } from "../config.ts";
import { kindOf } from "../kinds.ts";
import type { Workspace } from "./activations.ts";
import type { LowRankBuffers } from "./stored.ts";

/** Allocates what the adapters of a model need for so many rows; undefined where it has none. */
export function allocateLowRank(
  w: Workspace,
  config: MambaConfig,
  rows: number,
  { training, half }: { training: boolean; half: boolean },
): LowRankBuffers | undefined {
  const { lora } = config;
  if (!lora) return undefined;
  const mixer = kindOf(config).device;
  const widest = Math.max(mixer.widest(config), config.hiddenSize);
  const input = Math.max(mixer.output(config).width, config.hiddenSize);
  const dropout = training && lora.dropout > 0;
  const wide = Math.max(half ? widest : 0, dropout ? input : 0);
  const words = (what: string, columns: number) =>
    w.words(`adapters: ${what}`, matrixFloats(rows, columns));
  return {
    t: w.matrix("adapters: x A", rows, lora.rank),
    dt: w.matrix("adapters: gradient of x A", rows, lora.rank),
    ...(wide ? { wide: words("outputs", wide) } : {}),
    ...(dropout
      ? {
        dropped: {
          values: words("inputs without what is dropped", input),
          state: w.bytes("adapters: dropout", DROPOUT_BYTES),
        },
      }
      : {}),
  };
}
