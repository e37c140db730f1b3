/**
 * What the terminal is: how wide, and whether it shows colour. Where there is none, lines are made for
 * {@linkcode DEFAULT_WIDTH} columns and carry no colour.
 * @module
 */

/** Columns where there is no terminal to ask. */
export const DEFAULT_WIDTH = 80;

/** Narrower than this nothing can be laid out; lines then break where the terminal breaks them. */
const LEAST_WIDTH = 40;

/** The columns of the terminal that a stream writes to, or {@linkcode DEFAULT_WIDTH}. */
export function terminalWidth(stream: { isTerminal(): boolean }): number {
  if (!stream.isTerminal()) return DEFAULT_WIDTH;
  try {
    const { columns } = Deno.consoleSize();
    // A terminal without a size, such as a serial line or one that mpirun makes, has none or 0.
    return columns ? Math.max(LEAST_WIDTH, columns) : DEFAULT_WIDTH;
  } catch {
    return DEFAULT_WIDTH;
  }
}

/** How a piece of text is set off. */
type Style = "bold" | "faint" | "red" | "green" | "yellow" | "cyan";

/** The codes of ECMA-48, "select graphic rendition". */
const CODES: Record<Style, number> = {
  bold: 1,
  faint: 2,
  red: 31,
  green: 32,
  yellow: 33,
  cyan: 36,
};

/** Whether a stream shows colour: it is a terminal, and NO_COLOR is not set. */
function showsColour(stream: { isTerminal(): boolean }): boolean {
  return !Deno.noColor && stream.isTerminal();
}

/** Sets text off where `stream` shows colour; elsewhere the text as it is. */
export function styled(text: string, style: Style, stream: { isTerminal(): boolean }): string {
  return showsColour(stream) ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;
}

/**
 * Text behind a label, its further lines under its beginning. Where there is no terminal it stays one
 * line, which other programs read.
 * @param width columns of the terminal, by default those of stdout
 */
export function hanging(
  label: string,
  text: string,
  width: number = Deno.stdout.isTerminal() ? terminalWidth(Deno.stdout) : Infinity,
): string {
  return label + wrap(text, width - label.length).join("\n" + " ".repeat(label.length));
}

/** Text in lines of at most `width` columns, broken at spaces; a longer word has a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line && line.length + word.length + 1 > width) {
      lines.push(line);
      line = "";
    }
    line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}
