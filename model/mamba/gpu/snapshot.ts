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
import type { Ranks } from "../../../core/mpi/ranks.ts";
import { collectBytes } from "./rank_exchange.ts";
import { isSliced } from "./rank_slices.ts";
import { checkpointTensors } from "../checkpoint_tensors.ts";
import type { ModelSnapshot } from "../types.ts";
import { type ParameterStore, slotOf } from "./store.ts";

/** Bytes of a piece: what the device copies within a step without delaying it noticeably. */
const PIECE = 64 << 20;
/** Usage of the buffer that pieces are read from: MAP_READ | COPY_DST. */
const STAGING = 1 | 8;

/** What a snapshot may take besides the model. */
interface SnapshotOptions {
  /** Bytes that may be allocated. */
  available: number;
  /** The state of mixed precision's loss scale, which is kept too. */
  lossScale?: Region;
  /** Of a piece. */
  mostBytes?: number;
  /** The ranks that share moments and averages out among them; all of them take a snapshot together. */
  ranks?: Ranks;
}

/** A stretch of a piece, and which rank has it. */
interface PieceStretch {
  rank: number;
  /** Bytes before it in the piece. */
  at: number;
  bytes: number;
}

/**
 * Queues the copies. Undefined where the device has no room for them, or that of another rank.
 *
 * Of several ranks each keeps aside what it owns, and rank 0 the weights, which all have. The function
 * is long because its parts share one place in the stream of tensors: what is copied, staged and read
 * next.
 */
export async function takeSnapshot(
  device: Device,
  store: ParameterStore,
  { available, lossScale, mostBytes = PIECE, ranks }: SnapshotOptions,
): Promise<ModelSnapshot | undefined> {
  const rank = ranks?.rank ?? 0;
  const average = store.keeps("average");
  const sources = sourcesOf(store, rank);
  if (lossScale) sources.push(lossScale);
  const copies = new Map<Region, Region>();
  const tensors = checkpointTensors(store.config, average);
  const places = tensors.map(({ parameter }) => store.place(parameter.name));
  const streamBytes = places.reduce((sum, { floats }) => sum + 4 * floats, 0);
  const pieceBytes = Math.min(mostBytes, streamBytes);
  const total = sources.reduce((sum, { size }) => sum + size, 0);
  const stagingBytes = Math.min(pieceBytes, total);
  let staging: Region | undefined;
  const free = () => {
    for (const region of copies.values()) device.free(region);
    copies.clear();
    if (staging) device.free(staging);
    staging = undefined;
  };
  let room = total + stagingBytes <= available;
  try {
    if (room) {
      await device.guard("keep a checkpoint aside", () => {
        for (const source of sources) {
          copies.set(source, device.allocate("tensors kept for a checkpoint", source.size));
        }
        staging = device.allocate("checkpoint read-back", stagingBytes, STAGING);
      });
    }
  } catch (error) {
    if (!(error instanceof DeviceError)) {
      free();
      throw error;
    }
    room = false;
  }
  if (ranks) room = (await ranks.gatherValues(room)).every(Boolean);
  if (!room) {
    free();
    return undefined;
  }
  const encoder = device.gpu.createCommandEncoder();
  for (const [from, to] of copies) {
    encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, from.size);
  }
  device.gpu.queue.submit([encoder.finish()]);

  const copyOf = (region: Region): Region => {
    const source = sources.find(({ buffer }) => buffer === region.buffer);
    const copy = source && copies.get(source);
    if (!copy) throw new RangeError("A tensor of the checkpoint is not kept");
    return subregion(copy, region.offset - source.offset, region.size);
  };
  /** The bytes [from, to) of a tensor's block: which rank has them, and where if it is this one. */
  const stretchesOf = (tensor: number, from: number, to: number) => {
    const { slot, parameter } = nth(tensors, tensor);
    const { arena, offset } = nth(places, tensor);
    const { sliced } = store;
    if (!sliced || !isSliced(slot)) {
      const own = rank
        ? undefined
        : copyOf(subregion(store.region(parameter.name, slot), from, to - from));
      return [{ rank: 0, bytes: to - from, own }];
    }
    return sliced.partsOf(arena, 4 * offset + from, 4 * offset + to).map((part) => {
      const bytes = part.to - part.from;
      const own = part.rank === rank
        ? copyOf(sliced.region(slot, arena, part.kept, bytes))
        : undefined;
      return { rank: part.rank, bytes, own };
    });
  };
  let tensor = 0;
  let within = 0;
  /** The pieces that were read, and which every rank's bytes are to be put together of. */
  const pieces: PieceStretch[][] = [];
  /** Queues the copy of this rank's bytes of the next piece to the staging buffer; says how many. */
  const stage = (to: GPUBuffer) => {
    const encoder = device.gpu.createCommandEncoder();
    const piece: PieceStretch[] = [];
    let at = 0;
    let ownBytes = 0;
    while (tensor < tensors.length && at < pieceBytes) {
      const size = 4 * nth(places, tensor).floats;
      const end = Math.min(size, within + pieceBytes - at);
      for (const { rank, bytes, own } of stretchesOf(tensor, within, end)) {
        if (own) encoder.copyBufferToBuffer(own.buffer, own.offset, to, ownBytes, bytes);
        if (own) ownBytes += bytes;
        piece.push({ rank, at, bytes });
        at += bytes;
      }
      within = end;
      if (within === size) {
        tensor++;
        within = 0;
      }
    }
    device.gpu.queue.submit([encoder.finish()]);
    if (ranks) pieces.push(piece);
    return ownBytes;
  };
  return {
    average,
    async read() {
      if (!staging || tensor === tensors.length) return undefined;
      const { buffer } = staging;
      const bytes = stage(buffer);
      if (!bytes) return new ArrayBuffer(0);
      await buffer.mapAsync(GPUMapMode.READ, 0, bytes);
      const piece = buffer.getMappedRange(0, bytes).slice(0);
      buffer.unmap();
      device.check();
      return piece;
    },
    ...(ranks ? { join: (own: ArrayBuffer) => joinPiece(ranks, own, pieces.shift() ?? []) } : {}),
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

/** What a rank keeps aside. What is frozen is in no checkpoint, and has neither moments nor averages. */
function sourcesOf(store: ParameterStore, rank: number): Region[] {
  const { sliced } = store;
  const slots = [
    "value",
    "m",
    "v",
    ...(store.keeps("average") ? ["average" as const] : []),
  ] as const;
  const whole = slots.filter((slot) => !sliced || (!isSliced(slot) && rank === 0));
  const trained = store.arenas.filter(({ frozen }) => !frozen);
  return [
    ...trained.flatMap(({ regions }) => whole.map((slot) => slotOf(regions, slot))),
    ...(sliced?.regions() ?? []),
  ];
}

/** A piece of the checkpoint from every rank's bytes of it: whole on rank 0, nothing on others. */
async function joinPiece(
  ranks: Ranks,
  own: ArrayBuffer,
  piece: readonly PieceStretch[],
): Promise<ArrayBuffer | undefined> {
  const lengths = Array.from({ length: ranks.size }, () => 0);
  for (const { rank, bytes } of piece) lengths[rank] = nth(lengths, rank) + bytes;
  const starts = lengths.map((_, r) => lengths.slice(0, r).reduce((sum, n) => sum + n, 0));
  const all = await collectBytes(ranks, new Uint8Array(own), lengths);
  if (!all) return undefined;
  const whole = new Uint8Array(all.length);
  for (const { rank, at, bytes } of piece) {
    const from = nth(starts, rank);
    whole.set(all.subarray(from, from + bytes), at);
    starts[rank] = from + bytes;
  }
  return whole.buffer;
}
