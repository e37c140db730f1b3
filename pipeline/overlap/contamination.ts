/**
 * Decontamination: which of a corpus's documents give evaluation items away. `contamination.json`
 * in the corpus folder says so, and every building of shards leaves the documents it names out.
 * @module
 */
import { hashFile, readJson, sha256, writeAtomic } from "../../core/files.ts";
import { exists } from "../../core/files.ts";
import { basename, join } from "../../core/std.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import type { LiveSet } from "../tokens/shard_documents.ts";
import { type EvaluationItem, readEvaluationItems } from "./evaluation_items.ts";
import { NgramIndex } from "./ngram_index.ts";

/** Words in a run, as GPT-3's authors chose (Brown et al. 2020, appendix C). */
export const NGRAM_WORDS = 13;
/** A run of words in more documents than this is a turn of phrase, not a leak. */
const COMMON_IN = 10;

/** A document of the corpus. */
export interface CheckedDocument {
  pmid: number;
  /** Title, blank line, abstract. */
  text: string;
}

/** A stretch of a document that an evaluation item has too. */
export interface ReportedOverlap {
  pmid: number;
  /** The evaluation file and the item in it. */
  file: string;
  item: string;
  /** The stretch in the document's text (title, blank line, abstract), in UTF-16 units. */
  start: number;
  end: number;
  text: string;
}

/** `contamination.json`. */
export interface Contamination {
  format: 1;
  ngram_words: number;
  against: { file: string; sha256: string; items: number; pmids: number; ngrams: number }[];
  documents_checked: number;
  /** PMIDs that evaluation items were made from, whether in the corpus yet or not. */
  held_out_by_pmid: number[];
  /** Other PMIDs whose documents share runs of words with items. */
  held_out_by_overlap: number[];
  /** How many of the documents checked are held out. */
  documents_held_out: number;
  overlaps: ReportedOverlap[];
}

/** Where a corpus keeps its report. */
export const contaminationPath = (corpus: string): string => join(corpus, "contamination.json");

/** How to look. */
export interface DecontaminateOptions {
  /** {@linkcode NGRAM_WORDS} by default. */
  ngramWords?: number;
  /** Report overlaps without holding their documents out. */
  keepOverlaps?: boolean;
  signal?: AbortSignal;
}

/**
 * Compares documents with evaluation files.
 * @throws {UserError} where a file cannot be read or has no items
 */
export async function findContamination(
  documents: AsyncIterable<CheckedDocument> | Iterable<CheckedDocument>,
  files: string[],
  options: DecontaminateOptions = {},
): Promise<Contamination> {
  const ngramWords = options.ngramWords ?? NGRAM_WORDS, index = new NgramIndex(ngramWords);
  const pmids = new Set<number>(), names: { file: string; item: EvaluationItem }[] = [];
  const against = files.map((path) => {
    const items = readEvaluationItems(path), before = index.size, file = basename(path);
    for (const item of items) {
      index.add(item);
      names.push({ file, item });
      for (const pmid of item.pmids) pmids.add(pmid);
    }
    return {
      ...{ file, sha256: hashFile(path), items: items.length },
      pmids: new Set(items.flatMap((i) => i.pmids)).size,
      ngrams: index.size - before,
    };
  });
  let checked = 0;
  const present = new Set<number>(), documentsWith = new Map<number, number>();
  const found: { overlap: ReportedOverlap; ngrams: number[] }[] = [];
  for await (const { pmid, text } of documents) {
    if (++checked % 1000 === 0 && options.signal?.aborted) {
      throw new Interrupted("Stopped; nothing was changed");
    }
    if (pmids.has(pmid)) present.add(pmid);
    for (const { item, start, end, ngrams } of index.overlaps(text)) {
      const { file, item: { id } } = names[item]!;
      const overlap = { pmid, file, item: id, start, end, text: text.slice(start, end) };
      found.push({ overlap, ngrams });
      for (const n of new Set(ngrams)) documentsWith.set(n, (documentsWith.get(n) ?? 0) + 1);
    }
  }
  const overlaps = found
    .filter(({ ngrams }) => ngrams.some((n) => documentsWith.get(n)! <= COMMON_IN))
    .map(({ overlap }) => overlap);
  const overlapping = new Set(overlaps.map((o) => o.pmid).filter((p) => !pmids.has(p)));
  const ascending = (set: Iterable<number>) => [...set].sort((a, b) => a - b);
  return {
    format: 1,
    ngram_words: ngramWords,
    against,
    documents_checked: checked,
    held_out_by_pmid: ascending(pmids),
    held_out_by_overlap: options.keepOverlaps ? [] : ascending(overlapping),
    documents_held_out: present.size + (options.keepOverlaps ? 0 : overlapping.size),
    overlaps: overlaps.sort((a, b) => a.pmid - b.pmid || a.start - b.start),
  };
}

/** Writes the report into the corpus folder. */
export function writeContamination(corpus: string, report: Contamination): void {
  writeAtomic(contaminationPath(corpus), JSON.stringify(report, null, 1) + "\n");
}

/** What no shard may hold. */
export interface HeldOut {
  pmids: ReadonlySet<number>;
  /** Changes when the PMIDs do; "" where nothing is held out. */
  digest: string;
}

/**
 * What a corpus's `contamination.json` holds out; nothing where there is none.
 * @throws {UserError} where the file is damaged.
 */
export function readHeldOut(corpus: string): HeldOut {
  const path = contaminationPath(corpus);
  if (!exists(path)) return { pmids: new Set(), digest: "" };
  const { held_out_by_pmid: a, held_out_by_overlap: b } = readJson<Contamination>(path, "report");
  if (!Array.isArray(a) || !Array.isArray(b)) {
    throw new UserError(
      `Cannot read ${path}: it names no held-out PMIDs; run "pipeline decontaminate" again`,
    );
  }
  const pmids = new Set([...a, ...b]);
  const sorted = [...pmids].sort((x, y) => x - y);
  return { pmids, digest: sorted.length ? sha256(sorted.join()) : "" };
}

/** A live set without the PMIDs held out. */
export function withoutHeldOut(live: LiveSet, { pmids }: HeldOut): LiveSet {
  if (pmids.size === 0) return live;
  return {
    isLive: (source, pmid, version, ordinal) =>
      !pmids.has(pmid) && live.isLive(source, pmid, version, ordinal),
  };
}
