/**
 * `deno task pipeline`: starts the program with the least permissions that the command line needs.
 * This process needs more, to start another; it reads its words and the corpus's own record of its
 * source, and nothing that comes from a mirror.
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { consoleReporter } from "../core/reporter.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { permissionFlags, permissionsFor } from "../pipeline/permissions.ts";

const root = fromFileUrl(new URL("..", import.meta.url));

function flags(): string[] {
  try {
    return permissionFlags(permissionsFor(Deno.args, root));
  } catch (error) {
    consoleReporter().log(messageOf(error));
    Deno.exit(1);
  }
}

const child = new Deno.Command(Deno.execPath(), {
  args: ["run", "--no-prompt", ...flags(), join(root, "main.ts"), "pipeline", ...Deno.args],
}).spawn();
// A terminal's Ctrl-C reaches both; the program ignores a signal that comes twice at once.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
  Deno.addSignalListener(signal, () => {
    try {
      child.kill(signal);
    } catch { /* it has ended */ }
  });
}
const { code, signal } = await child.status;
Deno.exit(signal === "SIGKILL" ? 137 : code);
