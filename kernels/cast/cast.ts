/** Rounding flat f32 buffers to f16, and asking a device whether it can. @module */
import type { Device } from "../device.ts";
import { DeviceError } from "../errors.ts";
import { type Region, subregion } from "../layout.ts";
import { Plan } from "../plan.ts";
import { type Program, uniforms, vectorGroups, vectorMain, WgslWriter } from "../wgsl/mod.ts";

const PARAMS = uniforms({ vectors: "u32" });

/** Four values by each invocation. */
function castProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("values", "vec4f");
  w.storage("rounded", "vec4h", "read_write");
  vectorMain(w, () => {
    w.if("i < p.vectors", () => w.line("rounded[i] = vec4h(values[i]);"));
  });
  return w.program();
}

/**
 * Queues to[i] = from[i], rounded to f16; beyond 65,504 it becomes infinity. Sizes are whole vec4s,
 * `to` half of `from`.
 */
export function castToHalf(plan: Plan, from: Region, to: Region): void {
  const code = castProgram();
  // Both parts of a cut start at multiples of 256 bytes.
  const most = Math.floor(plan.device.bindingLimit / 512) * 512;
  for (let at = 0; at < from.size; at += most) {
    const size = Math.min(most, from.size - at);
    const vectors = Math.floor(size / 16);
    plan.dispatch({
      label: "round to f16",
      code,
      params: PARAMS.pack({ vectors }),
      bindings: { values: subregion(from, at, size), rounded: subregion(to, at / 2, size / 2) },
      groups: vectorGroups(vectors),
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
  const to = device.allocate("f16 probe", 2 * PROBES.length);
  const plan = new Plan(device);
  try {
    device.write(from, Float32Array.from(PROBES));
    await device.guard("run the probe of f16", () => castToHalf(plan, from, to));
    plan.submit();
    const got = new Float16Array(await device.read(to));
    const wrong = PROBES.find((x, i) => !near(got[i] ?? NaN, x));
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
