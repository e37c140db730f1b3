/** The textures through which products on cpu-subgroup read their operands. @module */
import { type Device, TEXTURE_WIDTH } from "../device.ts";
import { elementBytes, type Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { copyToTexture } from "../texture.ts";
import type { StoredMatrix } from "./product.ts";

/** A small pool of linear textures that operands are copied into, one after another. */
class OperandTextures {
  readonly #device: Device;
  /** By slot, type and height. */
  readonly #textures = new Map<string, { texture: GPUTexture; view: GPUTextureView }>();
  /** What each slot was last loaded with, in the order of planning. */
  readonly #last = new Map<string, Region>();

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Appends the copy of `region` into the slot's texture, and returns the texture. Nothing is copied
   * where the slot holds the same region since its last load, and the caller says that its values are
   * the `same` as then.
   */
  load(
    plan: Plan,
    slot: "a" | "b",
    region: Region,
    stored: StoredMatrix,
    same = false,
  ): GPUTextureView {
    const texelBytes = 4 * elementBytes(stored);
    const height = Math.ceil(region.size / texelBytes / TEXTURE_WIDTH);
    // Heights in powers of two, so that few textures serve all shapes.
    const { texture, view } = this.#texture(slot, 2 ** Math.ceil(Math.log2(height)), stored);
    const last = this.#last.get(slot);
    this.#last.set(slot, region);
    const there = last?.buffer === region.buffer && last.offset === region.offset &&
      last.size === region.size;
    if (same && there) return view;
    plan.encode(
      "operand copy",
      region.size,
      (encoder) => copyToTexture(encoder, region, texture, texelBytes),
    );
    return view;
  }

  #texture(slot: string, height: number, { type }: StoredMatrix) {
    const key = `${slot} ${type ?? "f32"} ${height}`;
    const kept = this.#textures.get(key);
    if (kept) return kept;
    const texture = this.#device.allocateTexture(`operand ${key}`, height, type);
    const made = { texture, view: texture.createView() };
    this.#textures.set(key, made);
    return made;
  }
}

const TEXTURES = new WeakMap<Device, OperandTextures>();

/** A device's pool. */
export function operandTextures(device: Device): OperandTextures {
  const kept = TEXTURES.get(device);
  if (kept) return kept;
  const textures = new OperandTextures(device);
  TEXTURES.set(device, textures);
  return textures;
}
