/**
 * Files that appear whole or not at all: written beside their place, synced, renamed.
 * @module
 */
import { createHash } from "node:crypto";
import { dirname } from "./std.ts";
import { isDiskFull, messageOf, UserError } from "./errors.ts";

/** The suffix of a file that is being written; readers skip it, the next writer replaces it. */
export const PARTIAL_SUFFIX = ".partial";

/**
 * Writes `data` to `path` by write, sync, rename; a reader sees the old file or the new one.
 * @throws {UserError} when the disk is full (the partial file is removed first).
 */
export function writeAtomic(path: string, data: Uint8Array | string): void {
  const file = openAtomic(path);
  try {
    file.write(typeof data === "string" ? new TextEncoder().encode(data) : data);
    file.commit();
  } catch (error) {
    file.abort();
    throw error;
  }
}

/**
 * Refuses to write into a folder that holds what is not ours, so that nothing of a user's is ever
 * mixed with a command's output or overwritten by it. Every command that writes a folder asks here.
 * @param what is written: "a model"
 * @param isOwn whether a name in the folder is one that the command itself gives; by default none is
 * @throws {UserError} naming the first thing that is not ours
 */
export function refuseForeign(
  path: string,
  what: string,
  isOwn: (name: string) => boolean = () => false,
): void {
  if (!exists(path)) return;
  const remedy = "name a folder that is empty or not there yet";
  if (!Deno.statSync(path).isDirectory) {
    throw new UserError(`Cannot write ${what} to ${path}: it is a file; ${remedy}`);
  }
  const foreign = [...Deno.readDirSync(path)].map(({ name }) => name).sort()
    .find((name) => !isOwn(name) && !NOBODYS.has(name));
  if (foreign === undefined) return;
  throw new UserError(`Cannot write ${what} to ${path}: it holds ${foreign}; ${remedy}`);
}

/** What an empty disk or a file manager has in a folder without anyone's asking. */
const NOBODYS: ReadonlySet<string> = new Set(["lost+found", ".DS_Store"]);

/** A file under construction; see {@linkcode openAtomic}. */
export interface AtomicFile {
  /** Appends all of `data`. */
  write(data: Uint8Array): void;
  /** Overwrites bytes already written, for headers known only at the end. */
  writeAt(offset: number, data: Uint8Array): void;
  /** Syncs and renames into place. */
  commit(): void;
  /** Removes what was written. Harmless after commit. */
  abort(): void;
  /** Bytes written so far. */
  readonly size: number;
}

/** Opens `path` for an atomic write; call `commit` or `abort`. Creates missing parent folders. */
export function openAtomic(path: string): AtomicFile {
  const partial = path + PARTIAL_SUFFIX;
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      if (isDiskFull(error)) {
        throw new UserError(
          `Cannot write ${path}: the disk is full; free some space and run the same command again`,
        );
      }
      throw error;
    }
  };
  const open = () =>
    guard(() => Deno.openSync(partial, { write: true, create: true, truncate: true }));
  let file: Deno.FsFile;
  try {
    file = open();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // Only where it is missing: a task may write the file without the right to its folder.
    Deno.mkdirSync(dirname(path), { recursive: true });
    file = open();
  }
  let size = 0;
  let isOpen = true;
  const writeAll = (data: Uint8Array) => {
    for (let at = 0; at < data.length;) at += guard(() => file.writeSync(data.subarray(at)));
  };
  const close = () => {
    if (isOpen) file.close();
    isOpen = false;
  };
  return {
    write(data) {
      writeAll(data);
      size += data.length;
    },
    writeAt(offset, data) {
      file.seekSync(offset, Deno.SeekMode.Start);
      writeAll(data);
      file.seekSync(size, Deno.SeekMode.Start);
    },
    commit() {
      guard(() => file.syncSync());
      close();
      Deno.renameSync(partial, path);
      syncFolder(dirname(path));
    },
    abort() {
      if (!isOpen) return;
      close();
      removeIfExists(partial);
    },
    get size() {
      return size;
    },
  };
}

/**
 * Makes a rename in `folder` durable. Windows cannot open a folder and needs no such step. Without
 * the right to read the folder, the system chooses the moment.
 */
export function syncFolder(folder: string): void {
  if (Deno.build.os === "windows") return;
  let handle: Deno.FsFile;
  try {
    handle = Deno.openSync(folder, { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return;
    throw error;
  }
  try {
    handle.syncSync();
  } finally {
    handle.close();
  }
}

/** Removes a file; no error where there is none. */
export function removeIfExists(path: string, options?: { recursive?: boolean }): void {
  try {
    Deno.removeSync(path, options);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** True where `path` exists. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    // Words that are no paths may be longer than any name, or hold what no name can.
    if (/ENAMETOOLONG|os error 36|file name too long|nul byte/i.test((error as Error).message)) {
      return false;
    }
    throw error;
  }
}

/**
 * The text of a file.
 * @param limit a longer file, in bytes, is refused before it is read
 * @throws {UserError} that names it where it cannot be read.
 */
export function readText(path: string, what = "file", limit = Infinity): string {
  try {
    const { size } = Deno.statSync(path);
    if (size > limit) {
      throw new UserError(
        `it has ${size} bytes, and at most ${limit} are read; take the right file`,
      );
    }
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new UserError(`Cannot read the ${what} ${path}: ${reason(error)}`);
  }
}

/** What a JSON text says. @throws {UserError} that names its file where it is no JSON. */
export function parseJson<T = unknown>(text: string, path: string, what = "file"): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new UserError(
      `Cannot parse the ${what} ${path}: it is not valid JSON (${(error as Error).message})`,
    );
  }
}

/** The longest JSON that is parsed where nothing shorter is asked for: about what a string holds. */
const MAX_JSON_BYTES = 500_000_000;

/**
 * Reads and parses a JSON file.
 * @param limit a longer file, in bytes, is refused before it is read: parsing takes many times its room
 * @throws {UserError} naming the file, when it is missing, too long or no JSON.
 */
export function readJson<T = unknown>(path: string, what = "file", limit = MAX_JSON_BYTES): T {
  return parseJson<T>(readText(path, what, limit), path, what);
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  return messageOf(error);
}

/** The SHA-256 of bytes or text, in hex. */
export function sha256(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A file's hash in hex, read in blocks so that memory stays flat. */
export function hashFile(path: string, algorithm: "sha256" | "md5" = "sha256"): string {
  const hash = createHash(algorithm);
  const block = new Uint8Array(1 << 20);
  const file = Deno.openSync(path, { read: true });
  try {
    for (let n = file.readSync(block); n !== null; n = file.readSync(block)) {
      hash.update(block.subarray(0, n));
    }
  } finally {
    file.close();
  }
  return hash.digest("hex");
}

/**
 * Opens a file for reading.
 * @param what the kind of file, for the message
 * @param remedy what the user can do about a file that cannot be read
 * @throws {UserError} saying what could not be read and why.
 */
export function openForReading(path: string, what: string, remedy: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true });
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : messageOf(error);
    throw new UserError(`Cannot read the ${what} ${path}: ${reason}; ${remedy}`);
  }
}
