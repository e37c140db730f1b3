/** Rounding flat f32 buffers to f16. @module */
import { type Region, subregion } from "../layout.ts";
import { packParams, type Plan, spread } from "../plan.ts";
import { declare, VECTOR_GROUP } from "../wgsl.ts";

/**
 * Queues to[i] = from[i], rounded to f16; beyond 65,504 it becomes infinity. Sizes are whole vec4s,
 * `to` half of `from`.
 */
export function castToHalf(plan: Plan, from: Region, to: Region): void {
  const code = `enable f16;
struct P { vectors: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> values: array<vec4f>",
      "<storage, read_write> rounded: array<vec4h>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let i = id.x + id.y * count.x * ${VECTOR_GROUP}u;
  if (i < p.vectors) { rounded[i] = vec4h(values[i]); }
}`;
  // Both parts of a cut start at multiples of 256 bytes.
  const most = Math.floor(plan.device.bindingLimit / 512) * 512;
  for (let at = 0; at < from.size; at += most) {
    const size = Math.min(most, from.size - at), vectors = Math.floor(size / 16);
    plan.dispatch({
      label: "round to f16",
      code,
      params: packParams([vectors]),
      bindings: [subregion(from, at, size), subregion(to, at / 2, size / 2)],
      groups: spread(Math.ceil(vectors / VECTOR_GROUP)),
      bytes: size * 1.5,
    });
  }
}
