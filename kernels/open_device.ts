/**
 * Finding an adapter, asking it for its best, and choosing the kernel variant that suits it.
 * @module
 */
import { Device, type DeviceOptions, ENABLE_SUBGROUPS, type Variant, VARIANTS } from "./device.ts";
import { DeviceError } from "./errors.ts";
import { denoProvider, openProvider, type Provider } from "./providers.ts";
import { MATRIX_FEATURE, matrixUnits, SIZE_FEATURE } from "./matrix_units.ts";

/** Limits that the kernels make use of, asked for at the adapter's best. */
const LIMITS = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxStorageTexturesPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxTextureDimension2D",
] as const;

/** What to do where no adapter is found. */
const NO_ADAPTER =
  "No WebGPU adapter was found; install a Vulkan driver (on Debian or Ubuntu without a GPU: " +
  "apt-get install libvulkan1 mesa-vulkan-drivers), or run: deno task setup";

/** The same where Dawn found none. */
const NO_DAWN_ADAPTER = "Dawn accepts no adapter here: it needs a Vulkan 1.1 driver and refuses " +
  "old CPU drivers such as lavapipe 22; leave --provider out";

/** True where the adapter is OpenGL rather than Vulkan, Metal or Direct3D 12. */
export function isOpenGl(adapter: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize, description, device } = adapter.info;
  // OpenGL has no query for subgroups, so wgpu reports WebGPU's widest range; nor has it this format.
  const unknown = subgroupMinSize === 4 && subgroupMaxSize === 128;
  return unknown && !adapter.features.has("bgra8unorm-storage") ||
    /OpenGL|GLES|\bGL\b/i.test(description + device);
}

/** True where the adapter computes on the CPU. */
export function isCpuDriver(adapter: GPUAdapter): boolean {
  return adapter.info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(
    adapter.info.description + adapter.info.device,
  );
}

/**
 * Opens the best adapter with its best limits.
 * @throws {DeviceError} where there is none, or the forced variant is unknown or cannot run there.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  quietLoader();
  const { provider: asked = denoProvider() } = options;
  const provider = typeof asked === "string" ? await openProvider(asked) : asked;
  const adapter = await provider.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new DeviceError(provider.name === "dawn" ? NO_DAWN_ADAPTER : NO_ADAPTER);
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  const request = (requiredFeatures: GPUFeatureName[]) =>
    adapter.requestDevice({ requiredFeatures, requiredLimits });
  const wanted = ["timestamp-query", "shader-f16"];
  if ((options.matrixUnits ?? "auto") === "auto" && matrixUnits(adapter)) {
    wanted.push(MATRIX_FEATURE, SIZE_FEATURE);
  }
  const optional = (wanted as GPUFeatureName[]).filter((f) => adapter.features.has(f));
  const subgroupsToo = [...optional, "subgroups" as GPUFeatureName];
  let gpu: GPUDevice;
  let features = options.subgroups === false ? optional : subgroupsToo;
  try {
    // lavapipe grants subgroups without listing them, so ask and see.
    gpu = await request(features);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    features = optional;
    gpu = await request(features);
  }
  const subgroups = features.includes("subgroups" as GPUFeatureName)
    ? await subgroupSize(gpu, provider)
    : 0;
  const variant = chooseVariant(adapter, subgroups, options.variant);
  return new Device(gpu, adapter, variant, new Set(features), provider, subgroups, options);
}

function chooseVariant(
  adapter: GPUAdapter,
  subgroups: number,
  forced: string | undefined,
): Variant {
  if (forced && !VARIANTS.includes(forced as Variant)) {
    throw new DeviceError(
      `There is no kernel variant "${forced}"; choose ${VARIANTS.join(", ")}`,
    );
  }
  if (forced && forced !== "cpu-subgroup") return forced as Variant;
  const broadcast = (forced || isCpuDriver(adapter)) && subgroups === 8;
  if (forced && !broadcast) {
    throw new DeviceError(
      `The kernel variant cpu-subgroup needs subgroups of 8, which ${adapter.info.description} ` +
        `does not have; leave --variant out`,
    );
  }
  if (broadcast) return "cpu-subgroup";
  return isCpuDriver(adapter) ? "cpu-plain" : "gpu-tiled";
}

/** The size that a workgroup of 64 sees; measured, because drivers do not all report it. */
async function subgroupSize(gpu: GPUDevice, { name }: Provider): Promise<number> {
  gpu.pushErrorScope("validation");
  const module = gpu.createShaderModule({
    code: `${name === "dawn" ? ENABLE_SUBGROUPS : ""}
@group(0) @binding(0) var<storage, read_write> size: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(subgroup_size) n: u32, @builtin(local_invocation_index) i: u32) {
  if (i == 0u) { size[0] = n; }
}`,
  });
  const pipeline = gpu.createComputePipeline({ layout: "auto", compute: { module } });
  const out = gpu.createBuffer({
    size: 16,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
  });
  const staging = gpu.createBuffer({
    size: 16,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    gpu.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: out } }],
    }),
  );
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(out, 0, staging, 0, 16);
  gpu.queue.submit([encoder.finish()]);
  if (await gpu.popErrorScope()) return 0;
  await staging.mapAsync(GPUMapMode.READ);
  const [size = 0] = new Uint32Array(staging.getMappedRange());
  staging.destroy();
  out.destroy();
  return size;
}

/** Mesa complains on stderr about a missing XDG_RUNTIME_DIR on servers; any folder silences it. */
function quietLoader(): void {
  if (Deno.build.os !== "linux") return;
  try {
    if (!Deno.env.get("XDG_RUNTIME_DIR")) Deno.env.set("XDG_RUNTIME_DIR", "/tmp");
  } catch {
    // without the permission the complaint stays; nothing else changes
  }
}
