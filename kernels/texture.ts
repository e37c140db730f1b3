/**
 * Linear textures: texel i of a buffer lies at (i % width, i / width). CPU drivers load from textures
 * three times as fast as from buffers.
 * @module
 */
import { type Device, TEXTURE_WIDTH } from "./device.ts";
import type { Matrix, Region } from "./layout.ts";

/** Queues the copy of a region into a linear texture that is large enough: whole rows, then the rest. */
export function copyToTexture(
  encoder: GPUCommandEncoder,
  { buffer, offset, size }: Region,
  texture: GPUTexture,
  texelBytes = 16,
): void {
  const texels = size / texelBytes, whole = Math.floor(texels / TEXTURE_WIDTH);
  const rest = texels - whole * TEXTURE_WIDTH, bytesPerRow = TEXTURE_WIDTH * texelBytes;
  if (whole) {
    encoder.copyBufferToTexture({ buffer, offset, bytesPerRow }, { texture }, [
      TEXTURE_WIDTH,
      whole,
    ]);
  }
  if (rest) {
    encoder.copyBufferToTexture(
      { buffer, offset: offset + whole * bytesPerRow, bytesPerRow },
      { texture, origin: [0, whole] },
      [rest, 1],
    );
  }
}

/**
 * An f32 weight as a linear texture where the device's variant reads products' operands so; undefined
 * in the other variants. A copy: fill it anew when the weight changes.
 */
export function weightTexture(device: Device, weight: Matrix): GPUTexture | undefined {
  if (device.variant !== "cpu-subgroup") return undefined;
  const height = Math.ceil(weight.region.size / 16 / TEXTURE_WIDTH);
  const texture = device.allocateTexture("weight", height);
  const encoder = device.gpu.createCommandEncoder();
  copyToTexture(encoder, weight.region, texture);
  device.gpu.queue.submit([encoder.finish()]);
  return texture;
}
