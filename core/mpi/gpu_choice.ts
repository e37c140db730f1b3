/**
 * A GPU of its own for each rank of a machine that has several equal ones. WebGPU takes the first GPU that
 * Vulkan lists; Mesa's device-select layer lists that of DRI_PRIME first. The variable has to be set before
 * the rank's process asks for a GPU, so the launcher sets it for the program that it starts.
 * @module
 */
import { join } from "../std.ts";
import { DEVICE_CHOICE_VARIABLES } from "./devices.ts";
import type { Launch } from "./launch.ts";

/** A GPU as the system has it. */
export interface SystemGpu {
  /** On the PCI bus, as 0000:41:00.0. */
  address: string;
  /** Vendor and device: equal of equal GPUs. */
  kind: string;
}

/** Folders in which the Vulkan loader looks for layers that need not be asked for. */
const LAYER_FOLDERS = ["etc", "usr/share", "usr/local/share"].map((folder) =>
  join(folder, "vulkan/implicit_layer.d")
);
const LAYER_FILE = "VkLayer_MESA_device_select.json";
/** Switches the layer off. */
const LAYER_OFF = "NODEVICE_SELECT";

/**
 * Prints a line for each GPU that has a device file here. A program of the system reads it: Deno gives no
 * one the right to read /sys and /dev alone.
 */
const LIST_GPUS = `for node in "$1"/sys/class/drm/renderD*; do
  [ -e "$1/dev/dri/\${node##*/}" ] || continue
  place=$(readlink -f "$node/device") || continue
  echo "\${place##*/} $(cat "$node/device/vendor"):$(cat "$node/device/device")"
done`;

/**
 * The variables that give a rank a GPU of its own; none where something else has chosen one, where this
 * machine has no two equal GPUs, or where nothing would heed them.
 * @param root the folder in which the system's lie
 */
export async function gpuVariables(
  launch: Launch | undefined,
  get: (name: string) => string | undefined = (name) => Deno.env.get(name),
  root = "/",
): Promise<Record<string, string>> {
  const localRank = launch?.localRank;
  if (localRank === undefined || Deno.build.os !== "linux") return {};
  if ([...DEVICE_CHOICE_VARIABLES, LAYER_OFF].some((name) => get(name))) return {};
  if (!LAYER_FOLDERS.some((folder) => isThere(join(root, folder, LAYER_FILE)))) return {};
  const gpu = gpuOfRank(await systemGpus(root), localRank);
  return gpu ? { DRI_PRIME: `pci-${gpu.address.replaceAll(/[:.]/g, "_")}` } : {};
}

/**
 * The GPU of a machine's rank: in the order of their addresses, from the largest group of equal ones, as
 * what else there is (of the processor, for the screen) is for other work. Undefined where no two are equal.
 */
export function gpuOfRank(all: readonly SystemGpu[], localRank: number): SystemGpu | undefined {
  const groups = [...Map.groupBy(all, ({ kind }) => kind).values()];
  const largest = groups.reduce<SystemGpu[]>((a, b) => b.length > a.length ? b : a, []);
  if (largest.length < 2) return undefined;
  const inOrder = largest.toSorted((a, b) => a.address < b.address ? -1 : 1);
  return inOrder[localRank % inOrder.length];
}

async function systemGpus(root: string): Promise<SystemGpu[]> {
  try {
    const args = ["-c", LIST_GPUS, "sh", root === "/" ? "" : root];
    const { stdout } = await new Deno.Command("sh", { args, stderr: "null" }).output();
    return new TextDecoder().decode(stdout).split("\n").flatMap((line) => {
      const [address = "", kind = ""] = line.split(" ");
      return /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(address)
        ? [{ address, kind }]
        : [];
    });
  } catch {
    return []; // without a shell, ranks are started as they are
  }
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
