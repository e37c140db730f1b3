/**
 * Writes docs/reference.md: every command with its options, from the table of commands. A test holds
 * the page to what this writes.
 * @module
 */
import { commandTable, isGroup } from "../commands/command_table.ts";
import { ROOT_COMMANDS } from "../commands/mod.ts";
import { type Command, COMMON_OPTIONS, type OptionSpec, placeholder } from "../core/cli.ts";
import { writeAtomic } from "../core/files.ts";
import { fromFileUrl } from "../core/std.ts";

const PAGE = fromFileUrl(new URL("../docs/reference.md", import.meta.url));

/** The page. */
export async function referencePage(): Promise<string> {
  const table = await commandTable(ROOT_COMMANDS);
  const commands = table.flatMap(({ words, command }) =>
    isGroup(command) ? [] : [{ name: words.join(" "), command }]
  );
  const list = commands.map(({ name, command }) =>
    `- [${name}](#${name.replaceAll(" ", "-")}): ${escaped(command.summary)}`
  );
  return [
    "<!-- Made by scripts/reference.ts from the commands themselves: deno task reference -->",
    "",
    "# Reference of all commands",
    "",
    "Each is called as `deno task COMMAND`, or as `pubmamba COMMAND` where that is installed. All of",
    "them take these options:",
    "",
    ...optionList(COMMON_OPTIONS),
    "",
    ...list,
    "",
    ...commands.flatMap(({ name, command }) => section(name, command)),
  ].join("\n").trimEnd() + "\n";
}

function section(name: string, command: Command): string[] {
  const { summary, description, positionals = [], options = {}, examples } = command;
  return [
    `## ${name}`,
    "",
    `${escaped(summary)}.`,
    "",
    ...(description ? [escaped(description), ""] : []),
    ...positionals.map((p) =>
      `- \`${p.name}\`${p.required ? ", required" : ""}: ${escaped(p.help)}`
    ),
    ...optionList(options),
    ...(positionals.length || Object.keys(options).length ? [""] : []),
    "```sh",
    ...examples,
    "```",
    "",
  ];
}

function optionList(options: Record<string, OptionSpec>): string[] {
  return Object.entries(options).map(([name, spec]) => {
    const value = spec.type === "boolean" ? "" : ` ${placeholder(name, spec)}`;
    const notes = [
      ...(spec.required ? ["required"] : []),
      ...(spec.default === undefined || spec.default === "" ? [] : [`default ${spec.default}`]),
      ...(spec.choices ? [`one of ${spec.choices.join(", ")}`] : []),
      ...(spec.type === "list" ? ["may be repeated"] : []),
    ];
    const more = notes.length ? ` (${notes.join("; ")})` : "";
    return `- \`--${name}${value}\`: ${escaped(spec.help)}${more}`;
  });
}

/** Text whose stars, angles and underscores Markdown leaves alone. */
const escaped = (text: string): string => text.replace(/[*_<>]/g, (c) => `\\${c}`);

if (import.meta.main) writeAtomic(PAGE, await referencePage());
