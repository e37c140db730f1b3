/**
 * Values of the device that several processes share: each holds the same regions, which are cut into
 * buckets, and each bucket into as many parts as there are ranks. Rank r owns part r of every bucket.
 *
 * Summing: every rank gives each owner its part (Alltoallv), and the owner adds what came in a fixed
 * binary tree over the ranks, on the device, so that the result does not depend on a library's order.
 * Gathering: owners give their parts to all (Allgatherv). Together they move as few bytes as a ring does.
 * @module
 */
import type { Bytes, Ranks } from "../../../core/mpi/ranks.ts";
import type { Device } from "../../../kernels/device.ts";
import { type Region, subregion } from "../../../kernels/layout.ts";
import { Plan } from "../../../kernels/plan.ts";
import { addInto } from "../../../kernels/reduce/reduce.ts";

/** Bytes of a bucket: enough that a call's fixed cost does not count, few enough to overlap them. */
const BUCKET_BYTES = 25 << 20;
/** A part begins at a multiple of this, so that it can be bound, and its f16 copy too. */
const PART_UNIT = 512;
/** Bytes of a buffer for parts at least: a rank may have none. */
const LEAST_PART = 256;
/** Usage of the buffers that are read from: MAP_READ | COPY_DST. */
const STAGING = 1 | 8;

/** A stretch of a region. */
interface Bucket {
  region: Region;
  /** Where each rank's part begins, in bytes of the bucket, and how many bytes it has. */
  offsets: number[];
  lengths: number[];
}

/** Cuts regions into buckets, and these into parts of nearly equal size, one for each rank. */
export function cutBuckets(
  regions: readonly Region[],
  ranks: number,
  bucketBytes: number = BUCKET_BYTES,
): Bucket[] {
  const step = Math.ceil(bucketBytes / PART_UNIT) * PART_UNIT;
  return regions.flatMap((region) => {
    const buckets: Bucket[] = [];
    for (let at = 0; at < region.size; at += step) {
      const bucket = subregion(region, at, Math.min(step, region.size - at));
      const each = Math.ceil(bucket.size / PART_UNIT / ranks) * PART_UNIT;
      const offsets = Array.from({ length: ranks }, (_, r) => Math.min(r * each, bucket.size));
      const lengths = offsets.map((offset) => Math.min(each, bucket.size - offset));
      buckets.push({ region: bucket, offsets, lengths });
    }
    return buckets;
  });
}

/** Sums regions over the ranks of a job. */
export class RankExchange {
  readonly #device: Device;
  readonly #ranks: Ranks;
  readonly #buckets: Bucket[];
  /** Two, so that one is read while the other is sent. */
  readonly #staging: Region[];
  /**
   * What each rank sent of a bucket's own part, in a buffer of its own, as a kernel may not read and write
   * the same; and the plan by bucket that adds them up.
   */
  readonly #received: Region[];
  readonly #sums: (Plan | undefined)[];

  constructor(
    device: Device,
    ranks: Ranks,
    regions: readonly Region[],
    bucketBytes: number = BUCKET_BYTES,
  ) {
    this.#device = device;
    this.#ranks = ranks;
    this.#buckets = cutBuckets(regions, ranks.size, bucketBytes);
    const largest = Math.max(...this.#buckets.map(({ region }) => region.size));
    const part = Math.max(
      ...this.#buckets.map(({ lengths }) => lengths[ranks.rank] ?? 0),
      LEAST_PART,
    );
    this.#staging = [0, 1].map((i) => device.allocate(`exchange ${i}`, largest, STAGING));
    this.#received = Array.from(
      { length: ranks.size },
      (_, r) => device.allocate(`part from rank ${r}`, part),
    );
    this.#sums = this.#buckets.map((bucket) => this.#sumPlan(bucket));
  }

  /** This rank's part of a bucket; undefined where it has none. */
  #own({ region, offsets, lengths }: Bucket): Region | undefined {
    const { rank } = this.#ranks;
    const length = lengths[rank] ?? 0;
    return length ? subregion(region, offsets[rank] ?? 0, length) : undefined;
  }

  /** The part that came from a rank. */
  #from(rank: number, length: number): Region {
    const received = this.#received[rank];
    if (!received) throw new RangeError(`There is no rank ${rank}`);
    return subregion(received, 0, length);
  }

  #sumPlan(bucket: Bucket): Plan | undefined {
    const own = this.#own(bucket);
    if (!own) return undefined;
    const { size } = this.#ranks;
    const plan = new Plan(this.#device);
    for (let width = 1; width < size; width *= 2) {
      for (let r = 0; r + width < size; r += 2 * width) {
        addInto(plan, this.#from(r, own.size), this.#from(r + width, own.size));
      }
    }
    plan.copy(this.#from(0, own.size), own);
    return plan;
  }

  /** Reads a region through one of the two staging buffers. */
  async #read(region: Region | undefined, turn: number): Promise<Bytes> {
    const staging = this.#staging[turn % this.#staging.length];
    if (!region || !staging) return new Uint8Array(0);
    const encoder = this.#device.gpu.createCommandEncoder();
    const { buffer } = staging;
    encoder.copyBufferToBuffer(region.buffer, region.offset, buffer, 0, region.size);
    this.#device.gpu.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ, 0, region.size);
    const bytes = new Uint8Array(buffer.getMappedRange(0, region.size).slice(0));
    buffer.unmap();
    this.#device.check();
    return bytes;
  }

  /** Each rank's own parts become the sums over all ranks; other parts stay as they are. */
  async sum(): Promise<void> {
    const { rank, size } = this.#ranks;
    await this.#pass((bucket) => bucket.region, async (bucket, bytes, index) => {
      // What one rank waits for another is not the exchange's time.
      if (index === 0) await this.#ranks.barrier();
      const length = bucket.lengths[rank] ?? 0;
      const received = Array.from({ length: size }, () => length);
      const parts = await this.#ranks.exchangeBytes(bytes, bucket.lengths, received);
      for (let r = 0; r < size && length; r++) {
        const part = parts.subarray(r * length, (r + 1) * length);
        this.#device.write(this.#from(r, length), part);
      }
      this.#sums[index]?.submit();
    });
  }

  /** Each rank's own parts go to all. */
  async gather(): Promise<void> {
    await this.#pass((bucket) => this.#own(bucket), async (bucket, bytes) => {
      const whole = new Uint8Array(bucket.region.size);
      await this.#ranks.gather(bytes, whole, bucket.offsets, bucket.lengths);
      this.#device.write(bucket.region, whole);
    });
  }

  /** Every region becomes its sum over all ranks. */
  async sumEverywhere(): Promise<void> {
    await this.sum();
    await this.gather();
  }

  /** Reads something of each bucket, the next one's while `use` has the last one's. */
  async #pass(
    what: (bucket: Bucket) => Region | undefined,
    use: (bucket: Bucket, bytes: Bytes, index: number) => Promise<void>,
  ): Promise<void> {
    const read = (index: number) => {
      const bucket = this.#buckets[index];
      const bytes = bucket && this.#read(what(bucket), index);
      bytes?.catch(() => {}); // thrown where it is awaited
      return bytes;
    };
    let next = read(0);
    for (const [index, bucket] of this.#buckets.entries()) {
      const bytes = await next;
      next = read(index + 1);
      if (bytes) await use(bucket, bytes, index);
    }
  }

  destroy(): void {
    for (const region of [...this.#staging, ...this.#received]) this.#device.free(region);
    for (const plan of this.#sums) plan?.destroy();
  }
}
