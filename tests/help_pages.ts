/** Prints the help page of every command, as one JSON object by the words that call it. @module */
import { type Command, type CommandEntry, type CommandGroup, commandHelp } from "../core/cli.ts";
import { ROOT_COMMANDS } from "../commands/mod.ts";

/** Every command with the words that call it. */
export async function* commands(
  group: CommandGroup = ROOT_COMMANDS,
  words: string[] = [],
): AsyncGenerator<{ words: string[]; entry: CommandEntry; command: Command }> {
  for (const [word, entry] of Object.entries(group.commands)) {
    const command = await entry.load();
    if ("commands" in command) yield* commands(command, [...words, word]);
    else yield { words: [...words, word], entry, command };
  }
}

if (import.meta.main) {
  const pages: Record<string, string> = {};
  for await (const { words, command } of commands()) {
    pages[words.join(" ")] = commandHelp(command);
  }
  const bytes = new TextEncoder().encode(JSON.stringify(pages));
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
