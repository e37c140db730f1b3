/** Device memory for a batch's activations and scratch. @module */
import type { Allocator } from "../../kernels/device.ts";
import { type Matrix, matrixFloats, padded, type Region } from "../../kernels/layout.ts";

/** Hands out zeroed matrices and regions, and frees them together. */
export class Workspace {
  #device: Allocator;
  #regions: Region[] = [];

  constructor(device: Allocator) {
    this.#device = device;
  }

  /** A flat region of 4-byte words. */
  words(label: string, count: number): Region {
    const region = this.#device.allocate(label, 4 * count);
    this.#regions.push(region);
    return region;
  }

  /** A (rows, cols) panel matrix. */
  matrix(label: string, rows: number, cols: number): Matrix {
    return {
      region: this.words(label, matrixFloats(rows, cols)),
      rows,
      cols,
      stride: padded(rows),
    };
  }

  destroy(): void {
    for (const region of this.#regions) this.#device.free(region);
    this.#regions = [];
  }
}
