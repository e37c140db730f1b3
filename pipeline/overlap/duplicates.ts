/** Pairs of nearly equal documents: candidates by MinHash, confirmed by comparing. @module */
import { fail } from "../../core/errors.ts";
import { uint32At } from "../../core/nth.ts";
import { BANDS, jaccard, MinHash } from "./minhash.ts";
import type { CheckedDocument, TextName } from "./contamination.ts";

/** Two documents and the share of their runs of five words that both have. */
export interface DuplicatePair {
  /** PMIDs, or numbers of texts. */
  pmid: number;
  other: number;
  similarity: number;
  /** The first lines of both: titles. */
  titles?: [string, string];
  /** Of texts: what they are. */
  names?: [TextName, TextName];
}

/** What was found. */
export interface DuplicateReport {
  documents: number;
  /** Pairs that agree in a band. */
  candidates: number;
  /** Pairs that are as similar as was asked for, the most similar first. */
  pairs: DuplicatePair[];
}

/** A title is shown so far. */
const TITLE_CHARACTERS = 200;

/** A bucket of more documents than this is a form letter: each is compared with the first only. */
const LARGE_BUCKET = 20;

/**
 * Finds near duplicates in two passes over the documents; 60 bytes are kept of each.
 * @param documents gives the documents, in the same order each time
 * @param similarity least share of runs in common, 0 to 1
 */
export async function findDuplicates(
  documents: () => AsyncIterable<CheckedDocument> | Iterable<CheckedDocument>,
  similarity: number,
): Promise<DuplicateReport> {
  const minhash = new MinHash();
  let bands = new Uint32Array(BANDS << 10);
  let count = 0;
  let seen = 0;
  let numbers = new Uint32Array(1 << 10); // of the documents that have a signature
  for await (const { text } of documents()) {
    const number = seen++;
    if (bands.length < (count + 1) * BANDS) {
      const larger = new Uint32Array(bands.length * 2);
      const more = new Uint32Array(numbers.length * 2);
      larger.set(bands);
      more.set(numbers);
      bands = larger;
      numbers = more;
    }
    if (minhash.bands(text, bands, count * BANDS)) numbers[count++] = number;
  }
  const pairs = candidatePairs(bands, count);
  type Wanted = {
    pmid: number;
    name?: TextName | undefined;
    title: string;
    shingles: Set<number>;
  };
  const wanted = new Map<number, Wanted | null>();
  for (const [a, b] of pairs) {
    wanted.set(uint32At(numbers, a), null).set(uint32At(numbers, b), null);
  }
  let number = 0;
  for await (const { pmid, text, name: own } of wanted.size ? documents() : []) {
    const name = own && { number: pmid, ...own };
    if (wanted.has(number)) {
      const title = text.slice(0, TITLE_CHARACTERS).split("\n")[0] ?? "";
      wanted.set(number, { pmid, name, title, shingles: minhash.shingles(text) });
    }
    number++;
  }
  const found: DuplicatePair[] = [];
  const wantedAt = (i: number) =>
    wanted.get(uint32At(numbers, i)) ?? fail(`document ${i} was not read a second time`);
  for (const [a, b] of pairs) {
    const one = wantedAt(a);
    const two = wantedAt(b);
    const share = jaccard(one.shingles, two.shingles);
    if (share < similarity) continue;
    const names = one.name && two.name
      ? { names: [one.name, two.name] as [TextName, TextName] }
      : {};
    const titles: [string, string] = [one.title, two.title];
    found.push({ pmid: one.pmid, other: two.pmid, similarity: share, titles, ...names });
  }
  found.sort((x, y) => y.similarity - x.similarity || x.pmid - y.pmid || x.other - y.other);
  return { documents: seen, candidates: pairs.length, pairs: found };
}

/** Pairs of signatures that agree in a band, each once. */
function candidatePairs(bands: Uint32Array, count: number): [number, number][] {
  const pairs = new Set<number>();
  const keys = new BigUint64Array(count);
  const keyAt = (i: number) => keys[i] ?? fail(`there is no key ${i} among ${count}`);
  for (let band = 0; band < BANDS; band++) {
    // Sorting hash and number together brings equal hashes together.
    for (let i = 0; i < count; i++) {
      keys[i] = BigInt(uint32At(bands, i * BANDS + band)) << 32n | BigInt(i);
    }
    keys.sort();
    for (let first = 0, last = 0; first < count; first = last) {
      const hash = keyAt(first) >> 32n;
      for (last = first + 1; last < count && keyAt(last) >> 32n === hash; last++);
      const large = last - first > LARGE_BUCKET;
      for (let a = first; a < (large ? Math.min(first + 1, last) : last); a++) {
        for (let b = a + 1; b < last; b++) {
          pairs.add(Number(keyAt(a) & 0xffffffffn) * 2 ** 26 + Number(keyAt(b) & 0xffffffffn));
        }
      }
    }
  }
  return [...pairs].sort((x, y) => x - y).map((p) => [Math.floor(p / 2 ** 26), p % 2 ** 26]);
}
