import { gpuOfRank, gpuVariables } from "../../core/mpi/gpu_choice.ts";
import { exists } from "../../core/files.ts";
import { detectLaunch } from "../../core/mpi/launch.ts";
import { dirname, join } from "../../core/std.ts";
import { assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";

const H200 = "0x10de:0x2335";
const write = (path: string, text = "") => {
  Deno.mkdirSync(dirname(path), { recursive: true });
  Deno.writeTextFileSync(path, text);
};

/** A machine's folders: GPUs by address and kind; those without a device file are not this container's. */
function machine(root: string, gpus: [address: string, kind: string, here: boolean][]): void {
  gpus.forEach(([address, kind, here], i) => {
    const node = `renderD${128 + i}`;
    const place = join(root, "sys/devices/pci0000:00", address);
    const [vendor = "", device = ""] = kind.split(":");
    write(join(place, "vendor"), `${vendor}\n`);
    write(join(place, "device"), `${device}\n`);
    const folder = join(root, "sys/class/drm", node);
    Deno.mkdirSync(folder, { recursive: true });
    Deno.symlinkSync(place, join(folder, "device"));
    if (here) write(join(root, "dev/dri", node));
  });
}

const rank = (local: number, more: Record<string, string> = {}) => {
  const variables: Record<string, string> = {
    OMPI_COMM_WORLD_RANK: String(8 + local),
    OMPI_COMM_WORLD_SIZE: "16",
    OMPI_COMM_WORLD_LOCAL_RANK: String(local),
    ...more,
  };
  const get = (name: string) => variables[name];
  return { launch: detectLaunch(get), get };
};

Deno.test({
  name: "each rank of a machine gets one of its equal GPUs, by address",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withFolder(async (root) => {
      machine(root, [
        ["0000:c1:00.0", H200, true],
        ["0000:00:02.0", "0x8086:0x4c8a", true],
        ["0000:41:00.0", H200, true],
        ["0001:81:00.0", H200, false],
      ]);
      const chosen = (local: number, more?: Record<string, string>) => {
        const { launch, get } = rank(local, more);
        return gpuVariables(launch, get, root);
      };
      assertEquals(await chosen(0), {}, "no layer heeds it");
      write(join(root, "usr/share/vulkan/implicit_layer.d/VkLayer_MESA_device_select.json"), "{}");
      assertEquals(await chosen(0), { DRI_PRIME: "pci-0000_41_00_0" });
      assertEquals(await chosen(1), { DRI_PRIME: "pci-0000_c1_00_0" });
      // More ranks than GPUs share them, and are warned of.
      assertEquals(await chosen(2), { DRI_PRIME: "pci-0000_41_00_0" });
      // What was chosen otherwise stays.
      for (
        const name of ["DRI_PRIME", "VK_DRIVER_FILES", "SLURM_GPUS_PER_TASK", "NODEVICE_SELECT"]
      ) {
        assertEquals(await chosen(0, { [name]: "1" }), {});
      }
      assertEquals(await gpuVariables(undefined, () => undefined, root), {});
    }),
});

Deno.test("a rank whose machine has no two equal GPUs is left as it is", () => {
  const one = { address: "0000:41:00.0", kind: H200 };
  assertEquals(gpuOfRank([], 0), undefined);
  assertEquals(gpuOfRank([one, { address: "0000:00:02.0", kind: "0x8086:0x4c8a" }], 1), undefined);
});

const LAYER = "/usr/share/vulkan/implicit_layer.d/VkLayer_MESA_device_select.json";
const ASKS = `const adapter = await navigator.gpu.requestAdapter();
  await Deno.stdout.write(new TextEncoder().encode(adapter ? "an adapter" : "none"));`;

Deno.test({
  name: "the Vulkan loader heeds what a process was given, or has set before it asks for a GPU",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const ask = async (env: Record<string, string>, before = "") => {
      const args = ["eval", before + ASKS];
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, env }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      return { stdout: text(stdout), stderr: text(stderr) };
    };
    // Mesa's layer prints its list instead of choosing.
    if (exists(LAYER)) {
      const list = `Deno.env.set("MESA_VK_DEVICE_SELECT", "list");`;
      assertStringIncludes((await ask({}, list)).stderr, "selectable devices");
      assertStringIncludes((await ask({ MESA_VK_DEVICE_SELECT: "list" })).stderr, "selectable");
    }
    // An address that no device has changes nothing; processors have none.
    const { stdout } = await ask({ DRI_PRIME: "pci-0000_41_00_0" });
    assertEquals(stdout, (await ask({})).stdout);
  },
});
