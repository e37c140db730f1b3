/**
 * Which rank of a job owns which part of the parameters. An owner adds up all ranks' gradients of its
 * parts, keeps their moments and averages (no other rank does), and updates their values: the first stage
 * of ZeRO (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054).
 *
 * What an update treats alike is cut into buckets, and each bucket into one part for each rank. Cuts lie
 * where the runs of `sumOfSquares` begin, so that the owners' partial sums are the very ones that a process
 * alone makes, and the gradient's norm is the same on any number of ranks.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import type { Ranks } from "../../../core/mpi/ranks.ts";
import type { Allocator, Sizing } from "../../../kernels/device.ts";
import { type Region, subregion } from "../../../kernels/layout.ts";
import { runsOf, type SquareStretch, squareStretches } from "../../../kernels/reduce/reduce.ts";
import type { Slot } from "./stored.ts";

/** Which rank of how many. */
export type RankPlace = Pick<Ranks, "rank" | "size">;

/** Bytes of a bucket: enough that a call's fixed cost does not count, few enough to overlap them. */
export const BUCKET_BYTES = 25 << 20;
/** The golden ratio without its whole. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;
/** Where a binding may begin. */
const BINDING_UNIT = 256;

/** A stretch of an arena that is updated alike. */
export interface SlicedRange {
  arena: number;
  /** Bytes before it in the arena's slots of f32. */
  start: number;
  /** What the learning rate is multiplied with; 0 for what does not train. */
  rate: number;
  decay: boolean;
  /** Its gradients. */
  gradient: Region;
}

/** A part of a range that goes between ranks by one call. */
export interface Bucket {
  range: SlicedRange;
  /** What its squares are summed with. */
  stretch: SquareStretch;
  /** Bytes before it in its stretch, and in its arena. */
  inStretch: number;
  inArena: number;
  size: number;
  /** Where each rank's part begins, in bytes of the bucket, and how many bytes it has. */
  offsets: number[];
  lengths: number[];
  /** Bytes before each rank's part in what that rank keeps of the arena. */
  kept: number[];
}

/** What a rank owns of a stretch of an arena; in bytes of the arena's slots of f32. */
export interface OwnedPart {
  rank: number;
  from: number;
  to: number;
  /** Bytes before it in what the rank keeps of the arena. */
  kept: number;
}

/** Cuts ranges into buckets, and these into parts of nearly equal size, one for each rank. */
export function cutBuckets(
  device: Sizing,
  ranges: readonly SlicedRange[],
  ranks: number,
  bucketBytes: number = BUCKET_BYTES,
): Bucket[] {
  const buckets: Bucket[] = [];
  const keptBytes = new Map<string, number>();
  // Only what trains has a part in the norm.
  const stretches = new Map<SlicedRange, SquareStretch[]>();
  const trained = ranges.filter(({ rate }) => rate !== 0);
  const summed = squareStretches(device, trained.map(({ gradient }) => gradient));
  for (const range of ranges) {
    const own = squareStretches(device, [range.gradient]);
    stretches.set(range, range.rate === 0 ? own : summed.splice(0, own.length));
  }
  for (const [range, parts] of stretches) {
    let before = range.start;
    for (const stretch of parts) {
      const { run, region } = stretch;
      const step = Math.max(1, Math.floor(bucketBytes / run)) * run;
      for (let at = 0; at < region.size; at += step) {
        const size = Math.min(step, region.size - at);
        const runs = runsOf(stretch, size);
        // Where runs cannot be dealt out evenly, others have one more in each bucket: steps of the
        // golden ratio spread these turns evenly, however few buckets there are.
        const turn = Math.floor((buckets.length * GOLDEN % 1) * ranks);
        const cuts = Array.from(
          { length: ranks + 1 },
          (_, r) => Math.min(Math.floor((r * runs + turn) / ranks) * run, size),
        );
        const offsets = cuts.slice(0, ranks);
        const lengths = offsets.map((offset, r) => nth(cuts, r + 1) - offset);
        const kept = lengths.map((length, rank) => {
          const key = `${range.arena} ${rank}`;
          const bytes = keptBytes.get(key) ?? 0;
          keptBytes.set(key, bytes + Math.ceil(length / BINDING_UNIT) * BINDING_UNIT);
          return bytes;
        });
        const inArena = before + at;
        buckets.push({ range, stretch, inStretch: at, inArena, size, offsets, lengths, kept });
      }
      before += region.size;
    }
  }
  return buckets;
}

/** The slots of which each rank keeps its own parts only. */
const SLICED_SLOTS = ["m", "v", "average"] as const;
/** One of {@linkcode SLICED_SLOTS}. */
export type SlicedSlot = (typeof SLICED_SLOTS)[number];

/** Whether ranks share a slot out among them. */
export const isSliced = (slot: Slot): slot is SlicedSlot =>
  SLICED_SLOTS.some((sliced) => sliced === slot);

/** What this rank keeps of the sliced slots, and what of them others keep. */
export class RankSlices {
  readonly place: RankPlace;
  readonly buckets: readonly Bucket[];
  /** By slot and arena. */
  readonly #regions = new Map<SlicedSlot, Map<number, Region>>();
  readonly #free: (region: Region) => void;

  /** Allocates this rank's part of the slots, zeroed. */
  constructor(
    device: Pick<Allocator, "allocate" | "free">,
    buckets: readonly Bucket[],
    place: RankPlace,
    slots: readonly SlicedSlot[],
  ) {
    this.place = place;
    this.buckets = buckets;
    this.#free = (region) => device.free(region);
    const sizes = new Map<number, number>();
    for (const { range: { arena }, kept, lengths } of buckets) {
      sizes.set(arena, (kept[place.rank] ?? 0) + (lengths[place.rank] ?? 0));
    }
    for (const slot of slots) {
      const regions = new Map<number, Region>();
      for (const [arena, bytes] of sizes) {
        if (!bytes) continue;
        regions.set(arena, device.allocate(`rank's slice of ${slot} ${arena}`, bytes));
      }
      this.#regions.set(slot, regions);
    }
  }

  /** Whether this slot is kept in slices. */
  keeps(slot: Slot): boolean {
    return isSliced(slot) && this.#regions.has(slot);
  }

  /** Bytes of this rank's parts of a slot. */
  bytes(slot: SlicedSlot): number {
    return [...this.#regions.get(slot)?.values() ?? []].reduce((sum, { size }) => sum + size, 0);
  }

  /** A piece of what this rank keeps of an arena. */
  region(slot: SlicedSlot, arena: number, kept: number, bytes: number): Region {
    const region = this.#regions.get(slot)?.get(arena);
    if (!region) throw new RangeError(`This rank keeps no ${slot} of arena ${arena}`);
    return subregion(region, kept, bytes);
  }

  /** All that this rank keeps. */
  regions(): Region[] {
    return [...this.#regions.values()].flatMap((byArena) => [...byArena.values()]);
  }

  /** Who owns the bytes [from, to) of an arena's slots of f32, in order. */
  partsOf(arena: number, from: number, to: number): OwnedPart[] {
    return this.buckets.flatMap(({ range, inArena, size, offsets, lengths, kept }) => {
      if (range.arena !== arena || inArena >= to || inArena + size <= from) return [];
      return offsets.flatMap((offset, rank) => {
        const start = inArena + offset;
        const begin = Math.max(start, from);
        const end = Math.min(start + (lengths[rank] ?? 0), to);
        if (begin >= end) return [];
        return [{ rank, from: begin, to: end, kept: (kept[rank] ?? 0) + begin - start }];
      });
    });
  }

  /** This rank's parts of the buckets that train. */
  ownParts(): { bucket: Bucket; offset: number; length: number; kept: number }[] {
    const { rank } = this.place;
    return this.buckets.flatMap((bucket) => {
      const length = bucket.lengths[rank] ?? 0;
      if (!length || bucket.range.rate === 0) return [];
      return [{ bucket, offset: bucket.offsets[rank] ?? 0, length, kept: bucket.kept[rank] ?? 0 }];
    });
  }

  destroy(): void {
    for (const region of this.regions()) this.#free(region);
  }
}
