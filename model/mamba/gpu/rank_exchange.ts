/**
 * What the ranks of a job send each other in a step: each holds the same regions, cut into buckets, and
 * each bucket into as many parts as there are ranks (rank_slices.ts). Rank r owns part r of every bucket.
 *
 * Summing: every rank gives each owner its part (Alltoallv), and the owner adds what came in a fixed
 * binary tree over the ranks, on the device, so that the result does not depend on a library's order.
 * Gathering: owners give their parts to all (Allgatherv). Together they move as few bytes as a ring does.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import type { Bytes, Ranks } from "../../../core/mpi/ranks.ts";
import type { Allocator, Device } from "../../../kernels/device.ts";
import { type Region, subregion } from "../../../kernels/layout.ts";
import { Plan } from "../../../kernels/plan.ts";
import { addInto, runsOf } from "../../../kernels/reduce/reduce.ts";
import type { Bucket } from "./rank_slices.ts";

/** Bytes of a buffer for parts at least: a rank may have none. */
const LEAST_PART = 256;
/** Usage of the buffers that are read from: MAP_READ | COPY_DST. */
const STAGING = 1 | 8;
/** Of the memory that is used again, that for what comes of the other ranks. */
const COMING = 2;

/** A region whose parts are of ranks; offsets and lengths by rank, in bytes. */
interface Shared {
  region: Region;
  offsets: number[];
  lengths: number[];
}

/** What an exchange works in. */
export interface ExchangeBuffers {
  /** Two, so that one is read while the other is sent. */
  staging: Region[];
  /**
   * What each rank sent of a bucket's own part, in a buffer of its own, as a kernel may not read and write
   * the same.
   */
  received: Region[];
}

/**
 * Allocates what the exchange of buckets takes.
 * @param partials bytes of the partial sums of squares
 */
export function allocateExchange(
  device: Pick<Allocator, "allocate">,
  buckets: readonly Bucket[],
  { ranks, partials }: { ranks: number; partials: number },
): ExchangeBuffers {
  const largest = Math.max(...buckets.map(({ size }) => size), partials + LEAST_PART);
  const part = Math.max(...buckets.flatMap(({ lengths }) => lengths), LEAST_PART);
  const allocate = (what: string, bytes: number, usage?: number) =>
    device.allocate(`exchange: ${what}`, bytes, usage);
  return {
    staging: [0, 1].map((i) => allocate(`staging ${i}`, largest, STAGING)),
    received: Array.from({ length: ranks }, (_, r) => allocate(`part from rank ${r}`, part)),
  };
}

/** What {@linkcode RankExchange} works on. */
interface ExchangeSetting {
  ranks: Ranks;
  /** Those that train. */
  buckets: readonly Bucket[];
  /** Small regions that are summed like gradients, and that rank 0 owns. */
  losses: readonly Region[];
  /** The partial sums of the gradients' squares, of which owners make those of their parts. */
  partials: Region;
  buffers: ExchangeBuffers;
}

/** Sums and gathers a model's regions over the ranks of a job. */
export class RankExchange {
  readonly #device: Device;
  readonly #setting: ExchangeSetting;
  /** Gradients by bucket, then the losses; and the plans that add up what came of each. */
  readonly #summed: Shared[];
  readonly #sums: (Plan | undefined)[];
  /**
   * Memory that is used again for every bucket, since new memory costs as much time as the exchange: one
   * for each staging buffer's bytes, and one for what comes of the other ranks. Made when needed.
   */
  readonly #room: (Bytes | undefined)[] = [];

  constructor(device: Device, setting: ExchangeSetting) {
    this.#device = device;
    this.#setting = setting;
    const { ranks: { size }, buckets, losses } = setting;
    const ofFirst = (bytes: number) => Array.from({ length: size }, (_, r) => r ? 0 : bytes);
    this.#summed = [
      ...buckets.map(({ stretch, inStretch, size, offsets, lengths }) => ({
        region: subregion(stretch.region, inStretch, size),
        offsets,
        lengths,
      })),
      ...losses.map((region) => ({
        region,
        offsets: Array.from({ length: size }, (_, r) => r ? region.size : 0),
        lengths: ofFirst(region.size),
      })),
    ];
    this.#sums = this.#summed.map((shared) => this.#sumPlan(shared));
  }

  /** This rank's part of a region; undefined where it has none. */
  #own({ region, offsets, lengths }: Shared): Region | undefined {
    const { rank } = this.#setting.ranks;
    const length = lengths[rank] ?? 0;
    return length ? subregion(region, offsets[rank] ?? 0, length) : undefined;
  }

  /** The part that came from a rank. */
  #from(rank: number, length: number): Region {
    return subregion(nth(this.#setting.buffers.received, rank), 0, length);
  }

  #sumPlan(shared: Shared): Plan | undefined {
    const own = this.#own(shared);
    if (!own) return undefined;
    const { size } = this.#setting.ranks;
    const plan = new Plan(this.#device);
    for (let width = 1; width < size; width *= 2) {
      for (let r = 0; r + width < size; r += 2 * width) {
        addInto(plan, this.#from(r, own.size), this.#from(r + width, own.size));
      }
    }
    plan.copy(this.#from(0, own.size), own);
    return plan;
  }

  /** So many bytes of memory that was used before. */
  #bytes(which: number, size: number): Bytes {
    const before = this.#room[which];
    const room = before && before.length >= size ? before : new Uint8Array(size);
    this.#room[which] = room;
    return room.subarray(0, size);
  }

  /**
   * Reads regions, one after another, through one of the two staging buffers.
   * @returns bytes that stay as they are until the next reading in the same `turn`
   */
  async #read(regions: readonly Region[], turn: number): Promise<Bytes> {
    const { staging } = this.#setting.buffers;
    const which = turn % staging.length;
    const { buffer } = nth(staging, which);
    const encoder = this.#device.gpu.createCommandEncoder();
    let bytes = 0;
    for (const { buffer: from, offset, size } of regions) {
      encoder.copyBufferToBuffer(from, offset, buffer, bytes, size);
      bytes += size;
    }
    if (!bytes) return new Uint8Array(0);
    this.#device.gpu.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ, 0, bytes);
    const read = this.#bytes(which, bytes);
    read.set(new Uint8Array(buffer.getMappedRange(0, bytes)));
    buffer.unmap();
    this.#device.check();
    return read;
  }

  /** Each rank's own parts become the sums over all ranks; other parts stay as they are. */
  async sum(): Promise<void> {
    const { ranks: { rank, size } } = this.#setting;
    await this.#pass(this.#summed, ({ region }) => region, async (shared, bytes, index) => {
      // What one rank waits for another is not the exchange's time.
      if (index === 0) await this.#setting.ranks.barrier();
      const length = shared.lengths[rank] ?? 0;
      const received = Array.from({ length: size }, () => length);
      const room = this.#bytes(COMING, length * size);
      const parts = await this.#setting.ranks.exchangeBytes(
        bytes,
        shared.lengths,
        received,
        room,
      );
      for (let r = 0; r < size && length; r++) {
        const part = parts.subarray(r * length, (r + 1) * length);
        this.#device.write(this.#from(r, length), part);
      }
      this.#sums[index]?.submit();
    });
  }

  /**
   * Each rank's own parts go to all.
   * @param regionOf what is gathered of a bucket: as long as the bucket is
   */
  async gather(regionOf: (bucket: Bucket) => Region): Promise<void> {
    const shared = this.#setting.buckets.map((bucket) => ({
      region: regionOf(bucket),
      offsets: bucket.offsets,
      lengths: bucket.lengths,
    }));
    const own = (one: Shared) => this.#own(one);
    await this.#pass(shared, own, async ({ region, offsets, lengths }, bytes) => {
      const whole = this.#bytes(COMING, region.size);
      await this.#setting.ranks.gather(bytes, whole, offsets, lengths);
      this.#device.write(region, whole);
    });
  }

  /**
   * Each owner's partial sums of squares go to all, and so do the sums of losses: little enough for one
   * call.
   */
  async gatherPartials(): Promise<void> {
    const { ranks, buckets, losses, partials } = this.#setting;
    const piecesOf = (rank: number): Region[] => [
      ...buckets.flatMap(({ stretch, inStretch, offsets, lengths }) => {
        const { run, first, perRun } = stretch;
        const begin = (inStretch + (offsets[rank] ?? 0)) / run;
        const runs = runsOf(stretch, lengths[rank] ?? 0);
        return runs ? [subregion(partials, 4 * (first + begin * perRun), 4 * runs * perRun)] : [];
      }),
      ...(rank ? [] : losses),
    ];
    const pieces = Array.from({ length: ranks.size }, (_, rank) => piecesOf(rank));
    const lengths = pieces.map((some) => some.reduce((sum, { size }) => sum + size, 0));
    const offsets = lengths.map((_, r) => lengths.slice(0, r).reduce((sum, n) => sum + n, 0));
    const own = await this.#read(nth(pieces, ranks.rank), 0);
    const gathered = new Uint8Array(lengths.reduce((sum, n) => sum + n, 0));
    await ranks.gather(own, gathered, offsets, lengths);
    // Put together here, as a write to the device for each piece would be many.
    const whole = new Uint8Array(partials.size);
    let at = 0;
    for (const { buffer, offset, size } of pieces.flat()) {
      const bytes = gathered.subarray(at, at + size);
      at += size;
      if (buffer === partials.buffer) whole.set(bytes, offset - partials.offset);
      else this.#device.write({ buffer, offset, size }, bytes);
    }
    this.#device.write(partials, whole);
  }

  /**
   * Brings together on rank 0 what all ranks keep a part of; every rank has to call it.
   * @param own this rank's parts, one region for each, in order
   * @param lengths bytes of each rank's parts
   * @returns on rank 0 what came of each rank; nothing on others
   */
  async collect(own: readonly Region[], lengths: number[]): Promise<Bytes | undefined> {
    const { ranks, buffers: { staging } } = this.#setting;
    const bytes = new Uint8Array(lengths[ranks.rank] ?? 0);
    const most = nth(staging, 0).size;
    let at = 0;
    for (const region of own) {
      for (let from = 0; from < region.size; from += most) {
        const piece = subregion(region, from, Math.min(most, region.size - from));
        bytes.set(await this.#read([piece], 0), at);
        at += piece.size;
      }
    }
    return await collectBytes(ranks, bytes, lengths);
  }

  /** Reads something of each region, the next one's while `use` sends the last one's. */
  async #pass(
    all: readonly Shared[],
    what: (shared: Shared) => Region | undefined,
    use: (shared: Shared, bytes: Bytes, index: number) => Promise<void>,
  ): Promise<void> {
    const read = (index: number) => {
      const shared = all[index];
      if (!shared) return undefined;
      const region = what(shared);
      const bytes = this.#read(region ? [region] : [], index);
      bytes.catch(() => {}); // thrown where it is awaited
      return bytes;
    };
    let next = read(0);
    for (const [index, shared] of all.entries()) {
      const bytes = await next;
      const used = bytes && use(shared, bytes, index);
      used?.catch(() => {}); // thrown where it is awaited
      // The call between ranks goes on in a thread of its own, once it has begun: a read holds this one
      // up, as Deno waits for the device where a buffer is mapped.
      await begun();
      next = read(index + 1);
      await used;
    }
  }

  destroy(): void {
    for (const plan of this.#sums) plan?.destroy();
  }
}

/** Turns of the queue of promises that a call between ranks takes until it has begun. */
const TURNS = 4;

/** Lets what was called before begin, where it waits for nothing else. */
async function begun(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await undefined;
}

/** Frees what the exchange works in. */
export function freeExchange(
  device: Pick<Allocator, "free">,
  { staging, received }: ExchangeBuffers,
): void {
  for (const region of [...staging, ...received]) device.free(region);
}

/** What every rank has for rank 0, one after another, in the order of ranks; nothing on other ranks. */
export async function collectBytes(
  ranks: Ranks,
  own: Bytes,
  lengths: number[],
): Promise<Bytes | undefined> {
  const sent = Array.from({ length: ranks.size }, (_, r) => r ? 0 : own.length);
  const none = Array.from({ length: ranks.size }, () => 0);
  const all = await ranks.exchangeBytes(own, sent, ranks.rank ? none : lengths);
  return ranks.rank ? undefined : all;
}
