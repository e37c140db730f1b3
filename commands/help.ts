/** `help`: a command's page, or a topic's. @module */
import { asCalled } from "../core/called.ts";
import { type Command, type CommandGroup, commandHelp, groupHelp } from "../core/cli.ts";
import { distance } from "../core/distance.ts";
import { UserError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import { fromFileUrl, join } from "../core/std.ts";
import { commandTable, isGroup } from "./command_table.ts";

const DOCS = fromFileUrl(new URL("../docs", import.meta.url));

/** @param root every command */
export const helpCommand = (root: CommandGroup): Command => ({
  name: "help",
  summary: "Help on a command or a topic",
  description:
    'Without words, the list of commands; with "topics", the list of topics, each a page of ' +
    "docs/; with a topic's name, its page; with a command's words, its help.",
  positionals: [{ name: "WORD", help: "a topic, or the words of a command", variadic: true }],
  examples: [
    "deno task help topics",
    "deno task help training",
    "deno task help pipeline run",
  ],
  async run({ positionals, reporter }) {
    const asked = positionals.join(" ");
    if (asked === "") return reporter.line(asCalled(groupHelp(root)));
    if (asked === "topics") {
      const rows = topics().map((name) => [name, headOf(name)]);
      return reporter.line(formatTable(["topic", "what it tells"], rows));
    }
    const table = await commandTable(root);
    const found = table.find(({ words }) => words.join(" ") === asked)?.command;
    if (found) {
      return reporter.line(asCalled(isGroup(found) ? groupHelp(found) : commandHelp(found)));
    }
    if (topics().includes(asked)) {
      return reporter.line(Deno.readTextFileSync(join(DOCS, `${asked}.md`)).trimEnd());
    }
    const names = [...topics(), ...table.map(({ words }) => words.join(" "))];
    const near = names.map((name) => ({ name, far: distance(name, asked) }))
      .sort((a, b) => a.far - b.far)[0];
    throw new UserError(
      `Cannot help with "${asked}": it is neither a command nor a topic` +
        (near && near.far <= 3 ? `; did you mean "${near.name}"?` : "; see: deno task help topics"),
    );
  },
});

/** The pages of docs/ by name. */
const topics = (): string[] =>
  [...Deno.readDirSync(DOCS)].map(({ name }) => name).filter((name) => name.endsWith(".md"))
    .map((name) => name.slice(0, -3)).sort();

/** A page's heading. */
const headOf = (topic: string): string =>
  /^# (.*)$/m.exec(Deno.readTextFileSync(join(DOCS, `${topic}.md`)))?.[1] ?? "";
