/** A workbench that watches the padding, and tests in every variant. @module */
import { type Device, type Variant, VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { fromPanels, type Matrix, padded, panelIndex, toPanels } from "../../kernels/layout.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { assert } from "../assert.ts";

/** A {@linkcode Workbench} whose matrices catch whoever touches their padding. */
export class Board extends Workbench {
  /** A panel matrix of row-major `values`; its padding rows hold 1e30 (3e4 where it is f16). */
  override matrix(
    values: ArrayLike<number> | undefined,
    rows: number,
    cols: number,
    type?: "f16",
  ): Matrix {
    const matrix = super.matrix(undefined, rows, cols, type);
    const { stride } = matrix;
    const panels = toPanels(Float32Array.from(values ?? new Float32Array(rows * cols)), rows, cols);
    for (let c = 0; c < padded(cols); c++) {
      for (let r = rows; r < stride; r++) panels[panelIndex(r, c, stride)] = poison(matrix);
    }
    this.writePanels(matrix, panels);
    return matrix;
  }

  /** A matrix as row-major values; fails where padding columns or rows were written. */
  override async values(matrix: Matrix): Promise<Float32Array> {
    const panels = await this.readPanels(matrix);
    const { rows, cols, stride } = matrix;
    for (let c = 0; c < padded(cols); c++) {
      for (let r = 0; r < stride; r++) {
        const value = panels[panelIndex(r, c, stride)]!;
        if (r >= rows) assert(value === poison(matrix), `padding row ${r} holds ${value}`);
        else if (c >= cols) assert(value === 0, `padding column ${c} of row ${r} holds ${value}`);
      }
    }
    return fromPanels(panels, rows, cols, stride);
  }
}

const poison = ({ type }: Matrix) => type === "f16" ? 3e4 : Math.fround(1e30);

/**
 * Declares a test in every variant that this machine's device can run; `reduces` adds gpu-tiled
 * without subgroup operations.
 */
export function deviceTest(
  name: string,
  fn: (board: Board, variant: Variant) => Promise<void>,
  { reduces = false } = {},
): void {
  const forms = VARIANTS.map((variant) => ({ variant, subgroups: true }));
  if (reduces) forms.push({ variant: "gpu-tiled", subgroups: false });
  for (const { variant, subgroups } of forms) {
    Deno.test({
      name: `${name} [${variant}${subgroups ? "" : " without subgroups"}]`,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: async () => {
        const board = new Board(await device(variant, subgroups));
        try {
          await fn(board, variant);
        } finally {
          board.clear();
        }
      },
    });
  }
}

const devices = new Map<string, Promise<Device>>();
const open: Device[] = [];
function device(variant: Variant, subgroups: boolean): Promise<Device> {
  const key = `${variant} ${subgroups}`;
  if (!devices.has(key)) {
    const opening = openDevice({ variant, subgroups });
    const noted = opening.then((device) => {
      open.push(device);
      return device;
    });
    devices.set(key, noted);
  }
  return devices.get(key)!;
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
  let largest = 0;
  let worst = 0;
  let at = 0;
  for (let i = 0; i < want.length; i++) {
    largest = Math.max(largest, Math.abs(want[i]!));
    const d = Math.abs(got[i]! - want[i]!);
    if (!(d <= worst)) {
      worst = Number.isNaN(d) ? Infinity : d;
      at = i;
    }
  }
  const error = worst / (largest || 1);
  assert(error <= limit, `${what}: error ${error} at ${at}: ${got[at]}, not ${want[at]}`);
}
