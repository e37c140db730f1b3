/**
 * A device that computes nothing: whole steps can be planned on it, without a GPU, to read the kernels
 * that would run, or to check a large model against a GPU's limits.
 * @module
 */
import { Device, type DeviceOptions, type Variant } from "./device.ts";

/** What a step is planned for. */
export interface PlanningOptions {
  variant: Variant;
  /** Lanes of a subgroup; 0 for a device without subgroups. */
  subgroupSize?: number;
  /** Bytes; by default as an H200's driver gives them through WebGPU. */
  maxStorageBufferBindingSize?: number;
  /** Bytes; by default as an H200's driver gives them through WebGPU. */
  maxBufferSize?: number;
  /** Sees every bind group as it is made. */
  onBindGroup?(descriptor: GPUBindGroupDescriptor): void;
  /** What else the device is opened with. */
  device?: DeviceOptions;
}

const TWO_GIB = 2 ** 31;

/** Opens such a device. It has shader-f16, and matrix units only where the options give them. */
export function planningDevice(options: PlanningOptions): Device {
  const nothing = () => {};
  const pass = {
    setPipeline: nothing,
    setBindGroup: nothing,
    dispatchWorkgroups: nothing,
    end: nothing,
  };
  const encoder = {
    beginComputePass: () => pass,
    copyBufferToBuffer: nothing,
    copyBufferToTexture: nothing,
    clearBuffer: nothing,
    finish: () => ({}),
  };
  const gpu = {
    limits: {
      maxStorageBufferBindingSize: options.maxStorageBufferBindingSize ?? TWO_GIB - 4,
      maxBufferSize: options.maxBufferSize ?? TWO_GIB - 4,
      maxComputeWorkgroupStorageSize: 49152,
      maxTextureDimension2D: 16384,
    },
    lost: new Promise(nothing),
    queue: { writeBuffer: nothing, submit: nothing },
    addEventListener: nothing,
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    createBuffer: ({ size, usage }: GPUBufferDescriptor) => ({ size, usage, destroy: nothing }),
    createTexture: () => ({ createView: () => ({}), destroy: nothing }),
    createShaderModule: () => ({}),
    createComputePipeline: () => ({ getBindGroupLayout: () => ({}) }),
    createBindGroup: (descriptor: GPUBindGroupDescriptor) => {
      options.onBindGroup?.(descriptor);
      return {};
    },
    createCommandEncoder: () => encoder,
    destroy: nothing,
  };
  const adapter = { info: { description: "no device: planned only" }, features: new Set() };
  return new Device(
    gpu as unknown as GPUDevice,
    adapter as unknown as GPUAdapter,
    options.variant,
    new Set(["shader-f16"]),
    { name: "none", gpu: { requestAdapter: () => Promise.resolve(null) } },
    options.subgroupSize ?? (options.variant === "cpu-subgroup" ? 8 : 32),
    { matrixUnits: "off", ...options.device },
  );
}
