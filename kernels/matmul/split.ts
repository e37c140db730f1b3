/**
 * Products whose K is cut into parts (see `splits` in choice.ts). Each part's sums go to scratch memory,
 * and a second kernel adds them up in order: without atomics, so that the same inputs always give the
 * same bits.
 * @module
 */
import type { Device } from "../device.ts";
import { type Matrix, matrixFloats, padded, PANEL, type Region, subregion } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, WgslWriter } from "../wgsl/mod.ts";
import { splitLength, splits } from "./choice.ts";
import { bindResult, declareStores, storeSum } from "./program_parts.ts";
import type { StoredMatrix } from "./product.ts";

/** How a product's K is cut. */
export interface Split {
  parts: number;
  /** Values of K per part. */
  length: number;
}

/** The cut of an (m, n, k) product on gpu-tiled; fewer parts where scratch memory would not bind. */
export function splitOf(m: number, n: number, k: number, bindingLimit: number): Split {
  const fitting = Math.floor(bindingLimit / (4 * matrixFloats(m, n)));
  const wanted = Math.max(1, Math.min(splits(m, n, k), fitting));
  const length = splitLength(k, wanted);
  return { parts: Math.ceil(padded(k) / length), length };
}

/** Bytes of scratch memory that an (m, n, k) product takes on gpu-tiled. */
export function splitBytes(m: number, n: number, k: number, bindingLimit: number): number {
  const { parts } = splitOf(m, n, k, bindingLimit);
  return parts > 1 ? scratchClass(4 * parts * matrixFloats(m, n)) : 0;
}

/** Scratch memory comes in powers of two, so that few buffers serve all shapes. */
const scratchClass = (bytes: number): number => 2 ** Math.ceil(Math.log2(bytes));

const SCRATCH = new WeakMap<Device, Map<number, Region>>();

/** Scratch memory for so many bytes; products run one after another and share it. */
export function splitScratch(device: Device, bytes: number): Region {
  const regions = SCRATCH.get(device) ?? new Map<number, Region>();
  SCRATCH.set(device, regions);
  const size = scratchClass(bytes);
  const region = regions.get(size) ?? device.allocate("parts of products", size);
  regions.set(size, region);
  return subregion(region, 0, bytes);
}

const SUM_PARAMS = uniforms({
  /** Vectors of a panel that hold rows in use. */
  panel_vectors: "u32",
  /** Rows allocated of a part, of C and of the residual: the distance between panels. */
  part_stride: "u32",
  c_stride: "u32",
  d_stride: "u32",
  /** Vectors of one part: where the next part begins. */
  part_vectors: "u32",
  parts: "u32",
});

/** The program that adds parts up; thread (x, y) takes vector x of panel y. */
function sumProgram(c: StoredMatrix, accumulate: boolean, residual: boolean): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", SUM_PARAMS);
  w.storage("parts", "vec4f");
  bindResult(w, c, residual);
  declareStores(w, c, residual);
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line(`
      let vector = id.x;
      let panel = id.y;
    `);
    w.if("vector >= p.panel_vectors", () => w.line("return;"));
    w.line(`
      let first = panel * p.part_stride * 8u + vector;
      let c_at = panel * p.c_stride * 8u + vector;
      var sum = vec4f();
    `);
    w.for("var part = 0u; part < p.parts; part++", () => {
      w.line("sum += parts[part * p.part_vectors + first];");
    });
    const dAt = "panel * p.d_stride * 8u + vector";
    w.line(storeSum(accumulate, { at: "c_at", dAt, sum: "sum" }, residual));
  });
  return w.program();
}

/** Queues C = (C +) (residual +) the sum of `parts` panel matrices of C's shape. */
export function sumSplit(
  plan: Plan,
  label: string,
  parts: { region: Region; count: number },
  c: Matrix,
  { accumulate = false, residual }: { accumulate?: boolean; residual?: Matrix },
): void {
  plan.dispatch({
    label: `${label} parts`,
    code: sumProgram(c, accumulate, residual !== undefined),
    params: SUM_PARAMS.pack({
      panel_vectors: c.rows * 8,
      part_stride: padded(c.rows),
      c_stride: c.stride,
      d_stride: residual?.stride ?? 0,
      part_vectors: matrixFloats(c.rows, c.cols) / 4,
      parts: parts.count,
    }),
    bindings: { parts: parts.region, C: c.region, D: residual?.region },
    groups: [Math.ceil(c.rows * 8 / VECTOR_GROUP), padded(c.cols) / PANEL],
    bytes: 4 * (parts.count + 1 + Number(accumulate)) * c.rows * c.cols,
  });
}
