import { Device } from "../../../kernels/device.ts";
import { presetConfig } from "../../../model/mamba/config.ts";
import type { MambaOptions } from "../../../model/mamba/gpu/buffers.ts";
import { chooseMemoryPlan } from "../../../model/mamba/gpu/memory_plan.ts";
import { Mamba } from "../../../model/mamba/mamba.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";

const GIB = 2 ** 30;

/**
 * A device that allocates and runs nothing, but checks what WebGPU would of buffers, bindings and
 * workgroups: so that a plan can be looked at for a GPU that is not here.
 */
function paperDevice(bindings: number, buffers: number) {
  const sizes = new WeakMap<GPUBuffer, number>();
  const labels: string[] = [];
  let most = 0;
  const gpu = {
    limits: {
      maxBufferSize: buffers,
      maxStorageBufferBindingSize: bindings,
      maxComputeWorkgroupStorageSize: 49152,
    },
    features: new Set(["shader-f16", "subgroups", "timestamp-query"]),
    lost: new Promise(() => {}),
    queue: { writeBuffer() {} },
    addEventListener() {},
    createBuffer({ size }: { size: number }) {
      const buffer = { destroy() {} } as GPUBuffer;
      sizes.set(buffer, size);
      most = Math.max(most, size);
      return buffer;
    },
    createShaderModule: () => ({}),
    createComputePipeline: () => ({ getBindGroupLayout: () => ({}) }),
    createBindGroup({ label, entries }: { label: string; entries: GPUBindGroupEntry[] }) {
      labels.push(label);
      for (const { resource } of entries) {
        const { buffer, offset = 0, size = 0 } = resource as GPUBufferBinding;
        const end = offset + size;
        if (offset % 256 || size > bindings || !(end <= sizes.get(buffer)!)) {
          throw new RangeError(`${label} binds ${size} bytes at ${offset}`);
        }
      }
      return {};
    },
  };
  const adapter = { info: { description: "paper" }, features: gpu.features, limits: gpu.limits };
  const device = new Device(
    gpu as unknown as GPUDevice,
    adapter as unknown as GPUAdapter,
    "gpu-tiled",
    gpu.features,
    { name: "paper", gpu: { requestAdapter: () => Promise.resolve(null) } },
    32,
    { memoryLimit: 139 * GIB },
  );
  return { device, labels, largest: () => most };
}

function planned(model: string, options: MambaOptions, bindings = 2 * GIB - 4) {
  const paper = paperDevice(bindings, 2 * GIB - 4);
  const config = presetConfig(model);
  const memory = chooseMemoryPlan(paper.device, config, options, paper.device.memoryLimit);
  new Mamba(paper.device, config, options, memory);
  const { allocatedBytes } = paper.device;
  return { ...paper, memory, allocatedBytes };
}

Deno.test("mamba-2.8b at 8 x 1,024 fits 139 GiB and every limit of 2 GiB", () => {
  const options = { batchSize: 8, sequenceLength: 1024, precision: "mixed" } as const;
  const { memory, allocatedBytes, largest } = planned("mamba-2.8b", options);
  assert(memory.total < 139 * GIB && largest() < 2 * GIB, `${memory.total} ${largest()}`);
  // The plan is of what is allocated: beyond it are each kernel's uniforms alone.
  const more = allocatedBytes - memory.total;
  assert(more >= 0 && more < 1e6, `${more} bytes more than planned`);
});

Deno.test("models are cut to bindings of 128 MiB, or refused", () => {
  const at = (model: string, batchSize: number) =>
    planned(model, { batchSize, sequenceLength: 1024, precision: "mixed" }, GIB / 8);
  assert(at("mamba-130m", 8).labels.length > 700);
  assert(at("mamba-2.8b", 1).labels.length > 2000);
  assertThrows(() => at("mamba-2.8b", 8), Error, "the scan of 8 x 1024 tokens needs bindings of");
});

Deno.test("mamba-130m at 32 x 1,024: a step's dispatches are counted", () => {
  const options = { batchSize: 32, sequenceLength: 1024, precision: "mixed" } as const;
  const { labels } = planned("mamba-130m", options);
  const count = (label: RegExp) => labels.filter((l) => label.test(l)).length;
  // One arena of decayed parameters and one of the rest.
  assertEquals(count(/^adamw$/), 2);
  assertEquals(count(/^sum of squares$/), 2);
  const perLayer = count(/./) / 24;
  assert(perLayer < 50, `${perLayer} dispatches a layer`);
});
