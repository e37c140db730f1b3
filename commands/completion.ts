/** `completion`: what a shell completes, made from the table of commands. @module */
import { type Command, type CommandGroup, COMMON_OPTIONS, type OptionSpec } from "../core/cli.ts";
import { UsageError } from "../core/errors.ts";
import { commandTable, isGroup, type TableEntry } from "./command_table.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

/** @param root every command */
export const completionCommand = (root: CommandGroup): Command => ({
  name: "completion",
  summary: "Print the completion of commands and options for bash, zsh or fish",
  description:
    "For the command pubmamba, once it is installed. Where an option takes one of some words, " +
    "these are completed, elsewhere files.",
  positionals: [{ name: "SHELL", help: SHELLS.join(", "), required: true }],
  examples: [
    "deno task completion bash > pubmamba.bash",
    "deno task completion fish > pubmamba.fish",
  ],
  async run({ positionals: [shell], reporter }) {
    const table = await commandTable(root);
    if (shell === "fish") reporter.write(fishScript(table));
    else if (shell === "bash") reporter.write(bashScript(table));
    else if (shell === "zsh") reporter.write(zshScript(table));
    else throw new UsageError(`There is no completion for "${shell}": choose ${SHELLS.join(", ")}`);
  },
});

/** The words that can follow a command's, and the values of its options that take one of some. */
interface Following {
  words: string[];
  choices: { option: string; values: readonly string[] }[];
}

function optionsOf({ command }: TableEntry): Record<string, OptionSpec> {
  return isGroup(command) ? {} : { ...command.options, ...COMMON_OPTIONS };
}

/** By the words of a command, "" for none. */
function following(table: TableEntry[]): Map<string, Following> {
  const first = table.filter(({ words }) => words.length === 1).map(({ words }) => words[0] ?? "");
  const all = new Map<string, Following>([["", { words: first, choices: [] }]]);
  for (const entry of table) {
    const { words, command } = entry;
    const own = optionsOf(entry);
    all.set(words.join(" "), {
      words: isGroup(command)
        ? Object.keys(command.commands)
        : Object.keys(own).map((o) => `--${o}`),
      choices: Object.entries(own).flatMap(([option, { choices }]) =>
        choices ? [{ option, values: choices }] : []
      ),
    });
  }
  return all;
}

/** A script that bash reads. */
export function bashScript(table: TableEntry[]): string {
  const cases = [...following(table)].map(([key, { words }]) =>
    `    "${key}") words="${words.join(" ")}" ;;`
  );
  const values = [...following(table)].flatMap(([key, { choices }]) =>
    choices.map(({ option, values }) => `    "${key} --${option}") words="${values.join(" ")}" ;;`)
  );
  return `# Completion of pubmamba for bash.
_pubmamba() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local key="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${key:+$key }\${COMP_WORDS[i]}" in
      ${[...following(table).keys()].filter(Boolean).map((k) => `"${k}"`).join("|")})
        key="\${key:+$key }\${COMP_WORDS[i]}" ;;
      *) break ;;
    esac
  done
  case "$key" in
${cases.join("\n")}
  esac
  case "$key $previous" in
${values.join("\n")}
    *" --"*) [[ "$current" != -* && "$words" == --* ]] && words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _pubmamba pubmamba
`;
}

/** A script that zsh reads: its own way to take bash's. */
export function zshScript(table: TableEntry[]): string {
  return `#compdef pubmamba
autoload -Uz bashcompinit && bashcompinit
${bashScript(table)}`;
}

/** A script that fish reads. */
export function fishScript(table: TableEntry[]): string {
  const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = ["# Completion of pubmamba for fish."];
  for (const entry of table) {
    const { words, summary } = entry;
    const [first = "", second] = words;
    const before = second === undefined
      ? "__fish_use_subcommand"
      : `__fish_seen_subcommand_from ${first}; and not __fish_seen_subcommand_from ${second}`;
    lines.push(
      `complete -c pubmamba -n ${quoted(before)} -a ${second ?? first} -d ${quoted(summary)}`,
    );
    const here = words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    for (const [option, { type, help, choices }] of Object.entries(optionsOf(entry))) {
      const value = type === "boolean"
        ? ""
        : choices
        ? ` -x -a ${quoted(choices.join(" "))}`
        : " -r";
      lines.push(
        `complete -c pubmamba -n ${quoted(here)} -l ${option}${value} -d ${quoted(help)}`,
      );
    }
  }
  return lines.join("\n") + "\n";
}
