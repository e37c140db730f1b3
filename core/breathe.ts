/** Lets signals and timers through between stretches of work that never waits. @module */

/** Resolves after everything that is waiting to run has run: Ctrl-C is seen then. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
