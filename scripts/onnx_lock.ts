/**
 * Writes the lock file of the commands that run models in ONNX: all of deno.lock, and the packages that
 * these commands take besides. To be run where deno.json or those packages change; a test says so.
 * @module
 */
import { fromFileUrl, join } from "../core/std.ts";
import { ONNX_LOCK, ONNX_PACKAGES } from "../core/onnx_packages.ts";

const root = fromFileUrl(new URL("..", import.meta.url));
const lock = join(root, ONNX_LOCK);
Deno.copyFileSync(join(root, "deno.lock"), lock);
const { code } = await new Deno.Command("deno", {
  args: ["cache", "--quiet", "--frozen=false", `--lock=${lock}`, ...ONNX_PACKAGES],
  cwd: root,
}).spawn().status;
Deno.exit(code);
