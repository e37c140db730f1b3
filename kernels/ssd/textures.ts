/**
 * The operands of a chunk's products as linear textures, on CPU drivers with subgroups: these load from
 * textures three times as fast as from buffers. Layers follow each other and share them.
 * @module
 */
import { type Device, type Sizing, TEXTURE_WIDTH } from "../device.ts";
import type { Region } from "../layout.ts";
import type { Bound, Plan } from "../plan.ts";
import { copyToTexture } from "../texture.ts";
import type { WgslWriter } from "../wgsl/mod.ts";

/** Operands that are read through textures, by their names in programs. */
const OPERANDS = ["u", "gy", "pairs", "states", "dstates", "dpairs", "steps"];

/** Whether a device's programs read an operand through a texture. */
export const readsTexture = ({ variant }: Pick<Sizing, "variant">, name: string): boolean =>
  variant === "cpu-subgroup" && OPERANDS.includes(name);

/** Rows of the texture of so many bytes: in powers of two, so that few serve all shapes. */
const heightOf = (bytes: number, half: boolean) =>
  2 ** Math.ceil(Math.log2(Math.max(1, bytes / (half ? 8 : 16) / TEXTURE_WIDTH)));

/** Bytes of the texture of a region. */
export const textureBytes = (bytes: number, half: boolean): number =>
  heightOf(bytes, half) * TEXTURE_WIDTH * (half ? 8 : 16);

/**
 * Binds an operand that is read, as `read_NAME(i)`, the i-th vector: as a texture, or as a buffer of
 * `element`.
 */
export function declareOperand(
  w: WgslWriter,
  device: Pick<Sizing, "variant">,
  name: string,
  element: string,
): void {
  if (readsTexture(device, name)) {
    const format = element === "vec4h" ? "rgba16float" : "rgba32float";
    w.texture(name, `texture_storage_2d<${format}, read>`);
    return;
  }
  w.storage(name, element);
}

/** Declares `read_NAME(i)`. */
export function declareRead(
  w: WgslWriter,
  device: Pick<Sizing, "variant">,
  name: string,
): void {
  const shift = Math.log2(TEXTURE_WIDTH);
  const place = `vec2u(i & ${TEXTURE_WIDTH - 1}u, i >> ${shift}u)`;
  const load = readsTexture(device, name) ? `textureLoad(${name}, ${place})` : `vec4f(${name}[i])`;
  w.fn(`read_${name}(i: u32) -> vec4f`, `return ${load};`);
}

/** A texture of each name, kind and height. */
const POOLS = new WeakMap<Device, Map<string, GPUTexture>>();

/**
 * A region as programs read it: a texture, whose filling is queued where it is to be `copied`, or the
 * region itself.
 */
export function operand(
  plan: Plan,
  name: string,
  region: Region,
  { half, copied }: { half: boolean; copied: boolean },
): Bound {
  const { device } = plan;
  if (!readsTexture(device, name)) return region;
  let pool = POOLS.get(device);
  if (!pool) POOLS.set(device, pool = new Map());
  const height = heightOf(region.size, half);
  const key = `${name} ${half} ${height}`;
  let texture = pool.get(key);
  if (!texture) {
    texture = device.allocateTexture(`ssd ${name}`, height, half ? "f16" : undefined);
    pool.set(key, texture);
  }
  const to = texture;
  if (copied) {
    plan.encode("operand copy", region.size, (encoder) => {
      copyToTexture(encoder, region, to, half ? 8 : 16);
    });
  }
  return to.createView();
}
