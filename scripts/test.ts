/**
 * Runs the tests room by room, each room in a process of its own and each file that uses the GPU
 * too, so that a driver that aborts takes one file with it and not the rest. Words on the command
 * line choose: "deno task test kernels pipeline/xml" runs the test files whose path has one of
 * them. The last line counts.
 * @module
 */
import { consoleReporter } from "../core/reporter.ts";
import { fromFileUrl, join, relative } from "../core/std.ts";

/** Rooms whose test files use the GPU. */
const GPU_ROOMS = ["kernels", "model"];

/** What one process of tests came to. */
interface Outcome {
  passed: number;
  failed: number;
}

/** Reads the counts of `deno test`'s closing line; a process that died counts as one failure. */
export function readOutcome(output: string, success: boolean): Outcome {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const line = [...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed/gm)].at(-1);
  const passed = Number(line?.[1] ?? 0);
  const failed = Number(line?.[2] ?? 0);
  return { passed, failed: success ? failed : Math.max(1, failed) };
}

/** Test files by the process that runs them. */
export function groupTests(paths: string[]): string[][] {
  const rooms = new Map<string, string[]>();
  for (const path of paths.sort()) {
    const room = path.split(/[\\/]/)[1]!;
    const key = GPU_ROOMS.includes(room) ? path : room;
    rooms.set(key, [...rooms.get(key) ?? [], path]);
  }
  return [...rooms.values()];
}

function* walk(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* walk(path);
    else if (entry.name.endsWith("_test.ts")) yield path;
  }
}

/** Checks the types of all files at once: each process would check most of them again. */
async function checkTypes(root: string, files: string[]): Promise<boolean> {
  const args = ["check", "--quiet", ...files];
  return (await new Deno.Command(Deno.execPath(), { args, cwd: root }).spawn().status).success;
}

async function runGroup(root: string, files: string[]): Promise<Outcome> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "--allow-all", ...files], // a test drives a browser, which looks everywhere
    cwd: root,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const parts: string[] = [];
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    Deno.stdout.writeSync(chunk);
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  const { success, signal } = await child.status;
  const output = parts.join("");
  const reported = readOutcome(output, true);
  // CPU drivers have been seen to crash while a process ends: that says nothing of its tests.
  if (signal && reported.passed > 0 && reported.failed === 0) {
    consoleReporter().log(
      `${signal} ended a process after its tests had passed: ${files.join(" ")}`,
    );
    return reported;
  }
  return readOutcome(output, success);
}

if (import.meta.main) {
  const root = fromFileUrl(new URL("..", import.meta.url));
  const reporter = consoleReporter();
  const chosen = [...walk(join(root, "tests"))].map((path) => relative(root, path))
    .filter((path) => !Deno.args.length || Deno.args.some((word) => path.includes(word)));
  if (!chosen.length) {
    reporter.log(`No test file has "${Deno.args.join('" or "')}" in its path`);
    Deno.exit(1);
  }
  if (!await checkTypes(root, chosen)) Deno.exit(1);
  let passed = 0;
  const failures: string[] = [];
  let failed = 0;
  for (const files of groupTests(chosen)) {
    const outcome = await runGroup(root, files);
    passed += outcome.passed;
    failed += outcome.failed;
    if (outcome.failed) failures.push(...files);
  }
  if (failures.length) reporter.line(`Failures among: ${failures.join(" ")}`);
  reporter.line(`${passed} passed, ${failed} failed`);
  Deno.exit(failed ? 1 : 0);
}
