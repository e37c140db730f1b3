/**
 * What each rank of `bench ranks` does: real training steps of a small model, or the exchange of a
 * large model's gradients beside a given time of computing, and the speeds of the exchange's pieces
 * alone. Rank 0 prints one line of JSON.
 * @module
 */
import { consoleReporter } from "../core/reporter.ts";
import { fail } from "../core/errors.ts";
import { detectLaunch } from "../core/mpi/launch.ts";
import { type Bytes, joinRanks, type Ranks } from "../core/mpi/ranks.ts";
import type { Device } from "../kernels/device.ts";
import { type Region, subregion } from "../kernels/layout.ts";
import { openDevice } from "../kernels/open_device.ts";
import { Plan } from "../kernels/plan.ts";
import { addInto, sumOfSquaresScratch } from "../kernels/reduce/reduce.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import { allocateExchange, freeExchange, RankExchange } from "../model/mamba/gpu/rank_exchange.ts";
import { BUCKET_BYTES, cutBuckets } from "../model/mamba/gpu/rank_slices.ts";
import { createMamba } from "../model/mamba/mamba.ts";
import { Random } from "../model/mamba/random.ts";
import { quickParameters } from "./quick_parameters.ts";
import type { ExchangeRates } from "./ranks_model.ts";
import { randomBatch } from "./training_step.ts";

/** What the ranks are asked to do, as the one word of their command line. */
export type RankTask =
  | { kind: "train"; config: MambaConfig; rows: number; length: number; steps: number }
  | { kind: "exchange"; bytes: number; computeSeconds: number; steps: number };

/** A rank's mean step. */
export interface RankStep {
  /** Of the whole step. */
  seconds: number;
  /** In which the rank waited for slower ones. */
  waiting: number;
  /** Within MPI's calls. */
  calling: number;
  /** In which the exchange copied and summed: known where computing is a given time. */
  copying?: number;
  /** Bytes that it sent to the others. */
  sent: number;
}

/** What rank 0 prints. */
export interface RanksReport {
  /** The MPI library; "" for a process alone. */
  library: string;
  device: string;
  /** Every rank's mean step, by rank. */
  steps: RankStep[];
  /** The pieces of the exchange by themselves: the slowest rank's. */
  rates?: ExchangeRates;
}

/** Steps before those that count: the first compiles. */
const WARM_UP = 1;
/** Buckets that a piece of the exchange is timed over, at most. */
const TIMED_BUCKETS = 8;
/** Usage of the buffers that are read from: MAP_READ | COPY_DST. */
const STAGING = 1 | 8;
const UPDATE = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 1,
};

/** Runs `step` with and without counting, and returns the mean of what counts. */
async function meanStep(
  ranks: Ranks | undefined,
  count: number,
  step: (index: number) => Promise<number>,
): Promise<RankStep> {
  const sum: Required<RankStep> = { seconds: 0, waiting: 0, calling: 0, copying: 0, sent: 0 };
  for (let index = 0; index < WARM_UP + count; index++) {
    await ranks?.barrier();
    const waited = ranks?.waitingSeconds ?? 0;
    const called = ranks?.seconds ?? 0;
    const sent = ranks?.bytesSent ?? 0;
    const start = performance.now();
    const computing = await step(index);
    const seconds = (performance.now() - start) / 1000;
    if (index < WARM_UP) continue;
    const waiting = (ranks?.waitingSeconds ?? 0) - waited;
    const calling = (ranks?.seconds ?? 0) - called;
    sum.seconds += seconds / count;
    sum.waiting += waiting / count;
    sum.calling += calling / count;
    sum.copying += (seconds - computing - waiting - calling) / count;
    sum.sent += ((ranks?.bytesSent ?? 0) - sent) / count;
  }
  return sum;
}

/** Whole steps of a model: every rank has its share of the rows. */
async function trainingSteps(
  device: Device,
  ranks: Ranks | undefined,
  { config, rows, length, steps }: RankTask & { kind: "train" },
): Promise<RankStep> {
  const share = rows / (ranks?.size ?? 1);
  const options = { batchSize: share, sequenceLength: length, ...(ranks ? { ranks } : {}) };
  const model = await createMamba(device, config, options);
  try {
    model.writeParameters(quickParameters(config));
    const random = new Random(1 + (ranks?.rank ?? 0), "bench ranks");
    const { copying: _, ...mean } = await meanStep(ranks, steps, async (index) => {
      const batch = randomBatch({ name: "", config, batch: share, length }, random);
      model.accumulate(batch, 1 / (rows * length));
      await model.update({ ...UPDATE, step: index + 1 });
      await model.report();
      return 0;
    });
    return mean;
  } finally {
    model.destroy();
  }
}

/** Bytes whose sum over the ranks is looked at after each exchange. */
const CHECKED_BYTES = 1024;

/** Steps that compute for a given time, and exchange so many bytes of gradients. */
async function exchangeSteps(
  device: Device,
  ranks: Ranks,
  { bytes, computeSeconds, steps }: RankTask & { kind: "exchange" },
): Promise<RankStep> {
  const gradients = device.allocate("gradients", bytes);
  const range = { arena: 0, start: 0, rate: 1, decay: true, gradient: gradients };
  const buckets = cutBuckets(device, [range], ranks.size);
  const partialBytes = 4 * sumOfSquaresScratch({ device }, [gradients]);
  const partials = device.allocate("square sums", partialBytes);
  const sizes = { ranks: ranks.size, partials: partialBytes };
  const buffers = allocateExchange(device, buckets, sizes);
  const exchange = new RankExchange(device, { ranks, buckets, losses: [], partials, buffers });
  const expected = ranks.size * (ranks.size + 1) / 2;
  // The end of the gradients, so that every bucket before it has to be done.
  const checked = subregion(gradients, bytes - CHECKED_BYTES, CHECKED_BYTES);
  try {
    return await meanStep(ranks, steps, async () => {
      device.write(checked, new Float32Array(CHECKED_BYTES / 4).fill(ranks.rank + 1));
      const start = performance.now();
      await new Promise((resolve) => setTimeout(resolve, computeSeconds * 1000));
      const computing = (performance.now() - start) / 1000;
      await exchange.sum();
      await exchange.gatherPartials();
      await exchange.gather(({ inArena, size }) => subregion(gradients, inArena, size));
      const values = await device.readFloats(checked);
      if (values.some((value) => value !== expected)) fail("the ranks' sum is wrong");
      return computing;
    });
  } finally {
    exchange.destroy();
    freeExchange(device, buffers);
    for (const region of [gradients, partials]) device.free(region);
  }
}

/** The pieces of an exchange alone, all ranks at once: bytes of a bucket per second. */
async function measureRates(
  device: Device,
  ranks: Ranks,
  exchanged: number,
): Promise<ExchangeRates> {
  const { size, rank } = ranks;
  const times = Math.min(TIMED_BUCKETS, Math.ceil(exchanged / BUCKET_BYTES));
  const part = Math.ceil(BUCKET_BYTES / 512 / size) * 512;
  const offsets = Array.from({ length: size }, (_, r) => Math.min(r * part, BUCKET_BYTES));
  const lengths = offsets.map((offset) => Math.min(part, BUCKET_BYTES - offset));
  const length = lengths[rank] ?? 0;
  const bucket = device.allocate("bucket", BUCKET_BYTES);
  const staging = device.allocate("staging", BUCKET_BYTES, STAGING);
  const received = lengths.map((_, r) => device.allocate(`part from rank ${r}`, part));
  const sum = new Plan(device);
  const [first] = received;
  if (!first) throw new RangeError("There are no ranks");
  for (const more of received.slice(1)) addInto(sum, first, more);
  sum.copy(subregion(first, 0, length), subregion(bucket, 0, length));
  // As the exchange has it, the program's memory is used again for every bucket.
  const bytes = new Uint8Array(BUCKET_BYTES);
  const coming = new Uint8Array(part * size);
  const read = () => readThrough(device, bucket, staging, bytes);
  const all = lengths.map(() => length);
  const timed = async (piece: () => Promise<unknown> | void) => {
    await piece();
    await device.idle();
    await ranks.barrier();
    const start = performance.now();
    for (let time = 0; time < times; time++) await piece();
    await device.idle();
    return times * BUCKET_BYTES / ((performance.now() - start) / 1000);
  };
  try {
    const rates: ExchangeRates = {
      read: await timed(read),
      write: await timed(() => device.write(bucket, bytes)),
      deal: await timed(() => ranks.exchangeBytes(bytes, lengths, all, coming)),
      sum: await timed(() => sum.submit()),
      gather: await timed(async () => {
        await ranks.gather(
          bytes.subarray(0, length),
          coming.subarray(0, BUCKET_BYTES),
          offsets,
          lengths,
        );
      }),
    };
    const everyone = await ranks.gatherValues(rates);
    const slowest = (name: keyof ExchangeRates) => Math.min(...everyone.map((one) => one[name]));
    return {
      read: slowest("read"),
      write: slowest("write"),
      deal: slowest("deal"),
      sum: slowest("sum"),
      gather: slowest("gather"),
    };
  } finally {
    sum.destroy();
    for (const region of [bucket, staging, ...received]) device.free(region);
  }
}

/** Reads a region as the exchange does: a copy on the device, then one out of mapped memory. */
async function readThrough(
  device: Device,
  from: Region,
  staging: Region,
  into: Bytes,
): Promise<void> {
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(from.buffer, from.offset, staging.buffer, 0, from.size);
  device.gpu.queue.submit([encoder.finish()]);
  await staging.buffer.mapAsync(GPUMapMode.READ, 0, from.size);
  into.set(new Uint8Array(staging.buffer.getMappedRange(0, from.size)));
  staging.buffer.unmap();
}

if (import.meta.main) {
  const task = JSON.parse(Deno.args[0] ?? "{}") as RankTask;
  const launch = detectLaunch();
  const ranks = launch ? joinRanks(launch) : undefined;
  const device = await openDevice();
  const own = task.kind === "train"
    ? await trainingSteps(device, ranks, task)
    : await exchangeSteps(device, ranks ?? fail("an exchange needs ranks"), task);
  const rates = ranks && task.kind === "exchange"
    ? await measureRates(device, ranks, task.bytes)
    : undefined;
  const steps = ranks ? await ranks.gatherValues(own) : [own];
  const report: RanksReport = {
    library: ranks?.library ?? "",
    device: device.description,
    steps,
    ...(rates ? { rates } : {}),
  };
  if (!ranks || ranks.rank === 0) consoleReporter().line(JSON.stringify(report));
  ranks?.close();
  device.destroy();
}
