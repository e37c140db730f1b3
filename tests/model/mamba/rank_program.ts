/**
 * What each process of rank_slices_test.ts does: two updates of small models whose micro-batches it shares
 * with the other ranks. It prints what it allocated and, as rank 0, digests of all that training
 * determines. Started alone it computes all lanes. Arguments choose among the models.
 * @module
 */
import { sha256 } from "../../../core/files.ts";
import { detectLaunch } from "../../../core/mpi/launch.ts";
import { joinRanks } from "../../../core/mpi/ranks.ts";
import { consoleReporter } from "../../../core/reporter.ts";
import type { MambaConfig } from "../../../model/mamba/config.ts";
import { checkpointTensors } from "../../../model/mamba/checkpoint_tensors.ts";
import { createMamba, type Mamba, type MambaOptions } from "../../../model/mamba/mamba.ts";
import { withLora } from "../../../model/mamba/parameters.ts";
import type { Moments } from "../../../model/mamba/types.ts";
import { batchOf, values, WIDE, WIDE2, withDevice } from "../device_helpers.ts";

const LANES = 4;
const ROWS = 2;
const LENGTH = 19;
const UPDATE = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 0.5,
};
const LORA = { targets: "linear,embedding", rank: 5, alpha: 8, dropout: 0.1, rootScale: false };
/** Each layer at another rate, the first one not at all. */
const rate = ({ name }: { name: string }) => {
  const layer = /layers\.(\d+)/.exec(name)?.[1];
  return layer === undefined ? 1 : Number(layer) / 2;
};

const CASES: [string, MambaConfig, { variant: string }, Partial<MambaOptions>][] = [
  ["f32", WIDE, { variant: "cpu-subgroup" }, { averageDecay: 0.9 }],
  ["tiled, by layers", WIDE2, { variant: "gpu-tiled" }, { averageDecay: 0.9, rate }],
  ["mixed", WIDE, { variant: "cpu-subgroup" }, { averageDecay: 0.5, precision: "mixed" }],
  ["adapters", withLora(WIDE, LORA), { variant: "cpu-subgroup" }, { averageDecay: 0.9 }],
];

const launch = detectLaunch();
const ranks = launch && joinRanks(launch);
const rank = ranks?.rank ?? 0;
const lanes = LANES / (ranks?.size ?? 1);

/** Moments that no step has made: what a rank takes of a checkpoint. */
function begun(name: string, size: number): Moments {
  const m = Float32Array.from({ length: size }, (_, i) => Math.sin(name.length + i) / 100);
  return { m, v: m.map((x) => x * x) };
}

async function step(model: Mamba, number: number) {
  for (let lane = rank * lanes; lane < (rank + 1) * lanes; lane++) {
    const batch = batchOf(model.config, ROWS, LENGTH, 10 * number + lane);
    model.accumulate({ ...batch, dropoutSeed: 10 * number + lane }, 0.01);
    if (lanes > 1) model.endLane();
  }
  await model.update({ ...UPDATE, step: number });
  return await model.report();
}

/** The SHA-256 of all tensors that are there. */
async function digest(model: Mamba): Promise<string> {
  const parts: string[] = [];
  for (const { slot, parameter } of checkpointTensors(model.config, model.keepsAverages)) {
    const tensor = await model.readTensor(slot, parameter.name);
    if (tensor) parts.push(sha256(new Uint8Array(tensor.buffer)));
  }
  return sha256(parts.join());
}

/** The SHA-256 of a snapshot, read in pieces that end anywhere. */
async function snapshotDigest(model: Mamba): Promise<string> {
  const snapshot = await model.snapshot();
  if (!snapshot) throw new Error("no room for a snapshot");
  const pieces: ArrayBuffer[] = [];
  for (let own; (own = await snapshot.read());) {
    const whole = snapshot.join ? await snapshot.join(own) : own;
    if (whole) pieces.push(whole);
  }
  snapshot.destroy();
  return sha256(new Uint8Array(await new Blob(pieces).arrayBuffer()));
}

for (const [name, config, setting, changes] of CASES) {
  if (Deno.args.length && !Deno.args.includes(name)) continue;
  await withDevice(setting, async (device) => {
    const options = { batchSize: ROWS, sequenceLength: LENGTH, ...changes, lanes, ranks };
    const model = await createMamba(device, config, options);
    const allocated = device.allocatedBytes;
    const { sliced } = model.store;
    const moments = sliced
      ? sliced.bytes("m") + sliced.bytes("v")
      : model.store.arenas.flatMap(({ regions: { m, v } }) => [m?.size ?? 0, v?.size ?? 0])
        .reduce((sum, bytes) => sum + bytes, 0);
    const sizes = new Map(
      checkpointTensors(config, false).map(({ parameter }) => [parameter.name, parameter.size]),
    );
    model.writeParameters(values(config));
    model.writeMoments((name) => begun(name, sizes.get(name) ?? 0));
    const loaded = await digest(model);
    const first = await step(model, 1);
    await model.swapAverages();
    const averaged = await model.evaluate(batchOf(config, ROWS, LENGTH, 77));
    await model.swapAverages();
    const second = await step(model, 2);
    const trained = await digest(model);
    const snapshot = await snapshotDigest(model);
    model.destroy();
    const told = {
      name,
      left: device.allocatedBytes,
      rank,
      planned: model.memory.total,
      exchange: model.memory.parts.find((part) => part.name === "exchange between ranks")?.bytes ??
        0,
      allocated,
      moments,
      plannedMoments: model.memory.parts.filter((part) => part.name.endsWith(" moments"))
        .reduce((sum, { bytes }) => sum + bytes, 0),
      reports: [first, second],
      averaged: averaged.nll,
      ...(rank ? {} : { loaded, trained, snapshot }),
    };
    consoleReporter().line(JSON.stringify(told));
  });
}
ranks?.close();
