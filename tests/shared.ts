/** Where tests find reference material that is not part of the project. @module */
import { fromFileUrl, join } from "../core/std.ts";

/** The project's root folder. */
export const ROOT: string = fromFileUrl(new URL("..", import.meta.url));
/** The folder of reference data beside the project; tests that need it skip where it is absent. */
export const SHARED: string = Deno.env.get("PUBMAMBA_SHARED") ?? join(ROOT, "..", "shared");

/** True, after a plain message, where `path` under the shared folder is missing. */
export function missingShared(path: string): boolean {
  try {
    Deno.statSync(join(SHARED, path));
    return false;
  } catch {
    return true;
  }
}

/** A test that needs `path` under the shared folder, and skips (saying so in its name) without it. */
export function sharedTest(path: string, name: string, fn: () => void | Promise<void>): void {
  const ignore = missingShared(path);
  Deno.test({ name: ignore ? `${name} (skipped: no ../shared/${path})` : name, ignore, fn });
}

/** What a command of a test came to. */
interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** The words that start `deno task NAME ...` in any folder, with the rights that the task has. */
export function taskWords(name: string, ...words: string[]): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));
  const line: string = tasks[name].command ?? tasks[name];
  const own = line.split(" ").slice(1).map((word) => /\.ts$/.test(word) ? join(ROOT, word) : word);
  return [...own, ...words];
}

/** Runs `deno task NAME ...`, words and all, with the rights that the task has. */
export async function runTask(
  words: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Ended> {
  const [name = "", ...rest] = words;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: taskWords(name, ...rest),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { NO_COLOR: "1", ...options.env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
