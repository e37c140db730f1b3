/** Large models within a device's limits, and small ones within small limits. */
import { Device } from "../../../kernels/device.ts";
import { openDevice } from "../../../kernels/open_device.ts";
import { DeviceError } from "../../../kernels/errors.ts";
import { type KernelCall, Plan } from "../../../kernels/plan.ts";
import { configOfSizes, type MambaConfig, presetConfig } from "../../../model/mamba/config.ts";
import { memoryPlan } from "../../../model/mamba/gpu/memory_plan.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { createMamba, Mamba, type MambaOptions } from "../../../model/mamba/mamba.ts";
import { Random } from "../../../model/mamba/random.ts";
import type { Batch } from "../../../model/mamba/types.ts";
import { assert, assertEquals, assertRejects } from "../../assert.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Limits as an H200's driver gives them through WebGPU, and WebGPU's own smallest ones. */
const H200 = { maxStorageBufferBindingSize: 2 * GIB - 4, maxBufferSize: 2 * GIB - 1 };
const LEAST = { maxStorageBufferBindingSize: 128 * MIB, maxBufferSize: 256 * MIB };

const MIXED_32 = { precision: "mixed", batchSize: 32, recompute: true };

/**
 * A device that computes nothing: what is planned on it is checked against the limits, so that models
 * can be planned here that only a large GPU holds.
 */
function dryDevice(limits: typeof H200, matrixUnits: "off" | undefined = "off") {
  const problems: string[] = [];
  const { maxStorageBufferBindingSize: most } = limits;
  const check = ({ label, entries }: GPUBindGroupDescriptor) => {
    let storage = 0;
    for (const { binding, resource } of entries) {
      const { buffer, offset = 0, size: given } = resource as GPUBufferBinding;
      const size = given ?? buffer.size - offset;
      const say = (what: string) => problems.push(`${label}, binding ${binding}: ${what}`);
      if (buffer.usage & 128) storage++;
      if (size > most) say(`${size} bytes`);
      if (offset % 256 || size % 4 || !size) say(`offset ${offset}, size ${size}`);
      if (offset + size > buffer.size) say(`ends at ${offset + size} of ${buffer.size}`);
    }
    if (storage > 12) problems.push(`${label} binds ${storage} storage buffers`);
    return {};
  };
  const gpu = {
    limits: { ...limits, maxComputeWorkgroupStorageSize: 49152 },
    lost: new Promise(() => {}),
    queue: { writeBuffer() {}, submit() {} },
    addEventListener() {},
    createBuffer: ({ size, usage }: GPUBufferDescriptor) => ({ size, usage, destroy() {} }),
    createShaderModule: () => ({}),
    createComputePipeline: () => ({ getBindGroupLayout: () => ({}) }),
    createBindGroup: check,
  };
  const device = new Device(
    gpu as unknown as GPUDevice,
    { info: { description: "dry" }, features: new Set() } as unknown as GPUAdapter,
    "gpu-tiled",
    new Set(["shader-f16"]),
    { name: "none", gpu: { requestAdapter: () => Promise.resolve(null) } },
    32,
    { matrixUnits },
  );
  return { device, problems };
}

for (
  const [name, preset, limits, options, memory] of [
    ["2.8b at 8 x 1024, mixed", "mamba-2.8b", H200, { precision: "mixed", recompute: true }, 64],
    ["2.8b at 8 x 1024, f32", "mamba-2.8b", H200, { recompute: true }, 64],
    ["2.8b at 8 x 1024, all kept", "mamba-2.8b", H200, { precision: "mixed" }, 139],
    ["mamba2 2.7b at 8 x 1024, mixed", "mamba2-2.7b", H200, { precision: "mixed" }, 139],
    ["mamba2 2.7b at 8 x 1024, f32", "mamba2-2.7b", H200, { recompute: true }, 64],
    ["mamba2 130m at 8 x 1024, least", "mamba2-130m", LEAST, {}, 24],
    ["1.4b at 32 x 1024, mixed", "mamba-1.4b", H200, MIXED_32, 64],
    ["130m at 64 x 1024, f32", "mamba-130m", H200, { batchSize: 64 }, 139],
    ["130m at 8 x 1024 on the least that WebGPU allows", "mamba-130m", LEAST, {}, 24],
  ] as [string, string, typeof H200, Partial<MambaOptions>, number][]
) {
  Deno.test(`every dispatch and binding of a step is within a device's limits: ${name}`, () => {
    const config = presetConfig(preset);
    const { device, problems } = dryDevice(limits);
    const sizes: MambaOptions = {
      batchSize: 8,
      sequenceLength: 1024,
      averageDecay: undefined,
      recompute: false,
      ...options,
    };
    const planned = memoryPlan(device, config, sizes);
    assert(planned.total < memory * GIB, `${planned.total / GIB} GiB`);
    assert(planned.largest.bytes <= limits.maxBufferSize, planned.largest.name);
    const calls: KernelCall[] = [];
    const dispatch = Plan.prototype.dispatch;
    Plan.prototype.dispatch = function (call) {
      calls.push(call);
      return dispatch.call(this, call); // throws beyond 65,535 workgroups
    };
    try {
      new Mamba(device, config, sizes, planned);
    } finally {
      Plan.prototype.dispatch = dispatch;
    }
    assertEquals(problems, []);
    assert(calls.length > 20 * config.layers, `${calls.length} dispatches`);
    // What is allocated is what was planned, but for parameters of kernels and the step's report.
    const beyond = device.allocatedBytes - planned.total;
    assert(beyond >= 0 && beyond < 4 * MIB, `${beyond} bytes beyond the plan`);
  });
}

const SMALL: MambaConfig = configOfSizes({ hiddenSize: 64, layers: 10, vocabSize: 128 });
const SHAPE = { batchSize: 2, sequenceLength: 512 };

function batchOf(random: Random): Batch {
  const rows = SHAPE.batchSize * SHAPE.sequenceLength;
  const id = () => random.integer(SMALL.vocabSize);
  return {
    tokens: Uint32Array.from({ length: rows }, id),
    starts: Uint8Array.from({ length: rows }, (_, i) => Number(i % 512 % 97 === 0)),
    targets: Int32Array.from({ length: rows }, id),
  };
}

for (const variant of ["gpu-tiled", "cpu-subgroup"]) {
  Deno.test(`small limits on bindings, buffers and workgroups change no bit: ${variant}`, async () => {
    const results: Map<string, Float32Array>[] = [];
    const small = {
      bindingLimit: 1_150_000,
      bufferLimit: 4 * MIB,
      ...(variant === "gpu-tiled" ? { groupLimit: 128 } : {}),
    };
    for (const limits of [{}, small]) {
      const device = await openDevice({ variant, ...limits });
      try {
        const model = await createMamba(device, SMALL, SHAPE);
        const random = new Random(1, "sizes");
        model.writeParameters(initialParameters(SMALL, 1));
        for (let step = 1; step <= 2; step++) {
          model.accumulate(batchOf(random), 1 / 1024);
          model.update({
            step,
            learningRate: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weightDecay: 0.1,
            maxGradNorm: 1,
          });
          await model.report();
        }
        results.push(await model.readParameters());
        model.destroy();
      } finally {
        device.destroy();
      }
    }
    assertEquals(results[1], results[0]);
  });
}

Deno.test("a model that turns out not to fit is made again with activations recomputed", async () => {
  const device = await openDevice({ variant: "gpu-tiled" });
  const guard = device.guard.bind(device);
  const config = presetConfig("tiny", { vocabSize: 64, endOfText: 0 });
  (await createMamba(device, config, SHAPE)).destroy(); // what products share stays
  const before = device.allocatedBytes;
  let tries = 0;
  device.guard = async (what, build) => {
    const value = await guard(what, build);
    if (what !== "set up the model" || tries++ > 0) return value;
    throw new DeviceError("no memory", { outOfMemory: true });
  };
  try {
    const model = await createMamba(device, config, SHAPE);
    assertEquals([tries, model.memory.recompute], [2, true]);
    model.destroy();
    assertEquals(device.allocatedBytes, before);
    tries = 0;
    const told = { ...SHAPE, recompute: false };
    await assertRejects(() => createMamba(device, config, told), DeviceError, "no memory");
    assertEquals(device.allocatedBytes, before);
  } finally {
    device.destroy();
  }
});
