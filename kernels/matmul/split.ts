/**
 * Products whose K is cut into parts (see `splits` in choice.ts): each part's sums go to scratch, and
 * a second kernel adds them up in order. No atomics, so reruns give the same bits.
 * @module
 */
import type { Device } from "../device.ts";
import { type Matrix, matrixFloats, padded, PANEL, type Region, subregion } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { declare, enableHalf, vectorOf } from "../wgsl/mod.ts";
import { splitLength, splits } from "./choice.ts";

/** How a product's K is cut. */
export interface Split {
  parts: number;
  /** Values of K a part. */
  length: number;
}

/** The cut of an (m, n, k) product on gpu-tiled; fewer parts where scratch would not bind. */
export function splitOf(m: number, n: number, k: number, bindingLimit: number): Split {
  const fitting = Math.floor(bindingLimit / (4 * matrixFloats(m, n)));
  const wanted = Math.max(1, Math.min(splits(m, n, k), fitting));
  const length = splitLength(k, wanted);
  return { parts: Math.ceil(padded(k) / length), length };
}

/** Bytes of scratch that a product takes on gpu-tiled. */
export function splitBytes(m: number, n: number, k: number, bindingLimit: number): number {
  const { parts } = splitOf(m, n, k, bindingLimit);
  return parts > 1 ? scratchClass(4 * parts * matrixFloats(m, n)) : 0;
}

/** Scratch comes in powers of two, so that few buffers serve all shapes. */
const scratchClass = (bytes: number) => 2 ** Math.ceil(Math.log2(bytes));

const SCRATCH = new WeakMap<Device, Map<number, Region>>();

/** Scratch for so many bytes; products that run one after another share it. */
export function splitScratch(device: Device, bytes: number): Region {
  let regions = SCRATCH.get(device);
  if (!regions) SCRATCH.set(device, regions = new Map());
  const size = scratchClass(bytes);
  let region = regions.get(size);
  if (!region) regions.set(size, region = device.allocate("parts of products", size));
  return subregion(region, 0, bytes);
}

/** Queues C = (C +) (residual +) the sum of `parts` panel matrices of C's shape. */
export function sumSplit(
  plan: Plan,
  label: string,
  parts: Region,
  count: number,
  c: Matrix,
  { accumulate, residual }: { accumulate?: boolean; residual?: Matrix },
): void {
  const stride = padded(c.rows), panels = padded(c.cols) / PANEL, C = vectorOf(c);
  const terms = `${accumulate ? "vec4f(C[at]) + " : ""}total${
    residual ? " + D[panel * p.rd * 8u + id.x]" : ""
  }`;
  plan.dispatch({
    label: `${label} parts`,
    code: `${
      enableHalf(c)
    }struct P { line: u32, rows: u32, rc: u32, rd: u32, slab: u32, parts: u32 }
${
      declare([
        "<uniform> p: P",
        "<storage, read> parts: array<vec4f>",
        `<storage, read_write> C: array<${C}>`,
        ...(residual ? ["<storage, read> D: array<vec4f>"] : []),
      ])
    }
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.line) { return; }
  let panel = id.y;
  let start = panel * p.rows * 8u + id.x;
  let at = panel * p.rc * 8u + id.x;
  var total = vec4f();
  for (var k = 0u; k < p.parts; k++) { total += parts[k * p.slab + start]; }
  C[at] = ${C}(${terms});
}`,
    params: packParams([
      c.rows * 8,
      stride,
      c.stride,
      residual?.stride ?? 0,
      matrixFloats(c.rows, c.cols) / 4,
      count,
    ]),
    bindings: [parts, c.region, ...(residual ? [residual.region] : [])],
    groups: [Math.ceil(c.rows * 8 / 64), panels],
    bytes: 4 * (count + 1 + Number(accumulate ?? false)) * c.rows * c.cols,
  });
}
