/** How kernels bind regions and matrices. @module */
import type { Sizing } from "../device.ts";
import { type Matrix, type Region, subregion } from "../layout.ts";

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

/** What a program must begin with where it touches any of these. */
export const enableHalf = (...stored: Stored[]): string =>
  stored.some((s) => s?.type === "f16") ? "enable f16;\n" : "";

/** Declares the bindings of a kernel, in order, in group 0. */
export function declare(bindings: string[]): string {
  return bindings.map((b, i) => `@group(0) @binding(${i}) var${b};`).join("\n");
}

/**
 * Parts of a flat region that each fit the device's binding limit, at multiples of `unit` bytes from
 * its start.
 */
export function slices(device: Sizing, region: Region, unit = 256): Region[] {
  const most = Math.floor(device.bindingLimit / unit) * unit, parts: Region[] = [];
  for (let at = 0; at < region.size; at += most) {
    parts.push(subregion(region, at, Math.min(most, region.size - at)));
  }
  return parts;
}

/** Invocations of a workgroup in kernels that map one invocation to one vector. */
export const VECTOR_GROUP = 64;
