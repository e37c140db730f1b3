/**
 * State space duality in the device's variant, forward and backward; see shape.ts for what it computes
 * and its layouts.
 * @module
 */
import type { Device, Sizing } from "../device.ts";
import { type Region, subregion } from "../layout.ts";
import type { Bound, KernelCall, Plan } from "../plan.ts";
import { sumPartials } from "../reduce/reduce.ts";
import type { Program } from "../wgsl/mod.ts";
import { PARAMS, type SsdProgram } from "./declarations.ts";
import {
  inputsProduct,
  outputsProduct,
  pairsGradientProduct,
  pairsProduct,
  projectionProduct,
  statesProduct,
} from "./products.ts";
import {
  carriesStates,
  chunkOf,
  PLANES,
  type SsdBackward,
  ssdExtents,
  type SsdForward,
  type SsdShape,
  type SsdSizes,
} from "./shape.ts";
import { operand, readsTexture, textureBytes } from "./textures.ts";
import { tileGroups, type TileProduct, tileProgram, tileSize } from "./tile.ts";
import { finishProgram, HEAD_GROUP, stepsProgram } from "./walks.ts";

export type { SsdBackward, SsdExtents, SsdForward, SsdShape, SsdSizes } from "./shape.ts";
export { chunkOf, ssdExtents } from "./shape.ts";

/** Where each kind of partial sums begins, in floats, and how many there are. */
function sumPlaces(device: Sizing, program: SsdProgram) {
  const { shape, chunk } = program;
  const { pp, np, width, headWidth } = ssdExtents(shape);
  const { variant } = device;
  const chunks = shape.batch * Math.ceil(shape.length / chunk);
  const rows = (columns: number) =>
    chunks * shape.heads * columns / tileSize(variant, { rows: chunk, columns }).columns * chunk;
  const pairTiles = chunk / tileSize(variant, { rows: chunk, columns: chunk }).rows;
  const skipTiles = chunk / tileSize(variant, { rows: chunk, columns: pp }).rows;
  const counts = {
    skips: chunks * skipTiles * width,
    parts: chunks * 3 * headWidth,
    direct: rows(pp),
    later: rows(chunk),
    earlier: chunks * shape.heads * pairTiles * chunk,
    taken: rows(np),
    given: rows(np),
    passed: chunks * shape.heads * np * pp / tileSize(variant, { rows: np, columns: pp }).rows,
  };
  let total = 0;
  const places = { ...counts };
  for (const name of Object.keys(counts) as (keyof typeof counts)[]) {
    places[name] = total;
    total += Math.ceil(counts[name] / 64) * 64; // regions begin at multiples of 256 bytes
  }
  return { places, counts, total, chunks, skipTiles };
}

/** Floats of each buffer. */
export function ssdSizes(device: Sizing, shape: SsdShape): SsdSizes {
  const chunk = chunkOf(shape);
  const program = { shape, chunk, variant: device.variant };
  const { pp, np, stride, headWidth } = ssdExtents(shape);
  const { total, chunks } = sumPlaces(device, program);
  return {
    par: 3 * headWidth,
    state: shape.batch * shape.heads * pp * np,
    steps: chunks * shape.heads * PLANES * chunk,
    pairs: stride * shape.groups * chunk,
    states: chunks * shape.heads * pp * np,
    sums: total,
  };
}

/** Bytes of the textures through which products read their operands, where the device has them so. */
export function ssdTextureBytes(device: Sizing, shape: SsdShape, training: boolean): number {
  const { stride, columns, width } = ssdExtents(shape);
  const { steps, pairs, states } = ssdSizes(device, shape);
  const forward = { steps, pairs, states };
  const backward = training ? { gy: stride * width, dstates: states, dpairs: pairs } : {};
  let total = 0;
  for (const [name, floats] of Object.entries({ ...forward, ...backward })) {
    if (readsTexture(device, name)) total += textureBytes(4 * floats, false);
  }
  const half = shape.half ?? false;
  const u = textureBytes((half ? 2 : 4) * stride * columns, half);
  return total + (readsTexture(device, "u") ? u : 0);
}

/**
 * Multiply-adds of a token in a product over k, twice: floating-point operations of the batch, as if each
 * sequence were one document. With more there are fewer.
 */
const flopOf = ({ batch, length, heads }: SsdShape, each: number) =>
  2 * batch * length * heads * each;

/** What programs bind, by name. */
type Bindings = Record<string, Bound | undefined>;

/** Queues programs of one shape. */
class Queue {
  readonly program: SsdProgram;
  readonly #params: ArrayBuffer;
  readonly chunks: number;

  constructor(readonly plan: Plan, readonly shape: SsdShape) {
    const chunk = chunkOf(shape);
    this.program = { shape, chunk, variant: plan.device.variant };
    const { places, chunks } = sumPlaces(plan.device, this.program);
    this.chunks = chunks;
    const { stride, headWidth, b, c } = ssdExtents(shape);
    this.#params = PARAMS.pack({
      length: shape.length,
      stride,
      heads: shape.heads,
      per_group: shape.heads / shape.groups,
      heads_padded: headWidth,
      b_column: b,
      c_column: c,
      chunks: chunks / shape.batch,
      ...places,
    });
  }

  /** Queues a program made once for each key. */
  dispatch(
    label: string,
    make: () => Program,
    bindings: Bindings,
    groups: [number, number, number],
    work: Pick<KernelCall, "flop" | "bytes"> = {},
  ): void {
    const { device } = this.plan;
    const code = cached(device, `${label} ${JSON.stringify(this.#key())}`, make);
    this.plan.dispatch({ label, code, params: this.#params, bindings, groups, ...work });
  }

  /** Regions as products read them, by the names that they have there: copied now, if at all. */
  operands(regions: Record<string, Region>, copied = true): Bindings {
    const half = this.shape.half ?? false;
    return Object.fromEntries(
      Object.entries(regions).map(([name, region]) => [
        name,
        operand(this.plan, name, region, { half: half && name === "u", copied }),
      ]),
    );
  }

  /** What programs depend on. */
  #key() {
    const { pp, np } = ssdExtents(this.shape);
    const { softplus, skip, packed, initialState, lastState, limits, half } = this.shape;
    const { chunk } = this.program;
    const carries = carriesStates(this.shape);
    return {
      pp,
      np,
      softplus,
      skip,
      packed,
      initialState,
      lastState,
      carries,
      limits,
      half,
      chunk,
    };
  }

  /** Queues a product over heads or groups (`over` of them), and over chunks or, as told, sequences. */
  product(
    label: string,
    product: TileProduct,
    over: number,
    bindings: Bindings,
    work: Pick<KernelCall, "flop" | "bytes">,
    pieces = this.chunks,
  ): void {
    const { variant } = this.plan.device;
    const groups: [number, number, number] = [tileGroups(variant, product), over, pieces];
    if (!groups[0]) return;
    this.dispatch(label, () => tileProgram(variant, product), bindings, groups, work);
  }
}

/** Programs of each device, which take a while to write. */
const PROGRAMS = new WeakMap<Device, Map<string, Program>>();
function cached(device: Device, key: string, make: () => Program): Program {
  let programs = PROGRAMS.get(device);
  if (!programs) PROGRAMS.set(device, programs = new Map());
  let program = programs.get(key);
  if (!program) programs.set(key, program = make());
  return program;
}

/** Appends the forward: y and the last state; fills what is kept for the backward. */
export function ssdForward(plan: Plan, shape: SsdShape, buffers: SsdForward): void {
  const queue = new Queue(plan, shape);
  const { program, chunks } = queue;
  const { chunk } = program;
  const { pp, np, width, columns, stride } = ssdExtents(shape);
  const { heads, groups, batch } = shape;
  const bindings: Bindings = { ...buffers };
  const stored = shape.half ? 2 : 4;
  const stateBytes = 4 * chunks * heads * pp * np;
  queue.dispatch("ssd steps", () => stepsProgram(program), bindings, [
    Math.ceil(heads / HEAD_GROUP),
    chunks,
    1,
  ], { bytes: 4 * stride * heads * (PLANES + 1) });
  const { u, steps, pairs, states } = buffers;
  const read = { ...bindings, ...queue.operands({ u, steps }) };
  const carries = carriesStates(shape);
  queue.product("ssd pairs", pairsProduct(program), groups, read, {
    flop: flopOf(shape, chunk * np / 2) / heads * groups,
    bytes: stride * groups * (2 * np * stored + 4 * chunk),
  });
  if (carries) {
    const carried = { ...read, carried: states };
    queue.product("ssd states", statesProduct(program, false), heads, carried, {
      flop: flopOf(shape, pp * np),
      bytes: stride * (width + groups * np) * stored + stateBytes,
    }, batch);
  }
  const ofStates = {
    ...read,
    ...queue.operands({ pairs }),
    ...queue.operands({ states }, carries),
  };
  queue.product("ssd outputs", outputsProduct(program), heads, ofStates, {
    flop: flopOf(shape, pp * ((carries ? np : 0) + chunk / 2)),
    bytes: stride * (columns * stored + 4 * width + 4 * groups * chunk) + stateBytes,
  });
}

/** Appends the backward; what the forward kept must still be there. */
export function ssdBackward(plan: Plan, shape: SsdShape, buffers: SsdBackward): void {
  const queue = new Queue(plan, shape);
  const { program, chunks } = queue;
  const { chunk } = program;
  const { pp, np, width, columns, stride, headWidth } = ssdExtents(shape);
  const { heads, groups, batch } = shape;
  const stored = shape.half ? 2 : 4;
  const stateBytes = 4 * chunks * heads * pp * np;
  const { u, gy, steps, pairs, states, dstates, dpairs } = buffers;
  const all: Bindings = { ...buffers };
  const carries = carriesStates(shape);
  const read = {
    ...all,
    ...queue.operands({ u, gy, steps }),
    ...queue.operands({ states }, carries),
  };
  const carried = { ...read, carried: dstates, state: buffers.dstate };
  const rows = stride * (columns * stored + 4 * columns + 4 * width);
  if (carries) {
    queue.product("ssd states backward", statesProduct(program, true), heads, carried, {
      flop: flopOf(shape, pp * np),
      bytes: stride * (groups * np * stored + 4 * width) + 2 * stateBytes,
    }, batch);
  }
  const gradient = queue.operands({ dstates }, carries);
  const ofGradient = { ...read, ...queue.operands({ pairs }), states: gradient.dstates };
  queue.product("ssd inputs backward", inputsProduct(program), heads, ofGradient, {
    flop: flopOf(shape, pp * ((carries ? np : 0) + chunk / 2)),
    bytes: rows + stateBytes,
  });
  for (const part of ["diagonal", "below"] as const) {
    const product = pairsGradientProduct(program, part);
    queue.product(`ssd pairs backward, ${part}`, product, groups, ofGradient, {
      flop: flopOf(shape, pp * chunk / 4),
      bytes: stride * (width * (stored + 4) + 8 * groups * chunk) / 2,
    });
  }
  const ofPairs = { ...ofGradient, ...queue.operands({ dpairs }) };
  queue.product("ssd B backward", projectionProduct(program, "B"), groups, ofPairs, {
    flop: flopOf(shape, carries ? pp * np : 0) + flopOf(shape, np * chunk / 2) / heads * groups,
    bytes: rows / 2 + stateBytes,
  });
  const ofState = { ...ofPairs, states: read.states };
  queue.product("ssd C backward", projectionProduct(program, "C"), groups, ofState, {
    flop: flopOf(shape, carries ? pp * np : 0) + flopOf(shape, np * chunk / 2) / heads * groups,
    bytes: rows / 2 + stateBytes,
  });
  queue.dispatch("ssd steps backward", () => finishProgram(program), all, [
    Math.ceil(headWidth / HEAD_GROUP),
    chunks,
    1,
  ], { bytes: 4 * stride * heads * 8 });
  const { places, skipTiles } = sumPlaces(plan.device, program);
  const reduce = (from: number, count: number, size: number, out: Region) =>
    sumPartials(plan, {
      partials: subregion(buffers.sums, 4 * from, 4 * count * size),
      count,
      width: size,
      out,
      length: size,
      accumulate: false,
    });
  reduce(places.parts, chunks, 3 * headWidth, buffers.dpar);
  if (shape.skip !== "channel") return;
  if (!buffers.dskip) throw new RangeError("D of channels needs a place for its gradient");
  reduce(places.skips, chunks * skipTiles, width, buffers.dskip);
}
