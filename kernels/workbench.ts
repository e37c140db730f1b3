/**
 * A place to try kernels on values from the host: matrices up, a plan run once, matrices down. For
 * goldens, self-tests and tests; a model keeps its own buffers.
 * @module
 */
import { Buffers } from "./buffers.ts";
import type { Device } from "./device.ts";
import { fromPanels, type Matrix, type Region, toPanels } from "./layout.ts";
import { Plan } from "./plan.ts";

/** See the module's text. Everything allocated through it is freed by `clear`. */
export class Workbench {
  /** Where it computes. */
  readonly device: Device;
  readonly #buffers: Buffers;

  /** Nothing is allocated yet. */
  constructor(device: Device) {
    this.device = device;
    this.#buffers = new Buffers(device);
  }

  /** A flat region of `values` (floats, or integers as they are), or of so many zero floats. */
  flat(values: ArrayLike<number> | number): Region {
    const count = typeof values === "number" ? values : values.length;
    const region = this.#buffers.words("workbench", count);
    if (typeof values !== "number" && count > 0) {
      const integers = values instanceof Uint32Array || values instanceof Int32Array;
      this.device.write(region, integers ? values.slice() : Float32Array.from(values));
    }
    return region;
  }

  /** A panel matrix of row-major `values` (rounded where it is f16), or of zeros. */
  matrix(
    values: ArrayLike<number> | undefined,
    rows: number,
    cols: number,
    type?: "f16",
  ): Matrix {
    const matrix = this.#buffers.matrix("workbench", rows, cols, type);
    if (values) this.writePanels(matrix, toPanels(Float32Array.from(values), rows, cols));
    return matrix;
  }

  /** Uploads a matrix's panels, padding included. */
  writePanels({ region, type }: Matrix, panels: Float32Array<ArrayBuffer>): void {
    this.device.write(region, type === "f16" ? Float16Array.from(panels) : panels);
  }

  /** A matrix's panels, padding included. */
  async readPanels({ region, type }: Matrix): Promise<Float32Array<ArrayBuffer>> {
    if (type !== "f16") return await this.device.readFloats(region);
    return Float32Array.from(new Float16Array(await this.device.read(region)));
  }

  /** Frees a region with the rest. */
  keep(region: Region): Region {
    return this.#buffers.keep(region);
  }

  /** Builds a plan, runs it once, waits. */
  async run(build: (plan: Plan) => void): Promise<void> {
    const plan = new Plan(this.device);
    try {
      await this.device.guard("plan the work", () => build(plan));
      plan.submit();
      await this.device.idle();
    } finally {
      plan.destroy();
    }
  }

  /** A matrix as row-major values. */
  async values(matrix: Matrix): Promise<Float32Array> {
    const { rows, cols, stride } = matrix;
    return fromPanels(await this.readPanels(matrix), rows, cols, stride);
  }

  /** The first `count` floats of a region. */
  async floats(region: Region, count: number): Promise<Float32Array> {
    return (await this.device.readFloats(region)).subarray(0, count);
  }

  /** Frees everything that was allocated through it. */
  clear(): void {
    this.#buffers.destroy();
  }
}
