/**
 * Which rows of a held-out split are scored, where not all are. Packing puts long documents first, so
 * that a split's first rows are not like the rest of it: rows are drawn by a seed over the whole split,
 * and of a mix from each corpus by its share.
 * @module
 */
import { fail } from "../../core/errors.ts";
import { Random } from "../mamba/mod.ts";
import type { RowSource } from "./corpus.ts";

/** How the rows that are scored are named in reports and cards. */
export function scoredRows(split: string, rows: number, seed: number): string {
  return `at most ${rows.toLocaleString("en")} rows of the ${split} split, drawn by seed ${seed}`;
}

/** Rows drawn from one corpus. */
export interface DrawnPart {
  /** The corpus's name; "" where there is only one. */
  name: string;
  source: RowSource;
  /** Numbers of its rows, ascending. */
  rows: number[];
}

/**
 * Draws rows of a split, each at most once: all of them where there are no more than `count`, but that
 * of a mix the shares are kept.
 */
export function drawHeldOut(source: RowSource, count: number, seed: number): DrawnPart[] {
  const parts = source.parts?.filter((part) => part.source.rows > 0) ?? [];
  if (parts.length < 2) return [{ name: "", source, rows: drawRows(source.rows, count, seed, "") }];
  const shareOf = ({ share }: { share?: number }) => share ?? 1 / parts.length;
  const whole = parts.reduce((sum, part) => sum + shareOf(part), 0);
  // The most rows with which no corpus falls short of its share.
  const most = Math.min(...parts.map((part) => part.source.rows / (shareOf(part) / whole)));
  const total = Math.min(count, most);
  return parts.map((part) => {
    const { name, source } = part;
    const wanted = Math.max(1, Math.round(total * shareOf(part) / whole));
    return { name, source, rows: drawRows(source.rows, wanted, seed, name) };
  });
}

/** Some of the numbers 0 to `all` - 1, ascending: the first places of a shuffled order. */
function drawRows(all: number, count: number, seed: number, name: string): number[] {
  const order = Array.from({ length: all }, (_, i) => i);
  if (count >= all) return order;
  const random = new Random(seed, `held-out rows${name && ` of ${name}`}`);
  for (let i = 0; i < count; i++) {
    const j = i + random.integer(all - i);
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Drawn rows as a split of their own. */
export function drawnSource({ source, rows }: DrawnPart): RowSource {
  return {
    rows: rows.length,
    row: (index) => source.row(rows[index] ?? fail(`only ${rows.length} rows were drawn`)),
  };
}
