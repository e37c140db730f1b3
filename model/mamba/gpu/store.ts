/**
 * Where a model's parameters live on the device: which arena, in which layout, and how values go
 * between there and the Hugging Face shapes.
 *
 * Parameters are packed into arenas, one kind for those that weight decay applies to and one for the
 * rest, so that an update is a few long dispatches. Gradients and moments are arenas of the same
 * shape. In mixed precision the decayed ones, among which all matrices are, have a copy in f16.
 *
 * What is frozen beside adapters has arenas of its own without gradients and moments; in mixed
 * precision its matrices are in f16 alone.
 * @module
 */
import { fail } from "../../../core/errors.ts";
import { nth } from "../../../core/nth.ts";
import type { Allocator, Device } from "../../../kernels/device.ts";
import { type Matrix, padded, type Region, subregion } from "../../../kernels/layout.ts";
import type { MambaConfig } from "../config.ts";
import { adapterNames, EMBEDDING_MODULE, loraScale, weightName } from "../lora.ts";
import { type Parameter, parameterList } from "../parameters.ts";
import { isSliced, type OwnedPart, type RankSlices, type SlicedRange } from "./rank_slices.ts";
import type { Adapter, LowRankBuffers, Slot, StoredParameters } from "./stored.ts";
import { layoutOf, matrixForm, nameInLayer, type Placement, storedGroups } from "./placement.ts";

/** Which parameters share an arena. */
interface ArenaKind {
  decay: boolean;
  /** Never trained. */
  frozen: boolean;
  /** In f16 alone. */
  halfAlone: boolean;
}

/** One arena: its size, and a region for each slot in use. */
interface Arena extends ArenaKind {
  floats: number;
  regions: Partial<Record<Slot, Region>>;
}

/** A stretch of an arena that is updated at one rate. */
interface UpdateRange {
  rate: number;
  decay: boolean;
  regions: Partial<Record<Slot, Region>>;
}

/** The same, by its floats in the arena. */
interface CutRange extends Pick<UpdateRange, "rate" | "decay"> {
  arena: number;
  from: number;
  to: number;
}

const bytesOf = (slot: string) => slot === "half" ? 2 : 4;

/**
 * Bytes of an arena of f32. An update takes one dispatch per arena, so large arenas give a GPU few
 * and long dispatches. A CPU driver gains nothing by that, and buffers of a moderate size find room
 * in a small machine's memory.
 */
const ARENA_BYTES = 1 << 27;
const GPU_ARENA_BYTES = 1 << 30;

/** The region of a slot that the model keeps. */
export const slotOf = (regions: Partial<Record<Slot, Region>>, slot: Slot): Region =>
  regions[slot] ?? fail(`the model keeps no ${slot}`);

/** What the store asks of a device; a count of its memory needs only the first part. */
type StoreDevice = Allocator & Partial<Pick<Device, "write" | "read" | "readFloats">>;

/** A model's parameters on the device. */
export class ParameterStore implements StoredParameters {
  readonly config: MambaConfig;
  readonly placements: readonly Placement[];
  readonly arenas: readonly Arena[];
  #device: StoreDevice;
  #byName: Map<string, Placement>;
  /**
   * Gradients of frozen vectors, which some kernels make along with others: by kind, one layer's in the
   * place of the other's, and never read.
   */
  #ignored: { region: Region; offsets: Map<string, number> } | undefined;
  /** What products with adapters work in; set by whoever allocates a model. */
  lowRank: LowRankBuffers | undefined;
  /** The slots that ranks share out among them; set by whoever allocates a model. */
  sliced: RankSlices | undefined;

  /** Allocates the given slots of every parameter, zeroed. */
  constructor(device: StoreDevice, config: MambaConfig, slots: readonly Slot[]) {
    this.#device = device;
    this.config = config;
    const placements: Placement[] = [];
    const arenas: Arena[] = [];
    const open = new Map<string, number>();
    const most = device.variant === "gpu-tiled" ? GPU_ARENA_BYTES : ARENA_BYTES;
    const limit = Math.floor(Math.min(device.bindingLimit, most) / 4);
    const place = (floats: number, kind: ArenaKind): { arena: number; offset: number } => {
      const key = JSON.stringify(kind);
      const size = Math.ceil(floats / 128) * 128; // 256 bytes of f16
      let arena = open.get(key);
      let kept = arena === undefined ? undefined : arenas[arena];
      if (arena === undefined || !kept || kept.floats + size > limit) {
        arena = arenas.length;
        kept = { ...kind, floats: 0, regions: {} };
        arenas.push(kept);
        open.set(key, arena);
      }
      const offset = kept.floats;
      kept.floats += size;
      return { arena, offset };
    };
    const ignored = new Map<string, number>();
    let ignoredFloats = 0;
    for (const group of storedGroups(config, parameterList(config))) {
      // What a recurrence binds together lies together.
      const parts = group.map((parameter) => layoutOf(config, parameter));
      const floats = parts.reduce((n, p) => n + p.floats, 0);
      const [first] = group;
      if (!first) continue;
      const frozen = first.frozen === true;
      const isMatrix = matrixForm(config, first.name) !== undefined;
      const halfAlone = frozen && isMatrix && slots.includes("half");
      const { arena, offset } = place(floats, { decay: first.decayed, frozen, halfAlone });
      const kind = nameInLayer(first.name);
      if (frozen && !isMatrix && slots.includes("gradient") && !ignored.has(kind)) {
        let within = ignoredFloats;
        parts.forEach((part, i) => {
          ignored.set(nameInLayer(group[i]?.name ?? ""), within);
          within += part.floats;
        });
        ignoredFloats += Math.ceil(floats / 128) * 128;
      }
      let at = offset;
      parts.forEach((part, i) => {
        placements.push({ parameter: nth(group, i), arena, offset: at, ...part });
        at += part.floats;
      });
    }
    for (const [i, arena] of arenas.entries()) {
      for (const slot of slots) {
        if (!holds(arena, slot)) continue;
        const bytes = bytesOf(slot) * arena.floats;
        arena.regions[slot] = device.allocate(`parameters ${slot} ${i}`, bytes);
      }
    }
    if (ignoredFloats) {
      const region = device.allocate("gradients that are ignored", 4 * ignoredFloats);
      this.#ignored = { region, offsets: ignored };
    }
    this.placements = placements;
    this.arenas = arenas;
    this.#byName = new Map(placements.map((p) => [p.parameter.name, p]));
  }

  /** Where a parameter lies. */
  place(name: string): Placement {
    const placement = this.#byName.get(name);
    if (!placement) throw new RangeError(`The model has no parameter ${name}`);
    return placement;
  }

  /** The region of a parameter (flat for vectors, as the mixer has them). */
  region(name: string, slot: Slot = "value", floats?: number): Region {
    const { arena, offset, floats: own, parameter } = this.place(name);
    const region = nth(this.arenas, arena).regions[slot];
    const ignored = this.#ignored?.offsets.get(nameInLayer(name));
    if (slot === "gradient" && parameter.frozen && this.#ignored && ignored !== undefined) {
      return subregion(this.#ignored.region, 4 * ignored, 4 * (floats ?? own));
    }
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

  /** A parameter whose rows are looked up: its f32 values, or where these are not kept, its f16 copy. */
  table(name: string): Matrix {
    return this.matrix(name, this.#slotOf(this.place(name), "value"));
  }

  /** Whether a parameter has a gradient. */
  trains(name: string): boolean {
    const { arena } = this.place(name);
    return this.arenas[arena]?.regions.gradient !== undefined;
  }

  /** The adapter of a weight, by the weight's name; undefined where it has none. */
  adapter(weight: string): Adapter | undefined {
    const { lora } = this.config;
    const module = lora?.modules.find((name) => weightName(name) === weight);
    if (!lora || module === undefined) return undefined;
    const { a, b } = adapterNames(module);
    const gradients = this.keeps("gradient")
      ? { a: this.matrix(a, "gradient"), b: this.matrix(b, "gradient") }
      : undefined;
    return {
      a: this.operand(a),
      b: this.operand(b),
      // Looked up as the embedding is, which is not a product.
      table: module === EMBEDDING_MODULE ? this.matrix(a) : undefined,
      gradients,
      scale: loraScale(lora),
      dropout: lora.dropout > 0,
      salt: lora.modules.indexOf(module) + 1,
    };
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
    return this.#ranges(rate).filter((r) => r.rate !== 0).map((
      { arena, from, to, rate, decay },
    ) => ({
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

  /** As {@linkcode updateRanges}, with what does not train, for ranks to share out. */
  slicedRanges(rate: (parameter: Parameter) => number): SlicedRange[] {
    return this.#ranges(rate).flatMap(({ arena, from, to, rate, decay }) => {
      const { gradient } = nth(this.arenas, arena).regions;
      if (!gradient) return []; // frozen for good
      const start = 4 * from;
      return [{ arena, start, rate, decay, gradient: subregion(gradient, start, 4 * to - start) }];
    });
  }

  #ranges(rate: (parameter: Parameter) => number): CutRange[] {
    const ranges: CutRange[] = [];
    for (const p of [...this.placements].sort((a, b) => a.arena - b.arena || a.offset - b.offset)) {
      const value = p.parameter.frozen ? 0 : rate(p.parameter);
      const last = ranges.at(-1);
      // Whole vectors of four, as kernels take them: each block is followed by zeros up to a multiple.
      const to = Math.ceil((p.offset + p.floats) / 4) * 4;
      if (last?.arena === p.arena && last.rate === value) {
        last.to = to;
        continue;
      }
      const { decay } = nth(this.arenas, p.arena);
      ranges.push({ arena: p.arena, from: p.offset, to, rate: value, decay });
    }
    return ranges;
  }

  /** Whether the slot is allocated. */
  keeps(slot: Slot): boolean {
    return this.arenas.some((arena) => arena.regions[slot]) || this.sliced?.keeps(slot) === true;
  }

  /** Uploads one slot of every parameter that has it; of a sliced one, what this rank owns. */
  write(slot: Slot, read: (name: string) => Float32Array): void {
    const write = this.#device.write?.bind(this.#device) ??
      fail("a planned device holds no values");
    const { sliced } = this;
    for (const p of this.placements) {
      if (sliced && isSliced(slot) && sliced.keeps(slot)) {
        const own = this.partsOf(p.parameter.name)
          .filter(({ rank }) => rank === sliced.place.rank);
        if (!own.length) continue;
        const block = this.#packed(p, read);
        for (const { from, to, kept } of own) {
          const part = block.subarray(from / 4 - p.offset, to / 4 - p.offset);
          write(sliced.region(slot, p.arena, kept, to - from), part);
        }
        continue;
      }
      const held = this.#slotOf(p, slot);
      if (!held) continue;
      const block = this.#packed(p, read);
      const stored = held === "half" ? new Float16Array(block) : block;
      write(this.region(p.parameter.name, held), stored);
    }
  }

  /** Which rank owns which bytes of a parameter, where ranks share slots out; bytes of its arena. */
  partsOf(name: string): OwnedPart[] {
    const { arena, offset, floats } = this.place(name);
    return this.sliced?.partsOf(arena, 4 * offset, 4 * (offset + floats)) ?? [];
  }

  /** A parameter's values as the device has them. */
  #packed(p: Placement, read: (name: string) => Float32Array): Float32Array<ArrayBuffer> {
    const values = read(p.parameter.name);
    if (values.length !== p.parameter.size) {
      throw new RangeError(
        `${p.parameter.name} has ${values.length} values instead of ${p.parameter.size}`,
      );
    }
    const block = new Float32Array(p.floats);
    p.pack(values, block);
    return block;
  }

  /** Downloads one slot of every parameter that has it. */
  async read(slot: Slot): Promise<Map<string, Float32Array>> {
    const out = new Map<string, Float32Array>();
    for (const [i, { regions, halfAlone }] of this.arenas.entries()) {
      const held = halfAlone && slot === "value" ? "half" : slot;
      const region = regions[held];
      if (!region) continue;
      const data = await this.#floats(region, held);
      for (const p of this.placements) {
        if (p.arena !== i) continue;
        out.set(p.parameter.name, p.unpack(data.subarray(p.offset, p.offset + p.floats)));
      }
    }
    // In the model's order, which arenas do not keep.
    return new Map(
      parameterList(this.config).flatMap(({ name }) => {
        const values = out.get(name);
        return values ? [[name, values] as const] : [];
      }),
    );
  }

  /**
   * Downloads one parameter's values in a slot, a piece at a time: a download takes its size twice
   * besides. Nothing that changes the parameter may be submitted meanwhile.
   */
  async readOne(slot: Slot, name: string, pieceBytes = 1 << 24): Promise<Float32Array> {
    const place = this.place(name);
    const held = this.#slotOf(place, slot) ?? slot;
    const region = this.region(name, held);
    const block = new Float32Array(region.size / bytesOf(held));
    for (let at = 0; at < region.size; at += pieceBytes) {
      const piece = subregion(region, at, Math.min(pieceBytes, region.size - at));
      block.set(await this.#floats(piece, held), at / bytesOf(held));
    }
    return place.unpack(block);
  }

  /** Where the slot of a parameter is: values may be in f16 alone. */
  #slotOf({ arena }: Placement, slot: Slot): Slot | undefined {
    const regions = this.arenas[arena]?.regions ?? {};
    if (regions[slot]) return slot;
    return slot === "value" && regions.half ? "half" : undefined;
  }

  /** Downloads f32, or f16 as f32. */
  async #floats(region: Region, slot: Slot): Promise<Float32Array> {
    const { read, readFloats } = this.#device;
    if (!read || !readFloats) fail("a planned device holds no values");
    if (slot !== "half") return await readFloats.call(this.#device, region);
    return Float32Array.from(new Float16Array(await read.call(this.#device, region)));
  }

  /** Frees every arena. */
  destroy(): void {
    for (const { regions } of this.arenas) {
      for (const region of Object.values(regions)) this.#device.free(region);
    }
    if (this.#ignored) this.#device.free(this.#ignored.region);
    this.sliced?.destroy();
  }
}

/** Whether an arena has a slot that the model keeps. */
function holds({ decay, frozen, halfAlone }: ArenaKind, slot: Slot): boolean {
  if (halfAlone) return slot === "half";
  if (frozen) return slot === "value";
  return slot !== "half" || decay;
}
