/**
 * Starts a command with the least rights that its words need: `deno task NAME` is this file with
 * NAME and the words behind it. This process needs more, to start another; it reads its words, what
 * a corpus or a run keeps of its own origin, and nothing that comes from elsewhere.
 * @module
 */
import { rightsFor } from "../commands/permissions.ts";
import { EXIT, messageOf } from "../core/errors.ts";
import { consoleReporter } from "../core/reporter.ts";
import { CALLED_AS } from "../core/called.ts";
import { fromFileUrl, join } from "../core/std.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/**
 * No code but the program's own and its packages', which Deno has fetched by now, as this process
 * has loaded one of them: no import may reach the network.
 */
const CODE_FLAGS = ["--no-prompt", "--no-remote", "--cached-only"];

/**
 * Runs the program on `words` in a process of its own and returns its exit code.
 * @param root the folder that has main.ts
 * @param calledAs what stands before the words where they are typed: messages and help say the same
 */
export async function launch(
  words: readonly string[],
  root: string = ROOT,
  calledAs: string = "deno task",
): Promise<number> {
  let flags: string[];
  try {
    const rights = await rightsFor(words, root);
    rights.variables([CALLED_AS]);
    // A lock of its own says which further packages are fetched: those alone, and as they are there.
    const code = rights.lock === undefined
      ? CODE_FLAGS
      : ["--no-prompt", "--no-remote", "--frozen", `--lock=${join(root, rights.lock)}`];
    flags = [...code, ...rights.flags()];
  } catch (error) {
    consoleReporter().log(messageOf(error));
    return EXIT.failed;
  }
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, join(root, "main.ts"), ...words],
    env: { [CALLED_AS]: calledAs },
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
  return signal === "SIGKILL" ? 137 : code;
}

if (import.meta.main) Deno.exit(await launch(Deno.args));
