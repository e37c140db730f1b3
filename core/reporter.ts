/**
 * The one place that prints: results to stdout, progress and logs to stderr.
 * @module
 */

/** A running count, shown as a bar on a terminal and as a plain line every few seconds otherwise. */
export interface Progress {
  /** Sets how much is done, with a short note such as "12 MB/s". */
  update(done: number, note?: string): void;
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
      const draw = (done: number, note: string) => {
        const seconds = (performance.now() - start) / 1000;
        const share = total ? Math.min(1, (done - from) / (total - from)) : 0;
        const left = share > 0 ? formatDuration(seconds / share - seconds) + " left" : "";
        const count = total ? `${done}/${total}` : `${done}`;
        return [`${label} ${count}${unit ? " " + unit : ""}`, note, left].filter(Boolean).join(
          ", ",
        );
      };
      return {
        update(done, note = "") {
          const now = performance.now();
          if (quiet || now - last < (terminal ? 100 : 5000)) return;
          last = now;
          if (!terminal) return err(draw(done, note) + "\n");
          const width = 24;
          const filled = total ? Math.round(width * Math.min(1, done / total)) : 0;
          const drawn = total ? `[${"=".repeat(filled)}${" ".repeat(width - filled)}] ` : "";
          clear();
          err(bar = drawn + draw(done, note));
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

/** Rows as an aligned text table; numbers are given as finished strings and align right. */
export function formatTable(header: string[], rows: string[][]): string {
  const numeric = (s: string) => /^[-+]?[\d.,]+( ?[%a-zA-Z/]+)?$/.test(s);
  const widths = header.map((h, i) => Math.max(h.length, ...rows.map((r) => (r[i] ?? "").length)));
  const right = header.map((_, i) => rows.length > 0 && rows.every((r) => numeric(r[i] ?? "")));
  const line = (cells: string[]) =>
    cells.map((c, i) => right[i] ? c.padStart(widths[i]!) : c.padEnd(widths[i]!)).join("  ")
      .trimEnd();
  return [line(header), widths.map((w) => "-".repeat(w)).join("  "), ...rows.map(line)].join("\n");
}
