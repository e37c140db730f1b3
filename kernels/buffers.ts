/** The one owner of device memory that is freed together. @module */
import type { Allocator } from "./device.ts";
import { elementBytes, type Matrix, matrixFloats, padded, type Region } from "./layout.ts";

/**
 * Hands out zeroed regions and matrices, and frees them together. Over a device that only counts, it
 * counts what they would take.
 */
export class Buffers {
  readonly #device: Allocator;
  #regions: Region[] = [];

  constructor(device: Allocator) {
    this.#device = device;
  }

  /** A flat region of so many bytes. */
  bytes(label: string, bytes: number): Region {
    return this.keep(this.#device.allocate(label, bytes));
  }

  /** A flat region of 4-byte words. */
  words(label: string, count: number): Region {
    return this.bytes(label, 4 * count);
  }

  /** A (rows, cols) panel matrix. */
  matrix(label: string, rows: number, cols: number, type?: "f16"): Matrix {
    const region = this.bytes(label, elementBytes({ type }) * matrixFloats(rows, cols));
    return { region, rows, cols, stride: padded(rows), type };
  }

  /** Frees a region with the rest. */
  keep(region: Region): Region {
    this.#regions.push(region);
    return region;
  }

  /** Frees everything. */
  destroy(): void {
    for (const region of this.#regions) this.#device.free(region);
    this.#regions = [];
  }
}
