/**
 * What `deno task NAME` starts: the launcher, which it waits for, or the tests. Deno itself is told to
 * be quiet, as it says at every start that permission sets are new; that hides how it fetches packages,
 * too, so this file says it instead, and needs no package itself.
 * @module
 */

/** Starts that take longer than this fetch something, or the machine is busy. */
const SLOW_MS = 3000;

const slow = setTimeout(() => {
  const text = "Loading; a first start fetches the program's packages, about 115 MB\n";
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}, SLOW_MS);

/** What the words ask for; it returns the exit code. */
async function loaded([name, ...words]: readonly string[]): Promise<() => Promise<number>> {
  if (name === "test") {
    const { runTests } = await import("./test.ts");
    return () => runTests(words);
  }
  const { launch } = await import("./launch.ts");
  // The parent is the task, and nothing goes on without it.
  return () => launch(Deno.args, { parent: Deno.ppid });
}

const run = await loaded(Deno.args);
clearTimeout(slow);
Deno.exit(await run());
