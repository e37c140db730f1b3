/**
 * A process whose parent was killed. The system tells a process nothing of that: it gets another
 * parent and goes on, unseen, with whatever it was started for.
 * @module
 */

/** The variable by which the launcher tells the program its process id. */
export const LAUNCHER = "PUBMAMBA_LAUNCHER";

/** How long until an end is noticed. */
const LOOK_MS = 1000;

/**
 * Calls `onOrphaned` once when this process's parent is not `parent` any more. Where that is not the
 * parent to begin with, or not given, nothing is looked at; on Windows a parent's number stays when it
 * ends, so nothing is noticed there.
 * @returns what ends the looking
 */
export function whenOrphaned(parent: number | undefined, onOrphaned: () => void): () => void {
  if (parent === undefined || Deno.ppid !== parent) return () => {};
  const timer = setInterval(() => {
    if (Deno.ppid === parent) return;
    clearInterval(timer);
    onOrphaned();
  }, LOOK_MS);
  Deno.unrefTimer(timer); // the process ends when all else is done
  return () => clearInterval(timer);
}

/** The launcher that started this process; undefined where none did, or without the right to look. */
export function launcherOf(): number | undefined {
  try {
    const given = Number(Deno.env.get(LAUNCHER) ?? NaN);
    return Number.isSafeInteger(given) ? given : undefined;
  } catch {
    return undefined;
  }
}
