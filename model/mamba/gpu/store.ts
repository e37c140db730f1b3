/**
 * Where a model's parameters live on the device: which arena, in which layout, and how values go
 * between there and the Hugging Face shapes.
 *
 * Parameters are packed into arenas, one kind for those that weight decay applies to and one for the
 * rest, so that an update is a few long dispatches. Gradients and moments are arenas of the same
 * shape. In mixed precision the decayed ones, among which all matrices are, have a copy in f16.
 * @module
 */
import { fail } from "../../../core/errors.ts";
import { nth } from "../../../core/nth.ts";
import type { Allocator, Device } from "../../../kernels/device.ts";
import { type Matrix, padded, type Region, subregion } from "../../../kernels/layout.ts";
import type { MambaConfig } from "../config.ts";
import { type Parameter, parameterList } from "../parameters.ts";
import type { Slot, StoredParameters } from "./mixer.ts";
import { layoutOf, matrixForm, type Placement, storedGroups } from "./placement.ts";

/** One arena: its size, and a region for each slot in use. */
interface Arena {
  decay: boolean;
  floats: number;
  regions: Partial<Record<Slot, Region>>;
}

/** A stretch of an arena that is updated at one rate. */
interface UpdateRange {
  rate: number;
  decay: boolean;
  regions: Partial<Record<Slot, Region>>;
}

const bytesOf = (slot: string) => slot === "half" ? 2 : 4;

/**
 * Bytes of an arena of f32. An update takes one dispatch per arena, so large arenas give a GPU few
 * and long dispatches. A CPU driver gains nothing by that, and buffers of a moderate size find room
 * in a small machine's memory.
 */
const ARENA_BYTES = 1 << 27;
const GPU_ARENA_BYTES = 1 << 30;

/** What the store asks of a device; a count of its memory needs only the first part. */
/** The region of a slot that the model keeps. */
export const slotOf = (regions: Partial<Record<Slot, Region>>, slot: Slot): Region =>
  regions[slot] ?? fail(`the model keeps no ${slot}`);

type StoreDevice = Allocator & Partial<Pick<Device, "write" | "readFloats">>;

/** A model's parameters on the device. */
export class ParameterStore implements StoredParameters {
  readonly config: MambaConfig;
  readonly placements: readonly Placement[];
  readonly arenas: readonly Arena[];
  #device: StoreDevice;
  #byName: Map<string, Placement>;

  /** Allocates the given slots of every parameter, zeroed. */
  constructor(device: StoreDevice, config: MambaConfig, slots: readonly Slot[]) {
    this.#device = device;
    this.config = config;
    const placements: Placement[] = [];
    const arenas: Arena[] = [];
    const open: Partial<Record<"decay" | "keep", number>> = {};
    const most = device.variant === "gpu-tiled" ? GPU_ARENA_BYTES : ARENA_BYTES;
    const limit = Math.floor(Math.min(device.bindingLimit, most) / 4);
    const place = (floats: number, decay: boolean): { arena: number; offset: number } => {
      const key = decay ? "decay" : "keep";
      const size = Math.ceil(floats / 128) * 128; // 256 bytes of f16
      let arena = open[key];
      if (arena === undefined || nth(arenas, arena).floats + size > limit) {
        arena = arenas.length;
        arenas.push({ decay, floats: 0, regions: {} });
        open[key] = arena;
      }
      const own = nth(arenas, arena);
      const offset = own.floats;
      own.floats += size;
      return { arena, offset };
    };
    for (const group of storedGroups(config, parameterList(config))) {
      // What a recurrence binds together lies together.
      const parts = group.map((parameter) => layoutOf(config, parameter));
      const floats = parts.reduce((n, p) => n + p.floats, 0);
      const { arena, offset } = place(floats, nth(group, 0).decayed);
      let at = offset;
      parts.forEach((part, i) => {
        placements.push({ parameter: nth(group, i), arena, offset: at, ...part });
        at += part.floats;
      });
    }
    for (const [i, arena] of arenas.entries()) {
      for (const slot of slots) {
        if (slot === "half" && !arena.decay) continue;
        const bytes = bytesOf(slot) * arena.floats;
        arena.regions[slot] = device.allocate(`parameters ${slot} ${i}`, bytes);
      }
    }
    this.placements = placements;
    this.arenas = arenas;
    this.#byName = new Map(placements.map((p) => [p.parameter.name, p]));
  }

  #place(name: string): Placement {
    const placement = this.#byName.get(name);
    if (!placement) throw new RangeError(`The model has no parameter ${name}`);
    return placement;
  }

  /** The region of a parameter (flat for vectors, as the mixer has them). */
  region(name: string, slot: Slot = "value", floats?: number): Region {
    const { arena, offset, floats: own } = this.#place(name);
    const region = nth(this.arenas, arena).regions[slot];
    if (!region) throw new RangeError(`The model keeps no ${slot} of ${name}`);
    return subregion(region, bytesOf(slot) * offset, bytesOf(slot) * (floats ?? own));
  }

  /** A parameter as a panel matrix, padded extents included. */
  matrix(name: string, slot: Slot = "value"): Matrix {
    const form = matrixForm(this.config, name);
    if (!form) throw new RangeError(`${name} is not stored as a matrix`);
    return {
      region: this.region(name, slot),
      rows: form.rows,
      cols: form.cols,
      stride: padded(form.rows),
      type: slot === "half" ? "f16" : undefined,
    };
  }

  /** A parameter as products read it: its f16 copy where there is one. */
  operand(name: string): Matrix {
    return this.matrix(name, this.keeps("half") ? "half" : "value");
  }

  /** Values and their f16 copies, arena by arena. */
  get halves(): { from: Region; to: Region }[] {
    return this.arenas.flatMap(({ regions: { value, half } }) =>
      value && half ? [{ from: value, to: half }] : []
    );
  }

  /**
   * The arenas cut where `rate` (a multiplier of the learning rate) changes, without the parameters
   * whose rate is 0; a whole arena where it never does.
   */
  updateRanges(rate: (parameter: Parameter) => number): UpdateRange[] {
    const ranges: (UpdateRange & { arena: number; from: number; to: number })[] = [];
    for (const p of [...this.placements].sort((a, b) => a.arena - b.arena || a.offset - b.offset)) {
      const value = rate(p.parameter);
      const last = ranges.at(-1);
      const to = p.offset + p.floats;
      if (last?.arena === p.arena && last.rate === value) {
        last.to = to;
        continue;
      }
      const { decay } = nth(this.arenas, p.arena);
      ranges.push({ arena: p.arena, from: p.offset, to, rate: value, decay, regions: {} });
    }
    return ranges.filter((r) => r.rate !== 0).map(({ arena, from, to, rate, decay }) => ({
      rate,
      decay,
      regions: Object.fromEntries(
        Object.entries(nth(this.arenas, arena).regions).map(([slot, region]) => {
          const bytes = bytesOf(slot);
          return [slot, subregion(region, bytes * from, bytes * (to - from))];
        }),
      ),
    }));
  }

  /** Whether the slot is allocated. */
  keeps(slot: Slot): boolean {
    return this.arenas.some((arena) => arena.regions[slot]);
  }

  /** Uploads one slot of every parameter. */
  write(slot: Slot, read: (name: string) => Float32Array): void {
    const write = this.#device.write?.bind(this.#device) ??
      fail("a planned device holds no values");
    for (const p of this.placements) {
      const values = read(p.parameter.name);
      if (values.length !== p.parameter.size) {
        throw new RangeError(
          `${p.parameter.name} has ${values.length} values instead of ${p.parameter.size}`,
        );
      }
      const block = new Float32Array(p.floats);
      p.pack(values, block);
      write(this.region(p.parameter.name, slot), block);
    }
  }

  /** Downloads one slot of every parameter. */
  async read(slot: Slot): Promise<Map<string, Float32Array>> {
    const out = new Map<string, Float32Array>();
    for (const [i, arena] of this.arenas.entries()) {
      const data = await this.#readFloats(slotOf(arena.regions, slot));
      for (const p of this.placements) {
        if (p.arena !== i) continue;
        out.set(p.parameter.name, p.unpack(data.subarray(p.offset, p.offset + p.floats)));
      }
    }
    // In the model's order, which arenas do not keep.
    return new Map(
      parameterList(this.config).map((
        p,
      ) => [p.name, out.get(p.name) ?? fail(`${p.name} was not read`)]),
    );
  }

  #readFloats(region: Region): Promise<Float32Array> {
    if (!this.#device.readFloats) fail("a planned device holds no values");
    return this.#device.readFloats(region);
  }

  /**
   * Downloads one parameter's values in a slot, a piece at a time: a download takes its size twice
   * besides. Nothing that changes the parameter may be submitted meanwhile.
   */
  async readOne(slot: Slot, name: string, pieceBytes = 1 << 24): Promise<Float32Array> {
    const region = this.region(name, slot);
    const block = new Float32Array(region.size / 4);
    for (let at = 0; at < region.size; at += pieceBytes) {
      const piece = subregion(region, at, Math.min(pieceBytes, region.size - at));
      block.set(await this.#readFloats(piece), at / 4);
    }
    return this.#place(name).unpack(block);
  }

  /** Frees every arena. */
  destroy(): void {
    for (const { regions } of this.arenas) {
      for (const region of Object.values(regions)) this.#device.free(region);
    }
  }
}
