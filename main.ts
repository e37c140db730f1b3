// deno-lint-ignore-file no-console
/**
 * The command line: finds the command, parses its words, runs it, reports errors. Nothing else.
 * @module
 */
import {
  type Command,
  type CommandEntry,
  type CommandGroup,
  commandHelp,
  commonFlags,
  groupHelp,
  parseInvocation,
} from "./core/cli.ts";
import { meantOr } from "./core/distance.ts";
import {
  EXIT,
  Interrupted,
  isDiskFull,
  messageOf,
  refusedPlace,
  UsageError,
  UserError,
} from "./core/errors.ts";
import { asCalled } from "./core/called.ts";
import { launcherOf, whenOrphaned } from "./core/parent.ts";
import { consoleReporter } from "./core/reporter.ts";
import { styled } from "./core/terminal.ts";
import { ROOT_COMMANDS } from "./commands/mod.ts";

const SAME_SIGNAL_MS = 300;

const red = (text: string): string => styled(text, "red", Deno.stderr);

const isGroup = (c: Command | CommandGroup): c is CommandGroup => "commands" in c;

/** Runs the command line `args` and returns the exit code. */
export async function main(args: string[]): Promise<number> {
  const flags = commonFlags(args);
  const reporter = consoleReporter(flags.quiet);
  const abort = new AbortController();
  let signalled: number | undefined;
  let stopping = "Stopping";
  const onSignal = () => {
    if (signalled !== undefined) {
      // One Ctrl-C can come twice: from the terminal, and passed on by the program that started us.
      if (performance.now() - signalled < SAME_SIGNAL_MS) return;
      Deno.exit(EXIT.interrupted);
    }
    signalled = performance.now();
    reporter.log(`${stopping}; once more stops at once`);
    abort.abort();
  };
  let where = "";
  try {
    const found = await find(ROOT_COMMANDS, args);
    where = found.command.name;
    if (isGroup(found.command)) {
      const bare = found.rest.filter((w) => w !== "--help" && w !== "-h");
      const [unknown] = bare;
      if (unknown !== undefined) throw new UsageError(unknownCommand(unknown, found.command));
      reporter.line(asCalled(groupHelp(found.command)));
      return flags.help || !where ? EXIT.done : EXIT.usage;
    }
    if (flags.help) {
      reporter.line(asCalled(commandHelp(found.command)));
      return EXIT.done;
    }
    const invocation = parseInvocation(found.command, found.rest, reporter, abort.signal);
    stopping = found.command.stopping ?? stopping;
    Deno.addSignalListener("SIGINT", onSignal);
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", onSignal);
    whenOrphaned(launcherOf(), () => {
      reporter.log("The process that started this one was ended");
      onSignal();
    });
    return await found.command.run(invocation) ?? EXIT.done;
  } catch (error) {
    if (flags.json) reporter.line(JSON.stringify({ error: messageOf(error) }));
    if (flags.verbose && error instanceof Error && error.stack) console.error(error.stack);
    if (error instanceof Interrupted) {
      console.error(asCalled(error.message || "Interrupted"));
      return EXIT.interrupted;
    }
    if (error instanceof UsageError) {
      console.error(
        asCalled(`${red(error.message)}\nSee: deno task ${where ? where + " " : ""}--help`),
      );
      return EXIT.usage;
    }
    if (isDiskFull(error) && !(error instanceof UserError)) {
      console.error("Cannot write: the disk is full; free some space and run the command again");
      return EXIT.failed;
    }
    if (error instanceof Deno.errors.NotCapable) {
      console.error(red(`Cannot go on: ${messageOf(error)}`));
      return EXIT.failed;
    }
    console.error(red(asCalled(messageOf(error))));
    // Not something we foresaw: the trace is what a bug report needs.
    const foreseen = error instanceof UserError || (error as Error)?.name === "DeviceError" ||
      refusedPlace(error) !== undefined;
    if (!foreseen && !flags.verbose) console.error("(--verbose shows where it happened)");
    return EXIT.failed;
  }
}

async function find(
  group: CommandGroup,
  args: string[],
): Promise<{ command: Command | CommandGroup; rest: string[] }> {
  const word = args[0];
  const entry: CommandEntry | undefined = word === undefined || word.startsWith("-")
    ? undefined
    : Object.hasOwn(group.commands, word)
    ? group.commands[word]
    : undefined;
  if (!entry) return { command: group, rest: args };
  const command = await entry.load();
  return isGroup(command) ? find(command, args.slice(1)) : { command, rest: args.slice(1) };
}

function unknownCommand(word: string, group: CommandGroup): string {
  const hint = meantOr(word, Object.keys(group.commands), "");
  return `Unknown command "${[group.name, word].filter(Boolean).join(" ")}"${hint}`;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
