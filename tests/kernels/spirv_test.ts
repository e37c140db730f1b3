/**
 * The SPIR-V that WebGPU makes of every kernel, validated by Khronos's own validator: drivers may
 * accept what is wrong and compute garbage, or crash. The validator runs inside Vulkan's validation
 * layer, which also watches how buffers and barriers are used.
 */
import { fromFileUrl } from "../../core/std.ts";
import { assert, assertEquals } from "../assert.ts";

const LAYER = "VK_LAYER_KHRONOS_validation";
/** Where Linux distributions and Khronos's SDK install a layer's description. */
const FOLDERS = ["/usr/share", "/usr/local/share", "/etc"];

function layerIsInstalled(): boolean {
  const file = "vulkan/explicit_layer.d/VkLayer_khronos_validation.json";
  return FOLDERS.some((folder) => {
    try {
      return Deno.statSync(`${folder}/${file}`).isFile;
    } catch {
      return false;
    }
  });
}

Deno.test("the SPIR-V of every kernel is valid", async (t) => {
  if (!layerIsInstalled()) {
    await t.step({
      name: "skipped: Vulkan's validation layer is not here (Debian: vulkan-validationlayers)",
      ignore: true,
      fn: () => {},
    });
    return;
  }
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--allow-all",
      fromFileUrl(new URL("./spirv_programs.ts", import.meta.url)),
    ],
    // The loader says which layers it has put in: without that, silence would prove nothing.
    env: { VK_INSTANCE_LAYERS: LAYER, VK_LOADER_DEBUG: "layer" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  const said = decoder.decode(stdout) + decoder.decode(stderr);
  assert(success, said.slice(-2000));
  assert(/insert.*VK_LAYER_KHRONOS_validation/i.test(said), "the layer was not used");
  const complaints = said.split("\n").filter((line) => /Validation (Error|Warning)/.test(line));
  assertEquals(complaints.map((line) => line.slice(0, 500)), []);
  const programs = Number(/^(\d+) programs$/m.exec(said)?.[1]);
  assert(programs > 150, `${programs} programs`);
});
