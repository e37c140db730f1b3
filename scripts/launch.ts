/**
 * Starts a command with the least rights that its words need: `deno task NAME` is this with NAME and
 * the words behind it, by `start.ts`. This process needs more, to start another; it reads its words,
 * what a corpus or a run keeps of its own origin, and nothing that comes from elsewhere.
 * @module
 */
import { placesOf, rightsFor } from "../commands/permissions.ts";
import { EXIT, messageOf } from "../core/errors.ts";
import { consoleReporter } from "../core/reporter.ts";
import {
  detectLaunch,
  findLibrary,
  type Launch,
  LIBRARY_VARIABLE,
  startedTasks,
} from "../core/mpi/launch.ts";
import { gpuVariables } from "../core/mpi/gpu_choice.ts";
import { CALLED_AS } from "../core/called.ts";
import { LAUNCHER, whenOrphaned } from "../core/parent.ts";
import { fromFileUrl, join } from "../core/std.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/**
 * No code but the program's own and its packages', which Deno has fetched by now, as this process
 * has loaded one of them: no import may reach the network.
 */
const CODE_FLAGS = ["--no-prompt", "--no-remote", "--cached-only"];

/** How the launcher was started. */
interface Launched {
  /** The folder that has main.ts. */
  root?: string;
  /** What stands before the words where they are typed: messages and help say the same. */
  calledAs?: string;
  /** The process to stop with, where the program is not to go on without it. */
  parent?: number;
}

/**
 * Runs the program on `words` in a process of its own and returns its exit code. Where this process is
 * killed, the program sees that and stops as it does for a signal.
 */
export async function launch(
  words: readonly string[],
  { root = ROOT, calledAs = "deno task", parent }: Launched = {},
): Promise<number> {
  let flags: string[];
  const variables: Record<string, string> = {
    [CALLED_AS]: calledAs,
    [LAUNCHER]: String(Deno.pid),
  };
  let rank: Launch | undefined;
  const alone = notForRanks(words);
  if (alone) {
    // One speaks for all. The others end without an error, for which the launcher would end this one.
    if (alone.rank > 0) return EXIT.done;
    consoleReporter().log(alone.message);
    return EXIT.usage;
  }
  try {
    rank = placesOf(words)?.ranks && detectLaunch();
    const library = rank && findLibrary(rank);
    if (library !== undefined) variables[LIBRARY_VARIABLE] = library;
    Object.assign(variables, await gpuVariables(rank));
    const rights = await rightsFor(words, root);
    rights.variables([CALLED_AS, LAUNCHER]);
    // A lock of its own says which further packages are fetched: those alone, and as they are there.
    const code = rights.lock === undefined
      ? CODE_FLAGS
      : ["--no-prompt", "--no-remote", "--frozen", `--lock=${join(root, rights.lock)}`];
    flags = [...code, ...rights.flags()];
  } catch (error) {
    consoleReporter().log(messageOf(error));
    return EXIT.failed;
  }
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, join(root, "main.ts"), ...rankWords(words, rank)],
    env: variables,
  }).spawn();
  const pass = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch { /* it has ended */ }
  };
  // A terminal's Ctrl-C reaches both; the program ignores a signal that comes twice at once.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    Deno.addSignalListener(signal, () => pass(signal));
  }
  const unwatch = whenOrphaned(parent, () => pass("SIGTERM"));
  const { code, signal } = await child.status;
  unwatch();
  if (rank && signal) {
    consoleReporter().log(
      `Rank ${rank.rank} of ${rank.size} was ended by ${signal}, which ends the job; start it again` +
        (words[0] === "train" ? " with --resume" : ""),
    );
  }
  return signal === "SIGKILL" ? 137 : code;
}

/**
 * What is wrong where several processes were started for a command that one of them does alone on a device:
 * each would do all of it, and write into the same folders.
 */
function notForRanks(words: readonly string[]): { rank: number; message: string } | undefined {
  const places = placesOf(words);
  if (!places?.device || places.ranks || words.some((word) => word === "--help" || word === "-h")) {
    return undefined;
  }
  const started = startedTasks();
  if (!started) return undefined;
  const options = words.findIndex((word) => word.startsWith("-"));
  const name = words.slice(0, options < 0 ? words.length : options).join(" ");
  const message =
    `Cannot run "${name}" as ${started.size} processes of ${started.launcher}: only ` +
    `train, evaluate perplexity and doctor share their work among ranks; start it without ` +
    `${started.launcher}, or with one process (-n 1)`;
  return { rank: started.rank, message };
}

/** The words of a rank: all but the first are quiet, as one speaks for all. */
function rankWords(words: readonly string[], rank: Launch | undefined): readonly string[] {
  if (!rank || rank.rank === 0 || words.includes("--quiet")) return words;
  const options = words.findIndex((word) => word.startsWith("-"));
  const at = options < 0 ? words.length : options;
  return [...words.slice(0, at), "--quiet", ...words.slice(at)];
}

if (import.meta.main) Deno.exit(await launch(Deno.args));
