/** Rounding flat f32 buffers to f16, and asking a device whether it can. @module */
import type { Device } from "../device.ts";
import { DeviceError } from "../errors.ts";
import { type Region, subregion } from "../layout.ts";
import { packParams, Plan, spread } from "../plan.ts";
import { declare, VECTOR_GROUP } from "../wgsl/mod.ts";

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

/** What must come out of each value: within a unit of f16's last bit, or infinite. */
const PROBES = [1.0006, -0.3333, 1024.7, 65504, 6.1e-5, 0, 1e6, -1e6];

/**
 * Asks for f16 kernels that do what mixed precision builds on: conversions round, and overflow to
 * infinity, which is how a loss scale learns that it is too large. WGSL does not promise the latter.
 * @throws {DeviceError} where the feature is missing or the driver computes otherwise.
 */
export async function checkHalf(device: Device): Promise<void> {
  device.requireHalf();
  const from = device.allocate("f16 probe", 4 * PROBES.length);
  const to = device.allocate("f16 probe", 2 * PROBES.length), plan = new Plan(device);
  try {
    device.write(from, Float32Array.from(PROBES));
    await device.guard("run the probe of f16", () => castToHalf(plan, from, to));
    plan.submit();
    const got = new Float16Array(await device.read(to));
    const wrong = PROBES.find((x, i) => !near(got[i]!, x));
    if (wrong === undefined) return;
    throw new DeviceError(
      `Mixed precision does not work on ${device.description}: it stores ${wrong} as ` +
        `${got[PROBES.indexOf(wrong)]} in f16; use --precision f32`,
    );
  } finally {
    plan.destroy();
    device.free(from);
    device.free(to);
  }
}

const near = (got: number, x: number) => {
  const want = Math.f16round(x);
  return Number.isFinite(want) ? Math.abs(got - x) <= Math.abs(x) * 2 ** -10 : got === want;
};
