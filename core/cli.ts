/**
 * Commands: what they accept, their help, and the parsing of their words. No command lives here.
 * @module
 */
import { parseArgs } from "./std.ts";
import { distance } from "./distance.ts";
import { fail, UsageError } from "./errors.ts";
import { styled, terminalWidth, wrap } from "./terminal.ts";
import type { Reporter } from "./reporter.ts";

export type { Reporter };

/** One `--option` of a command. Names are kebab-case. */
export interface OptionSpec {
  /** What its value is; a list collects every use. */
  type: "string" | "integer" | "number" | "boolean" | "list";
  /** For the help page: a phrase without a capital and a full stop. */
  help: string;
  /** What stands for the value in the help: FILE, DIR, N. */
  placeholder?: string;
  /** The value where the option is not given. */
  default?: string | number | boolean;
  /** The only values allowed. */
  choices?: readonly string[];
  /** The smallest number allowed. */
  min?: number;
  /** The largest number allowed. */
  max?: number;
  /** Whether the command cannot do without it. */
  required?: boolean;
}

/** A word without dashes. */
export interface PositionalSpec {
  /** As shown in the help, in capitals. */
  name: string;
  /** For the help page. */
  help: string;
  /** Whether the command cannot do without it. */
  required?: boolean;
  /** Whether it takes all words that are left. */
  variadic?: boolean;
}

/** The parsed words of one call. Getters throw nothing: the values were checked while parsing. */
export interface Invocation {
  /** Options as given or by default; undefined where neither. */
  options: Record<string, string | number | boolean | string[] | undefined>;
  /** The words without dashes, in order. */
  positionals: string[];
  /** The command line as it was typed, from the command's name on. */
  words: readonly string[];
  /** Whether the last line of stdout has to be one JSON object. */
  json: boolean;
  /** Whether errors come with their stack traces. */
  verbose: boolean;
  /** Where to print. */
  reporter: Reporter;
  /** Fires on Ctrl-C or SIGTERM; long commands save and throw {@linkcode Interrupted}. */
  signal: AbortSignal;
  /** The value of a string option. */
  string(name: string): string | undefined;
  /** The value of an integer or number option. */
  number(name: string): number | undefined;
  /** The value of a string option that is required or has a default. */
  requiredString(name: string): string;
  /** The value of an integer or number option that is required or has a default. */
  requiredNumber(name: string): number;
  /** Whether a flag is set. */
  boolean(name: string): boolean;
  /** Every value of a list option. */
  list(name: string): string[];
}

/** A command: its words, its help, and what it does. */
export interface Command {
  /** As typed, with its group: "pipeline run". */
  name: string;
  /** One line: what it does. */
  summary: string;
  /** More for the help page: what it reads and writes, in a few sentences. */
  description?: string;
  /** Its words without dashes, in order. */
  positionals?: PositionalSpec[];
  /** Its options by name, beyond those that every command has. */
  options?: Record<string, OptionSpec>;
  /** Whole command lines, shown in the help. */
  examples: string[];
  /** What is said when Ctrl-C comes: what becomes of the work, in the command's own words. */
  stopping?: string;
  /** Does the work; a returned number is the exit code (0 otherwise). */
  run(invocation: Invocation): Promise<number | void>;
}

/** An entry of a group: loaded only when called, so that help starts fast. */
export interface CommandEntry {
  /** One line for the list of commands. */
  summary: string;
  /** Loads the command or group. */
  load: () => Promise<Command> | Promise<CommandGroup>;
}

/** Commands under one name. */
export interface CommandGroup {
  /** As typed; "" for the root. */
  name: string;
  /** One line: what the commands are about. */
  summary: string;
  /** The commands by the word that calls them. */
  commands: Record<string, CommandEntry>;
}

/** The options that every command has. */
export const COMMON_OPTIONS: Record<string, OptionSpec> = {
  json: { type: "boolean", help: "print the result as one JSON object on the last line of stdout" },
  quiet: { type: "boolean", help: "no progress and no log lines" },
  verbose: { type: "boolean", help: "stack traces with errors" },
  help: { type: "boolean", help: "this help" },
};

/** The flags that every command takes, without checking the rest. */
export function commonFlags(
  args: string[],
): { quiet: boolean; verbose: boolean; help: boolean; json: boolean } {
  const end = args.indexOf("--");
  const words = end < 0 ? args : args.slice(0, end);
  const has = (...names: string[]) => words.some((w) => names.includes(w));
  return {
    quiet: has("--quiet"),
    verbose: has("--verbose"),
    help: has("--help", "-h"),
    json: has("--json"),
  };
}

/**
 * Checks the words of a command against its specification.
 * @throws {UsageError} naming the option, its value and what is allowed.
 */
export function parseInvocation(
  command: Command,
  args: string[],
  reporter: Reporter,
  signal: AbortSignal,
): Invocation {
  const specs = { ...command.options, ...COMMON_OPTIONS };
  const given = args;
  args = joinNegativeNumbers(args, specs);
  const of = (...types: OptionSpec["type"][]) =>
    Object.entries(specs).filter(([, { type }]) => types.includes(type)).map(([name]) => name);
  for (let i = 0; i < args.length && args[i] !== "--"; i++) {
    const name = /^--(?:no-)?([^=]+)$/.exec(args[i] ?? "")?.[1];
    // A word such as --constructor is no option, though every object has something of that name.
    const spec = name && Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec && spec.type !== "boolean") {
      const next = args[i + 1];
      if (args[i]?.includes("=")) continue;
      if (next === undefined || (next.startsWith("--") && next !== "--")) {
        throw new UsageError(`Option --${name} needs a value (${placeholder(name ?? "", spec)})`);
      }
      i++;
    }
  }
  const parsed = parseArgs(args, {
    string: of("string", "integer", "number", "list"),
    boolean: of("boolean"),
    collect: of("list"),
    negatable: of("boolean").filter((name) => specs[name]?.default === true),
    alias: { h: "help" },
    unknown: (argument, key) => {
      if (key !== undefined) throw new UsageError(unknownOption(argument, Object.keys(specs)));
    },
  });
  const options: Invocation["options"] = {};
  for (const [name, spec] of Object.entries(specs)) {
    options[name] = checkOption(name, spec, parsed[name]);
  }
  const positionals = parsed._.map(String);
  const wanted = command.positionals ?? [];
  const missing = wanted.filter((p) => p.required)[positionals.length];
  if (missing) throw new UsageError(`Missing ${missing.name}: ${missing.help}`);
  if (positionals.length > wanted.length && !wanted.at(-1)?.variadic) {
    throw new UsageError(`Unexpected word "${positionals[wanted.length]}"`);
  }
  return {
    options,
    positionals,
    words: [...command.name.split(" "), ...given],
    json: options.json === true,
    verbose: options.verbose === true,
    reporter,
    signal,
    string: (name) => options[name] as string | undefined,
    number: (name) => options[name] as number | undefined,
    requiredString: (name) =>
      options[name] as string | undefined ??
        fail(`--${name} is neither required nor has a default`),
    requiredNumber: (name) =>
      options[name] as number | undefined ??
        fail(`--${name} is neither required nor has a default`),
    boolean: (name) => options[name] === true,
    list: (name) => (options[name] as string[] | undefined) ?? [],
  };
}

/** "--name -5" as "--name=-5", so that a negative number is a value and not an unknown option. */
function joinNegativeNumbers(args: string[], specs: Record<string, OptionSpec>): string[] {
  const joined: string[] = [];
  for (const [i, word] of args.entries()) {
    const option = /^--([^=]+)$/.exec(joined.at(-1) ?? "")?.[1];
    const spec = option === undefined ? undefined : specs[option];
    const ended = args.slice(0, i).includes("--");
    if (!ended && spec && spec.type !== "boolean" && /^-[.\d]/.test(word)) {
      joined[joined.length - 1] += "=" + word;
    } else joined.push(word);
  }
  return joined;
}

function checkOption(
  name: string,
  spec: OptionSpec,
  given: unknown,
): Invocation["options"][string] {
  if (spec.type === "list") return (given as string[] | undefined) ?? [];
  if (Array.isArray(given)) throw new UsageError(`Option --${name} is given twice`);
  if (spec.type === "boolean") return given === undefined ? spec.default : given === true;
  if (given === undefined || given === "") {
    if (given === "") throw new UsageError(`Option --${name} needs a value`);
    if (spec.required) throw new UsageError(`Missing --${name} ${placeholder(name, spec)}`);
    return spec.default;
  }
  const text = String(given);
  if (spec.choices && !spec.choices.includes(text)) {
    throw new UsageError(`Option --${name} is "${text}": choose ${spec.choices.join(", ")}`);
  }
  if (spec.type === "string") return text;
  const value = Number(text);
  const whole = spec.type === "integer";
  if (!Number.isFinite(value) || whole && !Number.isSafeInteger(value) || text.trim() === "") {
    throw new UsageError(
      `Option --${name} is "${text}": a ${whole ? "whole " : ""}number is needed`,
    );
  }
  if (spec.min !== undefined && value < spec.min || spec.max !== undefined && value > spec.max) {
    const range = spec.max === undefined
      ? `at least ${spec.min}`
      : spec.min === undefined
      ? `at most ${spec.max}`
      : `from ${spec.min} to ${spec.max}`;
    throw new UsageError(`Option --${name} is ${text}: it must be ${range}`);
  }
  return value;
}

/** What stands for the value of an option in help. */
export const placeholder = (name: string, spec: OptionSpec): string =>
  spec.placeholder ?? (spec.choices ? spec.choices.join("|") : spec.type === "integer" ||
      spec.type === "number"
    ? "N"
    : name.toUpperCase());

function unknownOption(argument: string, known: string[]): string {
  const word = argument.replace(/=.*/, "");
  const near = known.map((k) => ({ k, d: distance(word.replace(/^--?/, ""), k) }))
    .sort((a, b) => a.d - b.d)[0];
  const hint = near && near.d <= 3 ? `; did you mean --${near.k}?` : "";
  return `Unknown option ${word}${hint}`;
}

/** The help page of a command. */
export function commandHelp(command: Command): string {
  const specs = command.options ?? {};
  const positionals = command.positionals ?? [];
  const words = positionals.map((p) =>
    (p.required ? p.name : `[${p.name}]`) + (p.variadic ? "..." : "")
  );
  const required = Object.entries(specs).filter(([, s]) => s.required)
    .map(([n, s]) => `--${n} ${placeholder(n, s)}`);
  const width = Math.min(HELP_WIDTH, terminalWidth(Deno.stdout));
  const rows = (entries: [string, string][]) => helpRows(entries, width);
  const option = ([name, spec]: [string, OptionSpec]): [string, string] => [
    `--${name}${spec.type === "boolean" ? "" : " " + placeholder(name, spec)}`,
    spec.help + (spec.default === undefined ? "" : ` (default ${spec.default})`),
  ];
  return [
    ...wrap(command.summary, width),
    "",
    ...commandLines(
      `Usage: deno task ${[command.name, ...words, ...required].join(" ")} [options]`,
      width,
    ).map((line) => line.replace(/^ {2}/, "")),
    ...(command.description ? ["", ...wrap(command.description, width)] : []),
    ...(positionals.length
      ? ["", heading("Arguments:"), ...rows(positionals.map((p) => [p.name, p.help]))]
      : []),
    "",
    heading("Options:"),
    ...rows([...Object.entries(specs), ...Object.entries(COMMON_OPTIONS)].map(option)),
    "",
    heading("Examples:"),
    ...command.examples.flatMap((e) => commandLines(e, width)),
  ].join("\n");
}

/** Help is not set wider than this however wide the terminal is: long lines are hard to read. */
const HELP_WIDTH = 100;

const heading = (text: string): string => styled(text, "bold", Deno.stdout);

/** Two columns: names, and what they mean; a name that is too long has a line of its own. */
function helpRows(entries: [string, string][], width: number): string[] {
  const longest = Math.max(...entries.map(([name]) => name.length));
  const column = Math.min(longest, 34, Math.floor(width * 0.4));
  const indent = " ".repeat(column + 4);
  return entries.flatMap(([name, help]) => {
    const lines = wrap(help, width - column - 4);
    if (name.length > column) {
      return [...choiceLines(name, width), ...lines.map((line) => indent + line)];
    }
    return lines.map((line, i) => i ? indent + line : `  ${name.padEnd(column)}  ${line}`);
  });
}

/** An option with its choices, over as many lines as it needs, broken behind a "|". */
function choiceLines(name: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of name.split(/(?<=\|)/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + part.length <= width) {
      lines[lines.length - 1] = last + part;
    } else lines.push((lines.length ? "      " : "  ") + part);
  }
  return lines;
}

/** A command line over as many lines as it needs, broken before options, each but the last ending in "\\". */
function commandLines(command: string, width: number): string[] {
  const lines: string[] = [];
  for (const words of command.split(/ (?=--)/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + words.length + 3 <= width) {
      lines[lines.length - 1] = `${last} ${words}`;
    } else lines.push((lines.length ? "      " : "  ") + words);
  }
  return lines.map((line, i) => i < lines.length - 1 ? `${line} \\` : line);
}

/** The help page of a group. */
export function groupHelp(group: CommandGroup): string {
  const names = Object.keys(group.commands);
  const prefix = group.name ? group.name + " " : "";
  return [
    ...wrap(group.summary, Math.min(HELP_WIDTH, terminalWidth(Deno.stdout))),
    "",
    `Usage: deno task ${prefix}COMMAND [options]`,
    "",
    heading("Commands:"),
    ...helpRows(
      names.map((name): [string, string] => [name, group.commands[name]?.summary ?? ""]),
      Math.min(HELP_WIDTH, terminalWidth(Deno.stdout)),
    ),
    "",
    `"deno task ${prefix}COMMAND --help" shows a command's options and examples.`,
  ].join("\n");
}
