/**
 * Runs the tests: each test file in a process of its own, one more side by side than the machine has
 * processors (tests wait for devices, servers and ranks too), so that a driver that aborts takes one
 * file with it and not the rest. Words on the command line choose: "deno task test kernels
 * pipeline/xml" runs the test files whose path has one of them, and "--processes 1" runs one file at a
 * time. What a file prints appears whole when the file ends. The last line counts.
 * @module
 */
import { consoleReporter } from "../core/reporter.ts";
import { fromFileUrl, join, relative } from "../core/std.ts";

/** However many processors there are, no more files run side by side: a few of them take 1.5 GB. */
const MOST_PROCESSES = 8;

/**
 * Files that take more than ten seconds, with roughly how many they take on one processor. They start
 * first, the longest before the others, so that no long file is still running alone at the end. A
 * wrong or missing number costs time and nothing else.
 */
export const LONG_FILES: Readonly<Record<string, number>> = {
  "tests/end_to_end/train_ranks_test.ts": 140,
  "tests/model/goldens_test.ts": 60,
  "tests/kernels/ssd_test.ts": 42,
  "tests/model/training/resident_memory_test.ts": 36,
  "tests/commands/train_test.ts": 35,
  "tests/pipeline/parts_test.ts": 35,
  "tests/commands/compare_test.ts": 33,
  "tests/commands/mamba2_test.ts": 33,
  "tests/kernels/dawn_test.ts": 28,
  "tests/commands/refresh_training_test.ts": 28,
  "tests/pipeline/kill_test.ts": 27,
  "tests/chaos/chaos_test.ts": 25,
  "tests/commands/demo_test.ts": 25,
  "tests/model/tasks/reproduce_test.ts": 22,
  "tests/model/mamba/lora_test.ts": 18,
  "tests/end_to_end/public_api_test.ts": 18,
  "tests/model/mamba/mamba_test.ts": 18,
  "tests/kernels/spirv_test.ts": 17,
  "tests/model/mamba/mixed_precision_test.ts": 17,
  "tests/pipeline/corpus_safety_test.ts": 17,
  "tests/end_to_end/tutorial_test.ts": 15,
  "tests/pipeline/permissions_test.ts": 14,
  "tests/model/training/spikes_test.ts": 14,
  "tests/bench/gpu_test.ts": 14,
  "tests/model/training/kill_test.ts": 12,
  "tests/model/training/mixed_train_test.ts": 12,
  "tests/model/tasks/onnx_test.ts": 12,
  "tests/model/mamba/label_head_test.ts": 12,
  "tests/pipeline/http_test.ts": 12,
  "tests/pipeline/verify_test.ts": 12,
  "tests/pipeline/tokenizer_test.ts": 11,
  "tests/model/mamba/sizes_test.ts": 10,
  "tests/kernels/matrix_units_test.ts": 10,
  "tests/kernels/scan_test.ts": 10,
};

/** What the command line asks for. */
interface Asked {
  words: string[];
  processes: number;
}

/** Reads the command line; undefined where `--processes` has no whole number of 1 or more. */
export function readWords(args: readonly string[], processors: number): Asked | undefined {
  const words: string[] = [];
  let processes = Math.min(processors + 1, MOST_PROCESSES);
  const rest = args.values();
  for (const word of rest) {
    const [, given] = /^--processes(?:=(.*))?$/.exec(word) ?? [];
    if (!word.startsWith("--processes")) {
      words.push(word);
      continue;
    }
    processes = Number(given ?? rest.next().value);
    if (!Number.isInteger(processes) || processes < 1) return undefined;
  }
  return { words, processes };
}

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

/** Test files in the order in which they start: the long ones first, then the others by name. */
export function orderTests(paths: readonly string[]): string[] {
  const seconds = (path: string) => LONG_FILES[path.replaceAll("\\", "/")] ?? 0;
  return [...paths].sort((a, b) => seconds(b) - seconds(a) || (a < b ? -1 : 1));
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

/** Test files that run now. Each has a process group, so that what its tests start ends with it. */
const running = new Set<Deno.ChildProcess>();

function endAll(): void {
  for (const child of running) {
    try {
      if (Deno.build.os === "windows") child.kill();
      else Deno.kill(-child.pid, "SIGKILL");
    } catch { /* it has ended */ }
  }
}

/** Collects what a stream says into `parts`, in the order in which it arrives. */
async function collect(
  stream: ReadableStream<Uint8Array>,
  parts: Uint8Array[],
): Promise<void> {
  for await (const part of stream) parts.push(part);
}

/** Runs the tests of one file in a process of their own. */
async function runFile(root: string, file: string): Promise<Outcome> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "--allow-all", file], // a test drives a browser, which looks everywhere
    cwd: root,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: Deno.build.os !== "windows",
  }).spawn();
  running.add(child);
  const parts: Uint8Array[] = [];
  await Promise.all([collect(child.stdout, parts), collect(child.stderr, parts)]);
  const { success, signal } = await child.status;
  running.delete(child);
  const bytes = new Uint8Array(await new Blob(parts.map((part) => part.slice())).arrayBuffer());
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  const output = new TextDecoder().decode(bytes);
  const reported = readOutcome(output, true);
  // CPU drivers have been seen to crash while a process ends: that says nothing of its tests.
  if (signal && reported.passed > 0 && reported.failed === 0) {
    consoleReporter().log(`${signal} ended a process after its tests had passed: ${file}`);
    return reported;
  }
  return readOutcome(output, success);
}

/**
 * Runs `work` on each item, at most `most` of them at a time, started in their order.
 * @returns what the items came to, in their order
 */
export async function sideBySide<Item, Result>(
  items: readonly Item[],
  most: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const left = items.entries();
  const takeTurns = async () => {
    for (const [i, item] of left) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, takeTurns));
  return results;
}

/** Runs the tests that the words choose, and returns the exit code. */
export async function runTests(args: readonly string[]): Promise<number> {
  const root = fromFileUrl(new URL("..", import.meta.url));
  const reporter = consoleReporter();
  const asked = readWords(args, navigator.hardwareConcurrency);
  if (!asked) {
    reporter.log("--processes takes how many test files run side by side, such as --processes 2");
    return 1;
  }
  const { words, processes } = asked;
  const chosen = orderTests(
    [...walk(join(root, "tests"))].map((path) => relative(root, path))
      .filter((path) => !words.length || words.some((word) => path.includes(word))),
  );
  if (!chosen.length) {
    reporter.log(`No test file has "${words.join('" or "')}" in its path`);
    return 1;
  }
  if (!await checkTypes(root, chosen)) return 1;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    Deno.addSignalListener(signal, () => {
      endAll();
      Deno.exit(130);
    });
  }
  const outcomes = await sideBySide(chosen, processes, (file) => runFile(root, file));
  const failures = chosen.filter((_, i) => outcomes[i]?.failed);
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  if (failures.length) reporter.line(`Failures among: ${failures.join(" ")}`);
  reporter.line(`${passed} passed, ${failed} failed`);
  return failed ? 1 : 0;
}
