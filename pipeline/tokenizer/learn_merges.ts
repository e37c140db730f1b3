/**
 * Learns byte-pair merges: the most frequent pair of neighbours becomes a token, again and again
 * (Sennrich et al. 2016), with counts kept up to date instead of counted anew.
 * @module
 */
import { float64At, uint16At, uint32At } from "../../core/nth.ts";
import { PairIndex } from "./pair_index.ts";
import type { PretokenTable } from "./pretoken_counts.ts";

/** What was learned, in the order of learning. */
interface LearnedMerge {
  left: number;
  right: number;
  /** The token they become: a new id, or an old one that has the same bytes. */
  merged: number;
}

/** When to stop, and what the tokens are before the first merge. */
interface LearnOptions {
  /** Writes the ids that a pretoken begins as into `ids` from `at` on; returns how many. */
  begin: (bytes: Uint8Array, start: number, end: number, ids: Uint16Array, at: number) => number;
  /** The first id to give to a merged token. */
  firstId: number;
  /** One more than the last id to give. */
  vocabularySize: number;
  /** Pairs that occur less often are not merged. */
  minimumCount: number;
  /** The id of the token with these parts where there is one already. */
  existing: (left: number, right: number) => number | undefined;
  /** Told of each merge. */
  onMerge: (merge: LearnedMerge) => void;
}

/** Learns merges from counted pretokens; ties are broken by the smaller ids. Deterministic. */
export function learnMerges(table: PretokenTable, options: LearnOptions): void {
  const { starts, counts } = table;
  const words = counts.length;
  const ids = new Uint16Array(table.bytes.length); // a pretoken has at most as many as bytes
  const lengths = new Uint32Array(words);
  const pairs = new PairIndex();
  for (let w = 0; w < words; w++) {
    const start = uint32At(starts, w);
    lengths[w] = options.begin(table.bytes, start, uint32At(starts, w + 1), ids, start);
    const end = start + uint32At(lengths, w);
    for (let i = start; i + 1 < end; i++) {
      pairs.add(uint16At(ids, i), uint16At(ids, i + 1), float64At(counts, w), w);
    }
  }
  pairs.enqueueAll();
  const seen = new Set<number>();
  const grown: number[] = [];
  for (let next = options.firstId; next < options.vocabularySize;) {
    const best = pairs.take(options.minimumCount);
    if (!best) return;
    const { left, right } = best;
    const merged = options.existing(left, right) ?? next++;
    options.onMerge({ left, right, merged });
    seen.clear();
    grown.length = 0;
    for (const w of best.words) {
      const start = uint32At(starts, w);
      const end = start + uint32At(lengths, w);
      const count = float64At(counts, w);
      let to = start;
      for (let i = start; i < end; i++, to++) {
        if (ids[i] !== left || i + 1 >= end || ids[i + 1] !== right) {
          ids[to] = uint16At(ids, i);
          continue;
        }
        if (to > start) {
          const before = uint16At(ids, to - 1);
          pairs.subtract(before, left, count);
          pairs.add(before, merged, count, w);
          grown.push((before << 16 | merged) >>> 0);
        }
        if (i + 2 < end) {
          const after = uint16At(ids, i + 2);
          pairs.subtract(right, after, count);
          pairs.add(merged, after, count, w);
          grown.push((merged << 16 | after) >>> 0);
        }
        ids[to] = merged;
        i++;
      }
      lengths[w] = to - start;
    }
    pairs.forget(left, right);
    for (const key of grown) {
      if (seen.has(key)) continue;
      seen.add(key);
      pairs.enqueue(key >>> 16, key & 0xffff);
    }
  }
}
