/** Starts the commands as `deno task` does, kills them, and judges how they end. @module */
import { join } from "../../core/std.ts";
import { ROOT } from "../shared.ts";

/** A command that runs longer than this hangs. */
const HANG_MS = 120_000;

/** How a command ended. */
export interface Ending {
  /** The exit code; 137 where it was killed. */
  code: number;
  killed: boolean;
  /** Ended by the interrupt itself, before it listened to it. */
  signalled: boolean;
  stdout: string;
  stderr: string;
}

/** Something that no fault may bring about. */
export class Wrong extends Error {
  override name = "Wrong";
}

/** The words of a task in deno.json, with this Deno in the place of "deno". */
function taskWords(task: string): string[] {
  const tasks = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json"))).tasks;
  const entry = tasks[task];
  const command: string = entry.command ?? entry;
  if (/[&|;'"$]/.test(command)) throw new Error(`The task ${task} is no plain command: ${command}`);
  const [program, ...words] = command.split(" ");
  if (program !== "deno") throw new Error(`The task ${task} does not start deno: ${command}`);
  return words;
}

/** A command that runs, in a process group of its own, as a terminal or a supervisor starts it. */
export class Running {
  readonly #process: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;
  #killed = false;

  constructor(readonly task: string, readonly args: string[]) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [...taskWords(task), ...args],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      detached: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#output = this.#process.output();
  }

  /** Kills the whole group at once, as a supervisor or a lack of memory does. */
  kill(): void {
    try {
      Deno.kill(-this.#process.pid, "SIGKILL");
      this.#killed = true;
    } catch { /* it has ended by itself */ }
  }

  /** Asks the whole group to stop, as a terminal's Ctrl-C does. */
  interrupt(): void {
    try {
      Deno.kill(-this.#process.pid, "SIGINT");
    } catch { /* it has ended by itself */ }
  }

  /** Waits for the end. @throws {Wrong} where it hangs or fails in a way that nobody foresaw. */
  async ending(): Promise<Ending> {
    let hung = false;
    const watchdog = setTimeout(() => {
      hung = true;
      this.kill();
    }, HANG_MS);
    const { code, signal, stdout, stderr } = await this.#output;
    clearTimeout(watchdog);
    const decoder = new TextDecoder();
    const ending = {
      code,
      signalled: signal === "SIGINT",
      killed: this.#killed && (signal === "SIGKILL" || code === 137),
      stdout: decoder.decode(stdout),
      stderr: decoder.decode(stderr),
    };
    const what = `${this.task} ${this.args.join(" ")}`;
    if (hung) throw new Wrong(`"${what}" ran for more than ${HANG_MS / 1000} s\n${ending.stderr}`);
    if (ending.killed) return ending;
    const unforeseen = /--verbose shows where|panicked|Uncaught|out of memory|Requires \w+ access/;
    if (signal !== null && signal !== "SIGINT" || unforeseen.test(ending.stderr)) {
      throw new Wrong(`"${what}" ended with ${signal ?? code}\n${ending.stderr}`);
    }
    return ending;
  }
}

/** Runs a command to its end. */
export const finish = (task: string, args: string[]): Promise<Ending> =>
  new Running(task, args).ending();

/**
 * Starts a command and kills it: after so many milliseconds, or as soon as so many changes were seen
 * under `folder`.
 */
export async function killed(
  task: string,
  args: string[],
  when: { after: number } | { changes: number; folder: string },
): Promise<Ending> {
  const running = new Running(task, args);
  if ("after" in when) {
    const timer = setTimeout(() => running.kill(), when.after);
    try {
      return await running.ending();
    } finally {
      clearTimeout(timer);
    }
  }
  const watcher = Deno.watchFs(when.folder, { recursive: true });
  const watching = (async () => {
    let left = when.changes;
    for await (const _ of watcher) {
      if (--left > 0) continue;
      running.kill();
      break;
    }
  })();
  try {
    return await running.ending();
  } finally {
    try {
      watcher.close();
    } catch { /* the loop has closed it */ }
    await watching;
  }
}
