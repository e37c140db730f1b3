/** A small model whose every path carries a gradient, and batches for it. @module */
import { type Device } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { configOfSizes, mamba2OfSizes, type MambaConfig } from "../../model/mamba/config.ts";
import { initialParameters } from "../../model/mamba/initialize.ts";
import { parameterList } from "../../model/mamba/parameters.ts";
import { type Batch, IGNORED_TARGET } from "../../model/mamba/types.ts";

/** Three layers whose sizes fill no panel. */
export const WIDE = configOfSizes({ hiddenSize: 40, layers: 3, vocabSize: 101 });

/** The same of Mamba-2: 4 heads of 20 channels in 2 groups, each time step with limits. */
export const WIDE2 = mamba2OfSizes({
  hiddenSize: 40,
  layers: 3,
  vocabSize: 101,
  headSize: 20,
  groups: 2,
  stateSize: 16,
  timeStepLimit: [0.002, 0.12],
  normBeforeGate: true,
});

/** Parameters large enough that every path carries a gradient well above rounding. */
export function values(config: MambaConfig): (name: string) => Float32Array {
  const read = initialParameters(config, 5);
  const all = new Map(
    parameterList(config).map((p) => {
      const spread = p.name.endsWith("A_log") ? 0.01 : 0.05;
      return [p.name, read(p.name).map((x, i) => x * 1.2 + spread * Math.sin(i * 1.7))];
    }),
  );
  return (name) => all.get(name)!;
}

/** b packed rows of l tokens with documents of uneven lengths and ignored targets. */
export function batchOf(config: MambaConfig, b: number, l: number, seed = 0): Batch {
  const rows = b * l;
  return {
    tokens: Uint32Array.from(
      { length: rows },
      (_, i) => (i * 7 + seed + (i >> 3)) % config.vocabSize,
    ),
    starts: Uint8Array.from({ length: rows }, (_, i) => Number(i % l === 0 || i % 11 === 4)),
    targets: Int32Array.from(
      { length: rows },
      (_, i) => i % 5 === 2 ? IGNORED_TARGET : (i * 5 + seed) % config.vocabSize,
    ),
  };
}

/** max|got - want| / max|want|. */
export function worst(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let error = 0;
  let largest = 0;
  for (let i = 0; i < want.length; i++) {
    const e = Math.abs(got[i]! - want[i]!);
    if (!(e <= error)) error = e;
    largest = Math.max(largest, Math.abs(want[i]!));
  }
  return error / (largest || 1);
}

/** Opens a device for a test. */
export async function withDevice(
  options: Parameters<typeof openDevice>[0],
  body: (device: Device) => Promise<void>,
): Promise<void> {
  const device = await openDevice(options);
  try {
    await body(device);
  } finally {
    device.destroy();
  }
}
