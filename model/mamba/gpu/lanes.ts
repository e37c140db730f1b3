/**
 * Sums of gradients whose order does not depend on how many processes share a step. The micro-batches
 * of a step are dealt to lanes; each lane's gradient is summed in order, and lanes are added in a
 * binary tree: ((0 + 1) + (2 + 3)) + ... Lanes come one after the other, so that a sum waits for its
 * neighbour of equal size, as the digits of a binary counter carry: log2 of the lanes are kept at most.
 * @module
 */
import { Plan } from "../../../kernels/plan.ts";
import { addInto } from "../../../kernels/reduce/reduce.ts";
import { type Region, subregion } from "../../../kernels/layout.ts";
import type { Device } from "../../../kernels/device.ts";
import type { LaneSlot } from "./mixer.ts";
import { type ParameterStore, slotOf } from "./store.ts";

/** Where a step's losses lie in its result: the loss, and that without the objective's terms. */
const LOSS_OFFSETS = [0, 512];
/** Bytes of each: whole vectors. */
const LOSS_BYTES = 16;
/** Bytes between the losses of kept sums: what an offset of a binding has to be a multiple of. */
const LOSS_STRIDE = 256;

/** By the level of the counter. */
const LANE_SLOTS: readonly LaneSlot[] = [
  "lane0",
  "lane1",
  "lane2",
  "lane3",
  "lane4",
  "lane5",
  "lane6",
  "lane7",
  "lane8",
  "lane9",
];

/** The slots that so many lanes of a process need besides the gradients. */
export function laneSlots(lanes: number): LaneSlot[] {
  return LANE_SLOTS.slice(0, Math.log2(lanes));
}

/** Words of the losses of {@linkcode laneSlots}. */
export const laneLossWords = (lanes: number): number =>
  Math.log2(lanes) * LOSS_OFFSETS.length * LOSS_STRIDE / 4;

/** A step's losses, which are summed like gradients. */
export const lossRegions = (result: Region): Region[] =>
  LOSS_OFFSETS.map((offset) => subregion(result, offset, LOSS_BYTES));

/** What {@linkcode LaneSums} works on, of a model's buffers. */
interface LaneBuffers {
  store: ParameterStore;
  result: Region;
  laneLosses?: Region;
}

/** What {@linkcode LaneSums} does with a level of its counter. */
interface Level {
  /** Adds the sum that waits to the gradients. */
  add: Plan;
  /** Has the gradients wait. */
  keep: Plan;
}

/** The gradients of a process's lanes, added in a tree. */
export class LaneSums {
  readonly #levels: Level[];
  readonly #lanes: number;
  #done = 0;

  /** @param lanes of this process, a power of two */
  constructor(device: Device, buffers: LaneBuffers, lanes: number) {
    this.#lanes = lanes;
    const { store, result, laneLosses } = buffers;
    const losses = lossRegions(result);
    this.#levels = laneSlots(lanes).map((slot, level) => {
      const pairs: [gradient: Region, kept: Region][] = [];
      for (const { regions, frozen } of store.arenas) {
        if (frozen) continue;
        pairs.push([slotOf(regions, "gradient"), slotOf(regions, slot)]);
      }
      if (!laneLosses) throw new RangeError("The model keeps no losses of lanes");
      losses.forEach((loss, i) => {
        const at = (level * losses.length + i) * LOSS_STRIDE;
        pairs.push([loss, subregion(laneLosses, at, LOSS_BYTES)]);
      });
      const add = new Plan(device);
      const keep = new Plan(device);
      for (const [gradient, kept] of pairs) {
        addInto(add, gradient, kept);
        keep.copy(gradient, kept);
      }
      return { add, keep };
    });
  }

  /** The next gradients are those of a step's first lane. */
  restart(): void {
    this.#done = 0;
  }

  /**
   * Queues what follows a lane: its sum is added to those that wait for it, and waits itself.
   * @returns whether the next lane's gradients begin from zero, that is whether there is one
   */
  endLane(): boolean {
    let level = 0;
    for (; this.#done >> level & 1; level++) this.#levels[level]?.add.submit();
    this.#done++;
    if (this.#done >= this.#lanes) return false;
    this.#levels[level]?.keep.submit();
    return true;
  }

  destroy(): void {
    for (const { add, keep } of this.#levels) {
      add.destroy();
      keep.destroy();
    }
  }
}
