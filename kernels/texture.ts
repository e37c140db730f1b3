/**
 * Linear textures: texel i of a buffer lies at (i % width, i / width). CPU drivers load from textures
 * three times as fast as from buffers.
 * @module
 */
import { type Device, TEXTURE_WIDTH } from "./device.ts";
import { elementBytes, type Matrix, type Region } from "./layout.ts";

/**
 * Queues the copy of a region into a linear texture that is large enough, from texel row `firstRow`
 * on: whole rows, then the rest.
 */
export function copyToTexture(
  encoder: GPUCommandEncoder,
  { buffer, offset, size }: Region,
  texture: GPUTexture,
  texelBytes = 16,
  firstRow = 0,
): void {
  const texels = size / texelBytes;
  const whole = Math.floor(texels / TEXTURE_WIDTH);
  const rest = texels - whole * TEXTURE_WIDTH;
  const bytesPerRow = TEXTURE_WIDTH * texelBytes;
  if (whole) {
    encoder.copyBufferToTexture(
      { buffer, offset, bytesPerRow },
      { texture, origin: [0, firstRow] },
      [TEXTURE_WIDTH, whole],
    );
  }
  if (rest) {
    encoder.copyBufferToTexture(
      { buffer, offset: offset + whole * bytesPerRow, bytesPerRow },
      { texture, origin: [0, firstRow + whole] },
      [rest, 1],
    );
  }
}

/**
 * A weight as a linear texture where the device's variant reads products' operands so; undefined
 * in the other variants. A copy: fill it anew when the weight changes.
 */
export function weightTexture(device: Device, weight: Matrix): GPUTexture | undefined {
  if (device.variant !== "cpu-subgroup") return undefined;
  const texelBytes = 4 * elementBytes(weight);
  const height = Math.ceil(weight.region.size / texelBytes / TEXTURE_WIDTH);
  const texture = device.allocateTexture("weight", height, weight.type);
  const encoder = device.gpu.createCommandEncoder();
  copyToTexture(encoder, weight.region, texture, texelBytes);
  device.gpu.queue.submit([encoder.finish()]);
  return texture;
}
