/**
 * The GPU: allocates and counts memory, caches pipelines, and turns the device's failures into errors
 * that a person can act on. open_device.ts opens it.
 * @module
 */
import type { Chosen } from "./alternatives.ts";
import { DeviceError } from "./errors.ts";
import type { Region } from "./layout.ts";
import { describeUnits, MATRIX_FEATURE, type MatrixUnits, matrixUnits } from "./matrix_units.ts";
import type { Provider, ProviderName } from "./providers.ts";

export type { Provider } from "./providers.ts";

/**
 * Which form of the kernels runs.
 * - cpu-subgroup: CPU drivers (lavapipe) with subgroups of 8: broadcast matmul on textures.
 * - cpu-plain: CPU drivers without subgroups: register tiles.
 * - gpu-tiled: everything else: shared-memory tiles, chunked scan.
 */
export type Variant = "cpu-subgroup" | "cpu-plain" | "gpu-tiled";
export const VARIANTS: readonly Variant[] = ["cpu-subgroup", "cpu-plain", "gpu-tiled"];

/** What opening a device takes. */
export interface DeviceOptions {
  /** Forces a variant; by default the adapter decides. */
  variant?: string;
  /** Deno's own WebGPU by default; see providers.ts. */
  provider?: Provider | ProviderName;
  /** Bytes of device memory that may be allocated. */
  memoryLimit?: number;
  /** Lowers maxStorageBufferBindingSize, to test slicing. */
  bindingLimit?: number;
  /** Lowers maxBufferSize, to test that nothing needs more. */
  bufferLimit?: number;
  /** Lowers the workgroups of a dimension, to test folding; see `spread` in plan.ts. */
  groupLimit?: number;
  /** False keeps kernels from subgroup operations, to test what they do without. */
  subgroups?: boolean;
  /**
   * Tensor cores in mixed precision: where the adapter offers them and kernels are gpu-tiled (auto, by
   * default), never (off), or as given, to test them emulated.
   */
  matrixUnits?: "auto" | "off" | MatrixUnits;
  /** Other ways of writing kernels than the default; see `alternatives.ts`. */
  alternatives?: Chosen;
}

/** What the sizes of buffers depend on. */
export type Sizing =
  & Pick<Device, "variant" | "bindingLimit">
  & Partial<Pick<Device, "alternatives">>;

/** What allocates: a device, or a count of what it would take. */
export type Allocator = Sizing & Pick<Device, "allocate" | "free">;

/** An open device. */
export class Device {
  /** The device as WebGPU has it. */
  readonly gpu: GPUDevice;
  /** The adapter that it was opened on. */
  readonly adapter: GPUAdapter;
  /** The form of the kernels that it runs. */
  readonly variant: Variant;
  /** Granted features. */
  readonly features: ReadonlySet<string>;
  /** Where its WebGPU comes from. */
  readonly provider: string;
  /** Held, because Dawn's devices do not outlive the object that they came from. */
  readonly source: Provider["gpu"];
  /** Lanes of a subgroup as measured; 0 without subgroups. */
  readonly subgroupSize: number;
  /** Bytes of buffers and textures alive. */
  allocatedBytes = 0;
  /** The most that was ever alive. */
  peakBytes = 0;
  /** Bytes that may be allocated; Infinity for no limit. */
  readonly memoryLimit: number;
  /** Most bytes of one binding. */
  readonly bindingLimit: number;
  /** Most bytes of one buffer. */
  readonly bufferLimit: number;
  /** Most workgroups in one dimension of a dispatch. */
  readonly groupLimit: number;
  /** What products in mixed precision multiply with, where there are such units. */
  readonly matrixUnits?: MatrixUnits;
  /** How kernels are written where they can be written in several ways; tuning may change it. */
  alternatives: Chosen;
  #pipelines = new Map<string, GPUComputePipeline>();
  #sizes = new WeakMap<GPUBuffer | GPUTexture, number>();
  #failure: DeviceError | undefined;
  /** Bytes written since the last submission that {@linkcode write} made. */
  #written = 0;

  /**
   * Takes what `openDevice` has found out, one value each: nobody else calls it.
   * @ignore Use `openDevice`.
   */
  constructor(
    gpu: GPUDevice,
    adapter: GPUAdapter,
    variant: Variant,
    features: ReadonlySet<string>,
    provider: Provider,
    subgroupSize: number,
    options: DeviceOptions,
  ) {
    this.gpu = gpu;
    this.adapter = adapter;
    this.variant = variant;
    this.features = features;
    this.provider = provider.name;
    this.source = provider.gpu;
    this.subgroupSize = subgroupSize;
    this.matrixUnits = usableUnits(adapter, variant, features, options.matrixUnits);
    this.alternatives = { ...options.alternatives };
    this.memoryLimit = options.memoryLimit ?? Infinity;
    this.bindingLimit = Math.min(
      gpu.limits.maxStorageBufferBindingSize,
      options.bindingLimit ?? Infinity,
    );
    this.bufferLimit = Math.min(gpu.limits.maxBufferSize, options.bufferLimit ?? Infinity);
    this.groupLimit = Math.min(MAX_GROUPS, options.groupLimit ?? Infinity);
    gpu.addEventListener("uncapturederror", (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      this.#failure ??= new DeviceError(`The GPU reported an error: ${error.message}`);
    });
    gpu.lost.then((info) => {
      if (info.reason !== "destroyed") {
        this.#failure ??= new DeviceError(`The GPU was lost: ${info.message || info.reason}`);
      }
    });
  }

  /** One line that names the adapter and its driver. */
  get description(): string {
    const { vendor, architecture, device, description } = this.adapter.info;
    return description || [vendor, architecture, device].filter(Boolean).join(" ") || "unknown";
  }

  /** What decides the bits of results: adapter, variant and, in mixed precision, matrix units. */
  arithmetic(precision = "f32"): string {
    const units = precision === "mixed" && this.matrixUnits;
    const how = units ? `${this.variant}, matrix units ${describeUnits(units)}` : this.variant;
    return `${this.description} (${how})`;
  }

  /** Shared memory that a workgroup may have, in bytes. */
  get workgroupBytes(): number {
    return this.gpu.limits.maxComputeWorkgroupStorageSize;
  }

  /**
   * Looks for failures that the driver reported by itself.
   * @throws {DeviceError} the first one since the device was opened, at every call from then on.
   */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /**
   * A zeroed buffer of `bytes` (rounded up to 16) for storage and copies.
   * @throws {DeviceError} where it exceeds the device's or the user's limit.
   */
  allocate(label: string, bytes: number, usage: number = STORAGE): Region {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > this.bufferLimit) {
      throw new DeviceError(
        `Cannot allocate ${label}: it needs a buffer of ${size} bytes and this device allows ` +
          `${this.bufferLimit}; use a smaller model or batch`,
      );
    }
    this.#count(label, size);
    const buffer = this.gpu.createBuffer({ label, size, usage });
    this.#sizes.set(buffer, size);
    return { buffer, offset: 0, size };
  }

  /**
   * A linear operand texture: `height` rows of {@linkcode TEXTURE_WIDTH} texels of four f32 or f16
   * elements, or of eight f16 elements in four words.
   */
  allocateTexture(label: string, height: number, type?: "f16" | "packed f16"): GPUTexture {
    const { maxTextureDimension2D } = this.gpu.limits;
    if (height > maxTextureDimension2D || TEXTURE_WIDTH > maxTextureDimension2D) {
      throw new DeviceError(
        `Cannot allocate ${label}: it needs a texture ${TEXTURE_WIDTH} x ${height} and this ` +
          `device allows ${maxTextureDimension2D} a side; use a smaller model or --variant cpu-plain`,
      );
    }
    const size = TEXTURE_WIDTH * height * (type === "f16" ? 8 : 16);
    this.#count(label, size);
    const texture = this.gpu.createTexture({
      label,
      size: [TEXTURE_WIDTH, height],
      format: type === "f16" ? "rgba16float" : type ? "rgba32uint" : "rgba32float",
      usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
    });
    this.#sizes.set(texture, size);
    return texture;
  }

  #count(label: string, size: number): void {
    if (this.allocatedBytes + size > this.memoryLimit) {
      throw new DeviceError(
        `Cannot allocate ${label}: ${size} bytes more than the ${this.allocatedBytes} in use would ` +
          `exceed the limit of ${this.memoryLimit} bytes; use a smaller model or batch`,
      );
    }
    this.allocatedBytes += size;
    this.peakBytes = Math.max(this.peakBytes, this.allocatedBytes);
  }

  /** Frees a buffer or texture at once (they are not garbage-collected in time). */
  free(resource: GPUBuffer | GPUTexture | Region): void {
    const object = "buffer" in resource ? resource.buffer : resource;
    this.allocatedBytes -= this.#sizes.get(object) ?? 0;
    this.#sizes.delete(object);
    object.destroy();
  }

  /** The pipeline of a WGSL program with entry point `main`; compiled once. */
  pipeline(label: string, code: string): GPUComputePipeline {
    let pipeline = this.#pipelines.get(code);
    if (!pipeline) {
      const module = this.gpu.createShaderModule({ label, code: this.#directives(code) + code });
      pipeline = this.gpu.createComputePipeline({
        label,
        layout: "auto",
        compute: { module, entryPoint: "main" },
      });
      this.#pipelines.set(code, pipeline);
    }
    return pipeline;
  }

  /** What WGSL wants before subgroup operations: Dawn asks for this line, naga rejects it. */
  #directives(code: string): string {
    return this.provider === "dawn" && /\bsubgroup[A-Z_]/.test(code) ? ENABLE_SUBGROUPS : "";
  }

  /**
   * Asks for f16 in kernels.
   * @throws {DeviceError} where the device cannot.
   */
  requireHalf(): void {
    if (this.features.has("shader-f16")) return;
    throw new DeviceError(
      `Mixed precision needs the feature shader-f16, which ${this.description} does not have; ` +
        `use --precision f32`,
    );
  }

  /** Distinct pipelines compiled so far. */
  get pipelineCount(): number {
    return this.#pipelines.size;
  }

  /**
   * Runs `build` and fails with its first validation or memory error.
   * @throws {DeviceError}
   */
  async guard<T>(what: string, build: () => T | Promise<T>): Promise<T> {
    this.gpu.pushErrorScope("validation");
    this.gpu.pushErrorScope("out-of-memory");
    let value: T | undefined;
    let thrown: unknown;
    try {
      value = await build();
    } catch (error) {
      thrown = error;
    }
    const memory = await this.gpu.popErrorScope();
    const validation = await this.gpu.popErrorScope();
    if (thrown !== undefined) throw thrown;
    if (memory) {
      throw new DeviceError(
        `Cannot ${what}: the device is out of memory (${this.allocatedBytes} bytes in use); ` +
          `use a smaller model or batch`,
        { outOfMemory: true },
      );
    }
    if (validation) throw new DeviceError(`Cannot ${what}: ${validation.message}`);
    return value as T;
  }

  /** Uploads floats or integers; ordered with the submitted work. */
  write(region: Region, data: ArrayBufferView<ArrayBuffer>, byteOffset = 0): void {
    // What is written waits in memory for the next submission: a whole model's would double it.
    this.#written += data.byteLength;
    if (this.#written > UNSENT_BYTES) {
      this.#written = 0;
      this.gpu.queue.submit([]);
    }
    this.gpu.queue.writeBuffer(
      region.buffer,
      region.offset + byteOffset,
      data.buffer,
      data.byteOffset,
      data.byteLength,
    );
  }

  /** Reads `size` bytes of a region back, after all submitted work. */
  async read(region: Region, byteOffset = 0, size: number = region.size): Promise<ArrayBuffer> {
    const bytes = Math.ceil(size / 4) * 4;
    const staging = this.allocate("read-back", bytes, GPUBufferUsage.MAP_READ | COPY_DST);
    try {
      const encoder = this.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(
        region.buffer,
        region.offset + byteOffset,
        staging.buffer,
        0,
        bytes,
      );
      this.gpu.queue.submit([encoder.finish()]);
      await staging.buffer.mapAsync(GPUMapMode.READ, 0, bytes);
      const copy = staging.buffer.getMappedRange(0, bytes).slice(0, size);
      staging.buffer.unmap();
      this.check();
      return copy;
    } finally {
      this.free(staging);
    }
  }

  /** {@linkcode read} as floats. */
  async readFloats(region: Region): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array(await this.read(region));
  }

  /** Waits for all submitted work. */
  async idle(): Promise<void> {
    await this.gpu.queue.onSubmittedWorkDone();
    this.check();
  }

  /** Gives the device up, and all that was allocated on it. */
  destroy(): void {
    this.gpu.destroy();
  }
}

/** Bytes that {@linkcode Device.write} lets wait for a submission. */
const UNSENT_BYTES = 64 << 20;
/** What Dawn requires at the head of a program that uses subgroup operations. */
export const ENABLE_SUBGROUPS = "enable subgroups;\n";
/** Most workgroups in one dimension that WebGPU promises. */
const MAX_GROUPS = 65535;
const COPY_DST = 8; // GPUBufferUsage.COPY_DST, also where WebGPU is absent
const STORAGE = 128 | 8 | 4; // STORAGE | COPY_DST | COPY_SRC
/** Texels (vec4f) in a row of a linear operand texture. */
export const TEXTURE_WIDTH = 4096;

function usableUnits(
  adapter: GPUAdapter,
  variant: Variant,
  features: ReadonlySet<string>,
  option: DeviceOptions["matrixUnits"] = "auto",
): MatrixUnits | undefined {
  if (option === "off" || variant !== "gpu-tiled") return undefined;
  if (typeof option === "object") return option;
  return features.has(MATRIX_FEATURE) ? matrixUnits(adapter) : undefined;
}
