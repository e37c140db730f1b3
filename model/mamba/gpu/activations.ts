/** Device memory for a batch's activations and scratch. @module */
import type { Allocator } from "../../../kernels/device.ts";
import {
  elementBytes,
  type Matrix,
  matrixFloats,
  padded,
  type Region,
} from "../../../kernels/layout.ts";

/** Hands out zeroed matrices and regions, and frees them together. */
export class Workspace {
  #device: Allocator;
  #regions: Region[] = [];

  constructor(device: Allocator) {
    this.#device = device;
  }

  /** A flat region of 4-byte words. */
  words(label: string, count: number): Region {
    return this.#keep(this.#device.allocate(label, 4 * count));
  }

  /** A (rows, cols) panel matrix. */
  matrix(label: string, rows: number, cols: number, type?: "f16"): Matrix {
    const bytes = elementBytes({ type }) * matrixFloats(rows, cols);
    const region = this.#keep(this.#device.allocate(label, bytes));
    return { region, rows, cols, stride: padded(rows), type };
  }

  #keep(region: Region): Region {
    this.#regions.push(region);
    return region;
  }

  destroy(): void {
    for (const region of this.#regions) this.#device.free(region);
    this.#regions = [];
  }
}
