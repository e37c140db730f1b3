/** How kernels bind regions and matrices, and map invocations to vectors of four values. @module */
import type { Sizing } from "../device.ts";
import { type Matrix, type Region, subregion } from "../layout.ts";
import type { WgslWriter } from "./writer.ts";

/** A region whose size is rounded up to whole vec4f (allocations and arenas leave the room). */
export const vectors = (region: Region): Region => ({
  ...region,
  size: Math.ceil(region.size / 16) * 16,
});

/** What may be stored in f16: a matrix, or a binding that says as much. */
type Stored = Pick<Matrix, "type"> | undefined;

/** The WGSL type of four stored elements. It converts on storing; `vec4f(...)` converts on loading. */
export const vectorOf = (stored: Stored): "vec4f" | "vec4h" =>
  stored?.type === "f16" ? "vec4h" : "vec4f";

/**
 * Parts of a flat region that each fit the device's binding limit, at multiples of `unit` bytes from
 * its start.
 */
export function slices(device: Sizing, region: Region, unit = 256): Region[] {
  const most = Math.floor(device.bindingLimit / unit) * unit;
  const parts: Region[] = [];
  for (let at = 0; at < region.size; at += most) {
    parts.push(subregion(region, at, Math.min(most, region.size - at)));
  }
  return parts;
}

/** Invocations of a workgroup in kernels that map one invocation to one vector. */
export const VECTOR_GROUP = 64;

/** How the vectors of a flat region are dealt out to invocations. */
export interface VectorShape {
  /** Invocations of a workgroup; {@linkcode VECTOR_GROUP} by default. */
  threads?: number;
  /** Vectors that one invocation takes, the next one a workgroup's invocations further on; 1 by default. */
  each?: number;
}

/**
 * Writes an entry point whose body runs once for each vector of a flat region: it sees `i`, which may
 * lie beyond the last vector. Where an invocation takes several, the body must not return: it breaks.
 * Dispatch it with {@linkcode vectorGroups}.
 */
export function vectorMain(w: WgslWriter, body: () => void, shape: VectorShape = {}): void {
  const { threads = VECTOR_GROUP, each = 1 } = shape;
  w.const("GROUP", threads);
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    if (each === 1) {
      w.line("let i = id.x + id.y * count.x * GROUP;");
      body();
      return;
    }
    w.line(
      "let group = id.x / GROUP + id.y * count.x;",
      `let home = group * GROUP * ${each}u + id.x % GROUP;`,
    );
    w.for(`var k = 0u; k < ${each}u; k++`, () => {
      w.line("let i = home + k * GROUP;");
      body();
    });
  });
}

/** Workgroups of {@linkcode vectorMain} for so many vectors, to be spread over two dimensions. */
export function vectorGroups(count: number, shape: VectorShape = {}): { count: number } {
  const { threads = VECTOR_GROUP, each = 1 } = shape;
  return { count: Math.ceil(count / (threads * each)) };
}
