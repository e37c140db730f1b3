/** Every command of a group by its words, for what is made of the table: completion, reference. @module */
import type { Command, CommandGroup } from "../core/cli.ts";

/** A command, or a group of them, with the words that call it. */
export interface TableEntry {
  words: string[];
  summary: string;
  command: Command | CommandGroup;
}

/** Whether an entry is a group of commands. */
export const isGroup = (command: Command | CommandGroup): command is CommandGroup =>
  "commands" in command;

/** All commands and groups under a group, a group before its commands. */
export async function commandTable(
  group: CommandGroup,
  words: readonly string[] = [],
): Promise<TableEntry[]> {
  const entries: TableEntry[] = [];
  for (const [word, { summary, load }] of Object.entries(group.commands)) {
    const command = await load();
    const own = [...words, word];
    entries.push({ words: own, summary, command });
    if (isGroup(command)) entries.push(...await commandTable(command, own));
  }
  return entries;
}
