/**
 * The one place that prints: results to stdout, progress and logs to stderr.
 * @module
 */
import { styled, terminalWidth, wrap } from "./terminal.ts";

/** A running count, shown as a bar on a terminal and as a plain line every few seconds otherwise. */
export interface Progress {
  /**
   * Sets how much is done, with a short note such as "12 MB/s". The bar and the time left go by
   * `share`, 0 to 1, where that is known more finely than by `done`.
   */
  update(done: number, note?: string, share?: number): void;
  /** Clears the bar; prints the closing line where one is given. */
  finish(line?: string): void;
}

/** Where a command prints. */
export interface Reporter {
  /** One line of result on stdout. */
  line(text?: string): void;
  /** Text on stdout as it is, without a line end: streamed generation. */
  write(text: string): void;
  /** One line of log on stderr. */
  log(text: string): void;
  /**
   * Starts a progress display on stderr. `total` 0 where it is not known; `from` is what was done
   * before this start and takes no part in the time left.
   */
  progress(label: string, total: number, unit?: string, from?: number): Progress;
}

const encoder = new TextEncoder();

function writeAll(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // `... | head` closed early
  }
}

/** Seconds as "5 s", "3 min 20 s" or "2 h 5 min". */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}

/** Bytes as "1.2 GB" (powers of ten). */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  let value = bytes;
  while (value >= 1000 && i < units.length - 1) {
    value /= 1000;
    i++;
  }
  return `${i === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[i]}`;
}

/** A reporter on the process's own stdout and stderr; `quiet` drops logs and progress. */
export function consoleReporter(quiet = false): Reporter {
  const terminal = !quiet && Deno.stderr.isTerminal();
  let bar = "";
  const err = (text: string) => writeAll(Deno.stderr, text);
  const clear = () => bar && err("\r\x1b[K");
  return {
    line(text = "") {
      clear();
      writeAll(Deno.stdout, text + "\n");
      if (bar) err(bar);
    },
    write: (text) => writeAll(Deno.stdout, text),
    log(text) {
      if (quiet) return;
      clear();
      err(text + "\n");
      if (bar) err(bar);
    },
    progress(label, total, unit = "", from = 0) {
      const start = performance.now();
      let last = -Infinity;
      const draw = (done: number, note: string, finer: number | undefined) => {
        const seconds = (performance.now() - start) / 1000;
        const share = finer ?? (total ? Math.min(1, (done - from) / (total - from)) : 0);
        const left = share > 0 ? formatDuration(seconds / share - seconds) + " left" : "";
        const count = total ? `${grouped(done)}/${grouped(total)}` : grouped(done);
        return [`${label} ${count}${unit ? " " + unit : ""}`, note, left].filter(Boolean);
      };
      return {
        update(done, note = "", finer) {
          const now = performance.now();
          if (quiet || now - last < (terminal ? 100 : 5000)) return;
          last = now;
          const parts = draw(done, note, finer);
          if (!terminal) return err(parts.join(", ") + "\n");
          const share = finer ?? (total ? Math.min(1, done / total) : undefined);
          clear();
          bar = progressLine(parts, share, terminalWidth(Deno.stderr));
          err(bar);
        },
        finish(line) {
          clear();
          bar = "";
          if (line && !quiet) err(line + "\n");
        },
      };
    },
  };
}

/** A count with its thousands apart: "1,234,567". */
function grouped(count: number): string {
  return Number.isInteger(count) ? count.toLocaleString("en") : String(count);
}

/** Columns of a bar at most and at least, its brackets and the space after it left out. */
const BAR = { most: 24, least: 8 };

/**
 * A line of progress that fits into one line of the terminal, for a longer one could not be drawn
 * over: the bar gives
 * way first, then the parts before the last one (the time left) are cut.
 * @param share what is done, 0 to 1; undefined where the whole is not known
 */
export function progressLine(parts: string[], share: number | undefined, width: number): string {
  // The last column stays free: some terminals break the line once it is filled.
  const room = width - 1;
  const text = parts.join(", ");
  const columns = Math.min(BAR.most, room - text.length - 3);
  if (share !== undefined && columns >= BAR.least) {
    const filled = Math.round(columns * share);
    const bar = "=".repeat(filled);
    const rest = " ".repeat(columns - filled);
    return `[${styled(bar, "green", Deno.stderr)}${rest}] ${text}`;
  }
  if (text.length <= room) return text;
  const last = parts.length > 1 ? ", " + (parts.at(-1) ?? "") : "";
  const first = parts.slice(0, parts.length > 1 ? -1 : 1).join(", ");
  return `${first.slice(0, Math.max(0, room - last.length - 3))}...${last}`.slice(0, room);
}

/** The least columns that a wrapped cell is given. */
const LEAST_CELL = 12;

/** Words that are longer than a cell, such as paths, in pieces that fit. */
const broken = (text: string, room: number): string =>
  text.split(" ").map((word) => word.match(new RegExp(`.{1,${room}}`, "gu"))?.join(" ") ?? "")
    .join(" ");

/**
 * Rows as an aligned text table; numbers are given as finished strings and align right. Columns of
 * text are wrapped at spaces, the widest first, so that lines fit.
 * @param width columns at most, by default those of the terminal, or 80
 */
export function formatTable(
  header: string[],
  rows: string[][],
  width: number = terminalWidth(Deno.stdout),
): string {
  const numeric = (s: string) => /^[-+]?[\d.,]+( ?[%a-zA-Z/]+)?$/.test(s);
  const cell = (row: string[], i: number) => row[i] ?? "";
  const right = header.map((_, i) => rows.length > 0 && rows.every((r) => numeric(cell(r, i))));
  const widths = header.map((h, i) => Math.max(h.length, ...rows.map((r) => cell(r, i).length)));
  const total = () => widths.reduce((sum, w) => sum + w, 2 * (widths.length - 1));
  while (total() > width) {
    let widest = -1;
    widths.forEach((w, i) => {
      if (!right[i] && w > LEAST_CELL && w > (widths[widest] ?? 0)) widest = i;
    });
    if (widest < 0) break;
    const others = widths.filter((_, i) => i !== widest && !right[i]);
    // Down to the next widest column of text, or as far as the table needs.
    const next = Math.max(LEAST_CELL, ...others.filter((w) => w < (widths[widest] ?? 0)));
    const wanted = (widths[widest] ?? 0) - (total() - width);
    widths[widest] = Math.max(LEAST_CELL, wanted, next < (widths[widest] ?? 0) ? next : 0);
  }
  const line = (cells: string[]) =>
    cells.map((c, i) => right[i] ? c.padStart(widths[i] ?? 0) : c.padEnd(widths[i] ?? 0))
      .join("  ").trimEnd();
  const lines = (row: string[]) => {
    const wrapped = header.map((_, i) => {
      const text = cell(row, i);
      const room = widths[i] ?? 0;
      return text.length > room ? wrap(broken(text, room), room) : [text];
    });
    const height = Math.max(...wrapped.map((w) => w.length));
    return Array.from({ length: height }, (_, k) => line(wrapped.map((w) => w[k] ?? "")));
  };
  const rule = widths.map((w) => "-".repeat(w)).join("  ");
  return [...lines(header), rule, ...rows.flatMap(lines)].join("\n");
}
