/**
 * Where things lie that belong to the user and not to a command line: Hugging Face's cache and hub,
 * and this program's own cache. The environment is handed in, so that the launcher, which decides
 * what the program may reach, and the program itself come to the same places.
 * @module
 */
import { join } from "./std.ts";

/** Reads a variable of the environment; undefined where it is not set. */
export type Environment = (name: string) => string | undefined;

/** The variables that say where the hub and its cache are, and what is known there. */
export const HUB_VARIABLES: readonly string[] = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_TOKEN",
  "HOME",
  "USERPROFILE",
  "XDG_CACHE_HOME",
];

/** The variables that say where {@linkcode ownCache} is. */
export const OWN_CACHE_VARIABLES: readonly string[] = [
  "HOME",
  "LOCALAPPDATA",
  "PUBMAMBA_CACHE",
  "XDG_CACHE_HOME",
];

/** True where `text` has the form of a hub id, "org/name" or "org/name@revision". */
export function isHubId(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@(?!.*\.\.)[\w./-]+)?$/.test(text);
}

/** The hub's address, without a slash at its end. */
export function hubEndpoint(get: Environment): string {
  return (get("HF_ENDPOINT") || "https://huggingface.co").replace(/\/+$/, "");
}

/** The folder of Hugging Face's cache, which Python's `huggingface_hub` shares. */
export function hubHome(get: Environment): string {
  const home = get("HOME") || get("USERPROFILE") || ".";
  const cache = get("XDG_CACHE_HOME") || join(home, ".cache");
  return get("HF_HOME") || join(cache, "huggingface");
}

/** The folder of what this program remembers from run to run; undefined where there is none. */
export function ownCache(get: Environment): string | undefined {
  const home = get("HOME");
  const base = get("PUBMAMBA_CACHE") || get("XDG_CACHE_HOME") || get("LOCALAPPDATA") ||
    (home ? join(home, ".cache") : undefined);
  return base ? join(base, "pubmamba") : undefined;
}

/**
 * The folder of Deno's own cache, where packages lie: `DENO_DIR`, or what Deno takes by default on this
 * system; undefined where that cannot be told.
 * @param os as `Deno.build.os`
 */
export function denoCache(get: Environment, os: string = Deno.build.os): string | undefined {
  const own = get("DENO_DIR");
  if (own) return own;
  const home = get("HOME");
  const base = os === "windows"
    ? get("LOCALAPPDATA")
    : os === "darwin"
    ? home && join(home, "Library", "Caches")
    : get("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  return base ? join(base, "deno") : undefined;
}
