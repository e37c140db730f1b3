/** Feeds mutants to processes that read them, and watches over these. @module */
import { TextLineStream } from "./lines.ts";
import { fromFileUrl, join } from "../../core/std.ts";
import { exists } from "../../core/files.ts";
import type { Progress, WrongInput } from "./inputs_child.ts";

const CHILD = fromFileUrl(new URL("./inputs_child.ts", import.meta.url));
/**
 * One mutant may take so many seconds of the processor, or, on a machine that is busy with other
 * things, so many of the clock; and a process so much memory.
 */
const HANG_SECONDS = 10;
const HANG_CLOCK_MS = 60_000;
const MEMORY = 1e9;
/** Mutants that one process should read: enough that starting it costs little. */
export const BATCH = 20_000;

/** What came of a stretch of mutants. */
export interface InputFigures {
  counts: Progress["counts"];
  wrong: WrongInput[];
  hangs: WrongInput[];
  aborts: WrongInput[];
  /** Stretches whose process took more memory than it may. */
  greedy: WrongInput[];
  peak: number;
}

/** Nothing yet. */
export const noFigures = (): InputFigures => ({
  counts: {},
  wrong: [],
  hangs: [],
  aborts: [],
  greedy: [],
  peak: 0,
});

/** How to read mutants. */
interface ReadOptions {
  /** For the files that are read; of this stretch alone. */
  folder: string;
  /** When to stop, by performance.now(). */
  until: number;
  /** Added to. */
  figures: InputFigures;
}

/**
 * Reads the mutants `from` to `to` of `seed` in a process, and in further ones where one of them ends
 * it. Returns the first mutant not read.
 */
export async function readMutants(
  seed: number,
  from: number,
  to: number,
  options: ReadOptions,
): Promise<number> {
  let next = from;
  while (next < to && performance.now() < options.until) {
    const { read, fatal } = await readBatch(seed, next, to, options);
    next = read;
    if (fatal === undefined) continue;
    // What was read before it was not told of.
    if (fatal > read) await readMutants(seed, read, fatal, options);
    next = fatal + 1;
  }
  return next;
}

async function readBatch(
  seed: number,
  from: number,
  to: number,
  { folder, until, figures }: ReadOptions,
): Promise<{ read: number; fatal?: number }> {
  Deno.mkdirSync(folder, { recursive: true });
  const place = join(folder, "at");
  if (exists(place)) Deno.removeSync(place);
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", CHILD, folder, ...[seed, from, to].map(String)],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let next = from;
  let at = -1;
  let stopped = false;
  let since = performance.now();
  let cpu = 0;
  let hung: number | undefined;
  const kill = () => {
    try {
      process.kill("SIGKILL");
    } catch { /* it has ended */ }
  };
  const watchdog = setInterval(() => {
    const now = currentMutant(place).index;
    if (now !== at) {
      at = now;
      since = performance.now();
      cpu = processorSeconds(process.pid);
    }
    if (performance.now() > until + 2000) {
      stopped = true;
      kill();
    } else if (
      performance.now() - since > HANG_CLOCK_MS ||
      processorSeconds(process.pid) - cpu > HANG_SECONDS
    ) {
      hung = at;
      kill();
    }
  }, 250);
  const errors = new Response(process.stderr).text();
  for await (const line of process.stdout.pipeThrough(new TextLineStream())) {
    const progress: Progress = JSON.parse(line);
    for (const [name, { read, refused }] of Object.entries(progress.counts)) {
      const count = figures.counts[name] ??= { read: 0, refused: 0 };
      count.read += read;
      count.refused += refused;
    }
    figures.wrong.push(...progress.wrong);
    if (progress.peak > MEMORY && !figures.greedy.some((w) => w.index >= from && w.index < to)) {
      const error =
        `${progress.peak} bytes of memory between the mutants ${next} and ${progress.next}`;
      figures.greedy.push({ index: next, subject: "?", error });
    }
    figures.peak = Math.max(figures.peak, progress.peak);
    next = progress.next;
    if (performance.now() > until && next < to) {
      stopped = true;
      kill();
    }
  }
  const { code, signal } = await process.status;
  clearInterval(watchdog);
  if (code === 0 || stopped) return { read: next };
  const last = currentMutant(place);
  const index = Math.max(from, last.index);
  const { subject } = last;
  if (hung !== undefined) {
    figures.hangs.push({ index, subject, error: `more than ${HANG_SECONDS} s` });
  } else {
    const error = `ended with ${signal ?? code}: ${(await errors).slice(0, 2000)}`;
    figures.aborts.push({ index, subject, error });
  }
  return { read: next, fatal: index };
}

/** The processor time that a process has used, in seconds; 0 where the system does not say. */
function processorSeconds(pid: number): number {
  try {
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

/** The mutant that the process is at, and whom it is for; -1 before the first. */
function currentMutant(place: string): { index: number; subject: string } {
  try {
    const [number = "", ...subject] = Deno.readTextFileSync(place).trim().split(" ");
    if (/^\d+$/.test(number)) return { index: Number(number), subject: subject.join(" ") };
  } catch { /* it has not begun */ }
  return { index: -1, subject: "?" };
}
