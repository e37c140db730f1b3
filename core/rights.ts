/**
 * Rights of a process: what it may read, write and reach, collected place by place and turned into
 * options of `deno run`. Everything that is not collected is refused by the runtime.
 * @module
 */
import { UserError } from "./errors.ts";
import { PARTIAL_SUFFIX } from "./files.ts";
import { dirname, resolve } from "./std.ts";

/** Rights as they are collected. */
export class Rights {
  readonly #read = new Set<string>();
  readonly #write = new Set<string>();
  readonly #net = new Set<string>();
  readonly #env = new Set<string>();
  readonly #sys = new Set<string>();
  readonly #ffi = new Set<string>();
  /** A lock file of more packages than all commands have, where the command needs them. */
  lock?: string;

  /** A file, or a folder with all that is in it, may be read. */
  read(path: string): void {
    for (const place of places(path)) this.#read.add(place);
  }

  /** A folder may be changed, with all that is in it. */
  change(path: string): void {
    this.read(path);
    for (const place of places(path)) this.#write.add(place);
  }

  /** A folder may be written, and its forerunner beside it, which gets its name at the end. */
  writeFolder(path: string): void {
    this.change(path);
    this.change(resolve(path) + PARTIAL_SUFFIX);
  }

  /** A file may be written, by a rename from a file beside it; its folder is made where it lacks. */
  writeFile(path: string): void {
    this.writeFolder(path);
    if (!isThere(dirname(resolve(path)))) this.change(dirname(path));
  }

  /** A host may be reached, or listened at: `name`, `name:port`, or `*.name` for all below it. */
  reach(host: string): void {
    if (host !== "") this.#net.add(host);
  }

  /** Variables of the environment may be read. */
  variables(names: readonly string[]): void {
    for (const name of names) this.#env.add(name);
  }

  /** The machine may be asked about by these functions of Deno's. */
  system(names: readonly string[]): void {
    for (const name of names) this.#sys.add(name);
  }

  /** A library of the machine may be loaded. */
  library(path: string): void {
    this.#ffi.add(path);
  }

  /** What may be read, written and reached, each in order. */
  get lists(): Record<"read" | "write" | "net" | "env" | "sys" | "ffi", string[]> {
    return {
      read: [...this.#read].sort(),
      write: [...this.#write].sort(),
      net: [...this.#net].sort(),
      env: [...this.#env].sort(),
      sys: [...this.#sys].sort(),
      ffi: [...this.#ffi].sort(),
    };
  }

  /**
   * The rights as options of `deno run`.
   * @throws {UserError} where a path has a comma, which those options cannot hold.
   */
  flags(): string[] {
    return Object.entries(this.lists).flatMap(([name, list]) => {
      if (list.length === 0) return [];
      const cut = list.find((entry) => entry.includes(","));
      if (cut !== undefined) {
        throw new UserError(
          `Cannot use ${cut}: the comma in its name would cut it in two where Deno is told what the ` +
            "task may reach; rename it",
        );
      }
      return [`--allow-${name}=${list.join()}`];
    });
  }
}

/** Whether a path leads to anything; false, too, where it is no path at all. */
export function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A path made absolute; where it is a link, what it leads to as well. */
function places(path: string): string[] {
  const absolute = resolve(path);
  try {
    return [absolute, Deno.realPathSync(absolute)];
  } catch {
    return [absolute]; // not there yet, or no path at all
  }
}
