/**
 * A model's tensors as they were at one moment: copied aside on the device, which takes no time that
 * counts, and read from there piece by piece while the model goes on.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import {
  decodeLossScale,
  LOSS_SCALE_BYTES,
  type LossScale,
} from "../../../kernels/adamw/loss_scale.ts";
import type { Device } from "../../../kernels/device.ts";
import { DeviceError } from "../../../kernels/errors.ts";
import { type Region, subregion } from "../../../kernels/layout.ts";
import { checkpointTensors } from "../checkpoint_tensors.ts";
import type { ModelSnapshot } from "../types.ts";
import { type ParameterStore, slotOf } from "./store.ts";

/** Bytes of a piece: what the device copies within a step without delaying it noticeably. */
const PIECE = 64 << 20;
/** Usage of the buffer that pieces are read from: MAP_READ | COPY_DST. */
const STAGING = 1 | 8;

/**
 * Queues the copies. Undefined where the device has no room for them.
 * @param available bytes that may be allocated.
 * @param lossScale the state of mixed precision's loss scale, which is kept too.
 * @param mostBytes of a piece.
 */
export async function takeSnapshot(
  device: Device,
  store: ParameterStore,
  available: number,
  lossScale?: Region,
  mostBytes = PIECE,
): Promise<ModelSnapshot | undefined> {
  const average = store.keeps("average");
  const copies = new Map<Region, Region>();
  const slots = ["value", "m", "v", ...(average ? ["average" as const] : [])] as const;
  // What is frozen is in no checkpoint, and has neither moments nor averages.
  const sources = store.arenas.filter(({ frozen }) => !frozen)
    .flatMap(({ regions }) => slots.map((slot) => slotOf(regions, slot)));
  if (lossScale) sources.push(lossScale);
  const total = sources.reduce((sum, { size }) => sum + size, 0);
  const pieceBytes = Math.min(mostBytes, total);
  if (total + pieceBytes > available) return undefined;
  let staging: Region | undefined;
  const free = () => {
    for (const region of copies.values()) device.free(region);
    copies.clear();
    if (staging) device.free(staging);
    staging = undefined;
  };
  try {
    await device.guard("keep a checkpoint aside", () => {
      for (const source of sources) {
        copies.set(source, device.allocate("tensors kept for a checkpoint", source.size));
      }
      staging = device.allocate("checkpoint read-back", pieceBytes, STAGING);
    });
  } catch (error) {
    free();
    if (error instanceof DeviceError) return undefined;
    throw error;
  }
  const encoder = device.gpu.createCommandEncoder();
  for (const [from, to] of copies) {
    encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, from.size);
  }
  device.gpu.queue.submit([encoder.finish()]);

  /** Every tensor's block, in the checkpoint's order. */
  const blocks = checkpointTensors(store.config, average).map(({ slot, parameter }) => {
    const region = store.region(parameter.name, slot);
    const source = sources.find(({ buffer }) => buffer === region.buffer);
    const copy = source && copies.get(source);
    if (!copy) throw new RangeError(`No ${slot} of ${parameter.name} is kept`);
    return subregion(copy, region.offset - source.offset, region.size);
  });
  let block = 0;
  let within = 0;
  /** Queues the copy of the next bytes to the staging buffer; says how many. */
  const stage = (to: GPUBuffer) => {
    const encoder = device.gpu.createCommandEncoder();
    let bytes = 0;
    while (block < blocks.length && bytes < pieceBytes) {
      const { buffer, offset, size } = nth(blocks, block);
      const count = Math.min(size - within, pieceBytes - bytes);
      encoder.copyBufferToBuffer(buffer, offset + within, to, bytes, count);
      bytes += count;
      within += count;
      if (within === size) {
        block++;
        within = 0;
      }
    }
    device.gpu.queue.submit([encoder.finish()]);
    return bytes;
  };
  return {
    average,
    async read() {
      if (!staging || block === blocks.length) return undefined;
      const { buffer } = staging;
      const bytes = stage(buffer);
      await buffer.mapAsync(GPUMapMode.READ, 0, bytes);
      const piece = buffer.getMappedRange(0, bytes).slice(0);
      buffer.unmap();
      device.check();
      return piece;
    },
    async lossScale(): Promise<LossScale | undefined> {
      const copy = lossScale && copies.get(lossScale);
      if (!copy) return undefined;
      const bytes = await device.read(copy, 0, LOSS_SCALE_BYTES);
      const { scale, good, skipped } = decodeLossScale(new Float32Array(bytes));
      return { scale, good, skipped };
    },
    destroy: free,
  };
}
