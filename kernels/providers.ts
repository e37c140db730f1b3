/** Where WebGPU comes from. @module */
import { DeviceError } from "./errors.ts";

/** Where the WebGPU implementation comes from; another than Deno's can be plugged in here. */
export interface Provider {
  /** What it is called in messages. */
  name: string;
  /** Its entry point. */
  gpu: { requestAdapter(options?: GPURequestAdapterOptions): Promise<GPUAdapter | null> };
}

/** Deno's own WebGPU, or Dawn's from npm. */
export type ProviderName = "deno" | "dawn";

/** Dawn's bindings on npm, loaded when asked for and never otherwise. */
export const DAWN_PACKAGE = "npm:webgpu@0.6.2";

/**
 * Toggles: experimental features (subgroup matrices), f16 on NVIDIA's Vulkan, which Dawn withholds
 * until its own tests of rare cases pass there, and the memory model that subgroup matrices need.
 */
const TOGGLES = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia", "use_vulkan_memory_model"];

/**
 * Deno's own WebGPU.
 * @throws {DeviceError} where this Deno has none.
 */
export function denoProvider(): Provider {
  if (!("gpu" in navigator)) {
    throw new DeviceError("This Deno has no WebGPU; use Deno 2.9 or later");
  }
  return { name: "deno", gpu: navigator.gpu };
}

/** Browsers round timestamps to tenths of a millisecond, against spying. */
const EXACT_TIMES = "disable-dawn-features=timestamp_quantization";

/** Toggles to try besides: names in PUBMAMBA_DAWN_TOGGLES, between commas. */
function moreToggles(): string[] {
  try {
    return Deno.env.get("PUBMAMBA_DAWN_TOGGLES")?.split(",").filter(Boolean) ?? [];
  } catch {
    return []; // not permitted to look
  }
}

/** What that package exports. */
interface DawnModule {
  create(options: string[]): GPU;
  globals: Record<string, unknown>;
}

/**
 * Deno's own WebGPU, or Dawn, which is Chrome's and reaches what Deno's does not offer.
 * @param more toggles for Dawn besides.
 * @throws {DeviceError} where Dawn cannot be loaded, with what it needs.
 */
export async function openProvider(
  name: ProviderName,
  more: readonly string[] = [],
): Promise<Provider> {
  if (name === "deno") return denoProvider();
  let dawn: DawnModule;
  try {
    dawn = await import(DAWN_PACKAGE) as DawnModule;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new DeviceError(
      `Cannot load Dawn (${reason}); it is a native library and needs a permission that the tasks ` +
        `do not give: deno run --allow-all --no-lock main.ts COMMAND --provider dawn`,
    );
  }
  // Constants such as GPUBufferUsage have the same values in both; only what is missing is taken.
  for (const [key, value] of Object.entries(dawn.globals)) {
    if (!(key in globalThis)) Object.defineProperty(globalThis, key, { value, configurable: true });
  }
  const toggles = [...TOGGLES, ...moreToggles(), ...more].join(",");
  return { name, gpu: dawn.create([`enable-dawn-features=${toggles}`, EXACT_TIMES]) };
}
