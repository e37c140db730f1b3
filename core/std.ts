/**
 * Deno's standard library, typed. It comes through the npm republication, which carries no types;
 * to take it from JSR instead, change the `@std/*` lines of deno.json to `jsr:@std/...`.
 * @module
 */
import { parseArgs as parseArgsUntyped } from "@std/cli/parse-args";
import * as pathUntyped from "@std/path";

/** Options of {@linkcode parseArgs}: the part of `@std/cli`'s that this project uses. */
export interface ParseArgsOptions {
  string?: string[];
  boolean?: string[];
  collect?: string[];
  negatable?: string[];
  alias?: Record<string, string>;
  stopEarly?: boolean;
  unknown?: (argument: string, key?: string, value?: unknown) => unknown;
}

/** Parses command-line words; see `@std/cli`. */
export const parseArgs = parseArgsUntyped as unknown as (
  args: string[],
  options?: ParseArgsOptions,
) => Record<string, unknown> & { _: (string | number)[] };

interface PathModule {
  join(...parts: string[]): string;
  resolve(...parts: string[]): string;
  relative(from: string, to: string): string;
  dirname(path: string): string;
  basename(path: string, suffix?: string): string;
  fromFileUrl(url: string | URL): string;
  toFileUrl(path: string): URL;
}
const path = pathUntyped as unknown as PathModule;
/** Joins the parts of a path. */
export const join: PathModule["join"] = (...parts) => path.join(...parts);
/** An absolute path, from the working folder. */
export const resolve: PathModule["resolve"] = (...parts) => path.resolve(...parts);
/** The path to `to` as seen from `from`. */
export const relative: PathModule["relative"] = (from, to) => path.relative(from, to);
/** The folder part. */
export const dirname: PathModule["dirname"] = (p) => path.dirname(p);
/** The last part, without `suffix`. */
export const basename: PathModule["basename"] = (p, suffix) => path.basename(p, suffix);
/** The path of a `file:` URL. */
export const fromFileUrl: PathModule["fromFileUrl"] = (url) => path.fromFileUrl(url);
/** The `file:` URL of an absolute path. */
export const toFileUrl: PathModule["toFileUrl"] = (p) => path.toFileUrl(p);
