/** What stands before a command where it is typed: "deno task", or "pubmamba" where that is installed. @module */

/** The variable by which the launcher says how it was called. */
export const CALLED_AS = "PUBMAMBA_CALLED_AS";

/** Tasks that are no commands of the program: they are called by "deno task" alone. */
const TASKS_ALONE = /^(test|test:\w+|ok|doc|setup|fixtures|bench)\b/;

/** How the program was called. */
export function calledAs(): string {
  try {
    return Deno.env.get(CALLED_AS) ?? "deno task";
  } catch {
    return "deno task"; // without the right to look
  }
}

/** A text in which commands are written as the user types them. */
export function asCalled(text: string, name: string = calledAs()): string {
  if (name === "deno task") return text;
  return text.replace(
    /\bdeno task (\S+)/g,
    (whole, word: string) => TASKS_ALONE.test(word) ? whole : `${name} ${word}`,
  );
}
