/** Errors that a person is meant to read. @module */

/** What a command exits with. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/**
 * Something the user can act on: a bad file, a full disk, a device too small.
 * The message is one sentence that says what could not be done, the value and its place, and what
 * to do about it. Printed without a stack trace; the command exits with 1.
 */
export class UserError extends Error {
  /** Tells it from other errors across realms. */
  override name = "UserError";
}

/** Wrong words on the command line. Exits with 2. */
export class UsageError extends Error {
  /** Tells it from other errors across realms. */
  override name = "UsageError";
}

/** The user asked to stop, and everything worth keeping has been saved. Exits with 130. */
export class Interrupted extends Error {
  /** Tells it from other errors across realms. */
  override name = "Interrupted";
}

/**
 * Ends what cannot go on: `value ?? fail("the plan has no row")` where a value has to be there.
 * @throws {Error} always; a fault of the program's, and not of its user's
 */
export function fail(what: string): never {
  throw new Error(what);
}

/** What the system says, its number, what was tried, and where; as Deno puts them. */
const SYSTEM_ERROR = /^(.*) \(os error (\d+)\)(?:: (\w+) '(.*)')?$/s;

/**
 * The sentence for a place that may not be read or written, which a user can cause with every command:
 * EPERM, EACCES and EROFS. Undefined for any other error.
 */
export function refusedPlace(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const [, , number, operation, path] = SYSTEM_ERROR.exec(error.message) ?? [];
  if (path === undefined || operation === undefined) return undefined;
  const place = path.replace(/\.partial$/, "");
  if (number === "30") {
    return `Cannot write ${place}: its file system is read-only; name another place`;
  }
  if (number !== "1" && number !== "13") return undefined;
  const what = operation === "mkdir" ? "make the folder" : operation;
  return `Cannot ${what} ${place}: this user has no right to; change the rights of that file or ` +
    "folder, or name another place";
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) return deniedMessage(error.message);
  return refusedPlace(error) ?? (error instanceof Error ? error.message : String(error));
}

/** What a right is called, and where it comes from, by Deno's word for it. */
const RIGHTS: Record<string, { may: string; from: string }> = {
  read: { may: "read", from: "name that file or folder with one of the command's options" },
  write: { may: "write", from: "name that file or folder with one of the command's options" },
  net: {
    may: "reach",
    from:
      "a task reaches the host of --source, or Hugging Face's hub where a model's id is given, " +
      "and no other",
  },
};

/** Deno's words for a right that was not given, as a part of a sentence that says what to do. */
function deniedMessage(message: string): string {
  const [, kind = "", what = ""] = /^Requires (\w+) access to (.+?)(?:, run again.*)?$/s
    .exec(message) ?? [];
  const right = Object.hasOwn(RIGHTS, kind) ? RIGHTS[kind] : undefined;
  if (!right) return `this task was started without a right that it needs (${message})`;
  return `this task has no right to ${right.may} ${what}; ${right.from}`;
}

/** True where `error` is the operating system's "no space left on device". */
export function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as Error & { code?: string }).code;
  return code === "ENOSPC" || /ENOSPC|no space left|os error 28/i.test(error.message);
}

/** Any value as a sentence can hold it: its JSON, cut where it is long, or its type. */
export function shown(value: unknown, longest = 100): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // too deep to be written down
  }
  text ??= value === undefined ? "undefined" : `a value of the type ${typeof value}`;
  return text.length > longest ? `${text.slice(0, longest)}...` : text;
}
