/** A device with what kernel tests need: matrices up, matrices down, a plan run once. @module */
import { type Device, openDevice, type Variant, VARIANTS } from "../../kernels/device.ts";
import {
  fromPanels,
  type Matrix,
  matrixFloats,
  padded,
  type Region,
  toPanels,
} from "../../kernels/layout.ts";
import { Plan } from "../../kernels/plan.ts";
import { assert } from "../assert.ts";

/** A test's device; everything allocated through it is freed by `clear`. */
export class Board {
  readonly device: Device;
  #regions: Region[] = [];

  constructor(device: Device) {
    this.device = device;
  }

  /** A flat region of `values`, or of so many zero floats. */
  flat(values: ArrayLike<number> | number): Region {
    const count = typeof values === "number" ? values : values.length;
    const region = this.device.allocate("test", 4 * count);
    this.#regions.push(region);
    if (typeof values !== "number") {
      const typed = values instanceof Uint32Array || values instanceof Int32Array;
      this.device.write(region, typed ? values.slice() : Float32Array.from(values));
    }
    return region;
  }

  /** A panel matrix of row-major `values`; its padding rows hold 1e30 to catch whoever reads them. */
  matrix(values: ArrayLike<number> | undefined, rows: number, cols: number): Matrix {
    const floats = matrixFloats(rows, cols), stride = padded(rows);
    const panels = toPanels(Float32Array.from(values ?? new Float32Array(rows * cols)), rows, cols);
    for (let c = 0; c < padded(cols); c++) {
      for (let r = rows; r < stride; r++) panels[((c >> 5) * stride + r) * 32 + (c & 31)] = 1e30;
    }
    const region = this.device.allocate("test", 4 * floats);
    this.#regions.push(region);
    this.device.write(region, panels);
    return { region, rows, cols, stride };
  }

  /** Builds a plan, runs it once, waits. */
  async run(build: (plan: Plan) => void): Promise<void> {
    const plan = new Plan(this.device);
    await this.device.guard("plan the test", () => build(plan));
    plan.submit();
    await this.device.idle();
    plan.destroy();
  }

  /** A matrix as row-major values; fails where padding columns or rows were written. */
  async values(matrix: Matrix): Promise<Float32Array> {
    const panels = await this.device.readFloats(matrix.region), { rows, cols, stride } = matrix;
    for (let c = 0; c < padded(cols); c++) {
      for (let r = 0; r < stride; r++) {
        const value = panels[((c >> 5) * stride + r) * 32 + (c & 31)]!;
        if (r >= rows) assert(value === Math.fround(1e30), `padding row ${r} holds ${value}`);
        else if (c >= cols) assert(value === 0, `padding column ${c} of row ${r} holds ${value}`);
      }
    }
    return fromPanels(panels, rows, cols, stride);
  }

  /** The first `count` floats of a region. */
  async floats(region: Region, count: number): Promise<Float32Array> {
    return (await this.device.readFloats(region)).subarray(0, count);
  }

  clear(): void {
    for (const region of this.#regions) this.device.free(region);
    this.#regions = [];
  }
}

/** Declares a test in every variant that this machine's device can run. */
export function deviceTest(
  name: string,
  fn: (board: Board, variant: Variant) => Promise<void>,
): void {
  for (const variant of VARIANTS) {
    Deno.test({
      name: `${name} [${variant}]`,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: async () => {
        const board = new Board(await device(variant));
        try {
          await fn(board, variant);
        } finally {
          board.clear();
        }
      },
    });
  }
}

const devices = new Map<Variant, Promise<Device>>();
const open: Device[] = [];
function device(variant: Variant): Promise<Device> {
  if (!devices.has(variant)) {
    const opening = openDevice({ variant });
    devices.set(variant, opening.then((device) => (open.push(device), device)));
  }
  return devices.get(variant)!;
}
// A CPU driver's threads should not outlive the last test.
globalThis.addEventListener("unload", () => open.forEach((device) => device.destroy()));

/** Fails where max|got - want| exceeds `limit` x max|want| (an absolute `limit` where that is 0). */
export function assertClose(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  limit = 3e-6,
): void {
  assert(got.length === want.length, `${what}: ${got.length} values, not ${want.length}`);
  let largest = 0, worst = 0, at = 0;
  for (let i = 0; i < want.length; i++) {
    largest = Math.max(largest, Math.abs(want[i]!));
    const d = Math.abs(got[i]! - want[i]!);
    if (!(d <= worst)) worst = Number.isNaN(d) ? Infinity : d, at = i;
  }
  const error = worst / (largest || 1);
  assert(error <= limit, `${what}: error ${error} at ${at}: ${got[at]}, not ${want[at]}`);
}
