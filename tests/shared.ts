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
