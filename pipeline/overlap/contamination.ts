/**
 * Decontamination: which of a corpus's documents give evaluation items away. `contamination.json`
 * in the corpus folder says so, and every building of shards leaves the documents it names out.
 * @module
 */
import { exists, hashFile, readJson, sha256, writeAtomic } from "../../core/files.ts";
import { nth } from "../../core/nth.ts";
import { basename } from "../../core/std.ts";
import { fail, Interrupted, UserError } from "../../core/errors.ts";
import { contaminationPath } from "../corpus_paths.ts";
import {
  type CorpusRecord,
  recordFile,
  stateOfRecorded,
  writeRecorded,
} from "../recorded_files.ts";
import { checkDropped, readDropped } from "./dropped_duplicates.ts";
import { type LiveSet } from "../shards/mod.ts";
import { type EvaluationItem, readEvaluationItems } from "./evaluation_items.ts";
import { NgramIndex } from "./ngram_index.ts";

/** Words in a run, as GPT-3's authors chose (Brown et al. 2020, appendix C). */
export const NGRAM_WORDS = 13;
/** A run of words in more documents than this is a turn of phrase, not a leak. */
const COMMON_IN = 10;

/** A document of the corpus. */
export interface CheckedDocument {
  /** The PMID of a citation, the number of another text. */
  pmid: number;
  /** Title, blank line, abstract; or all of another text. */
  text: string;
  /** Of another text: where it is from, and the PMIDs that it says it is of. */
  name?: { source: string; id: string };
  pmids?: readonly number[];
  /** False for a version that is not in force: it is held out too, for it may come back. */
  live?: boolean;
}

/** A document of a corpus of texts. */
export interface TextName {
  number: number;
  /** The file, and the document's id in it. */
  source: string;
  id: string;
}

/** A stretch of a document that an evaluation item has too: by PMID, or by a text's name. */
interface ReportedOverlap extends Partial<TextName> {
  pmid?: number;
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
  /** Other PMIDs whose documents share runs of words with items; numbers of texts. */
  held_out_by_overlap: number[];
  /** Of a corpus of texts: the documents held out, and by which of the two. */
  held_out_texts?: (TextName & { by: "pmid" | "overlap" })[];
  /** How many of the documents checked are held out. */
  documents_held_out: number;
  overlaps: ReportedOverlap[];
  /** What comparing documents that come later takes. */
  recheck: Recheck;
}

/** The evaluation items themselves, and how far the corpus was compared with them. */
interface Recheck {
  keep_overlaps: boolean;
  /** "name md5" of the source files whose documents were compared. */
  checked: string[];
  /** Items, each with its file's place in `against`. */
  items: (EvaluationItem & { file: number })[];
  /** How many documents have a run of words: [the run's number, documents]. */
  seen: [number, number][];
}

export { contaminationPath } from "../corpus_paths.ts";

/** How to look. */
export interface DecontaminateOptions {
  /** {@linkcode NGRAM_WORDS} by default. */
  ngramWords?: number;
  /** Report overlaps without holding their documents out. */
  keepOverlaps?: boolean;
  /** "name md5" of the source files that the documents are from. */
  checked?: string[];
  /** The documents are of a corpus of texts. */
  texts?: boolean;
  /** The report of earlier evaluation files, whose items count too; what it holds out stays out. */
  earlier?: Contamination;
  signal?: AbortSignal;
}

/**
 * Compares documents with evaluation files.
 * @throws {UserError} where a file cannot be read or has no items, or an earlier report was made
 *   with other options
 */
export async function findContamination(
  documents: AsyncIterable<CheckedDocument> | Iterable<CheckedDocument>,
  files: string[],
  options: DecontaminateOptions = {},
): Promise<Contamination> {
  const ngramWords = options.ngramWords ?? NGRAM_WORDS;
  const { earlier } = options;
  const keepOverlaps = options.keepOverlaps ?? false;
  if (earlier) checkAgrees(earlier, ngramWords, keepOverlaps);
  const index = new NgramIndex(ngramWords);
  const items: Recheck["items"] = [...earlier?.recheck.items ?? []];
  const against: Contamination["against"] = [...earlier?.against ?? []];
  for (const item of items) index.add(item);
  for (const path of files) {
    const hash = hashFile(path);
    const own = readEvaluationItems(path);
    const before = index.size;
    if (against.some((a) => a.sha256 === hash)) continue; // the same questions as before
    const file = against.length;
    for (const { id, pmids, texts } of own) items.push({ file, id, pmids, texts });
    own.forEach((item) => index.add(item));
    against.push({
      file: basename(path),
      sha256: hash,
      items: own.length,
      pmids: new Set(own.flatMap((i) => i.pmids)).size,
      ngrams: index.size - before,
    });
  }
  const heldByOverlap = earlier?.held_out_by_overlap ?? [];
  const start: Contamination = {
    format: 1,
    ngram_words: ngramWords,
    against,
    documents_checked: 0,
    held_out_by_pmid: ascending(new Set(items.flatMap((i) => i.pmids))),
    held_out_by_overlap: heldByOverlap,
    ...(options.texts ? { held_out_texts: earlier?.held_out_texts ?? [] } : {}),
    documents_held_out: heldByOverlap.length,
    overlaps: [],
    recheck: { keep_overlaps: keepOverlaps, checked: [], items, seen: [] },
  };
  return await compare(documents, start, index, options);
}

/** @throws {UserError} where a report cannot be added to because it was made with other options. */
function checkAgrees(earlier: Contamination, ngramWords: number, keepOverlaps: boolean): void {
  const remedy = "use the same option, or --anew to forget the earlier evaluation files";
  if (earlier.ngram_words !== ngramWords) {
    throw new UserError(
      `Cannot add to the report of what is held out: it was made with runs of ${earlier.ngram_words} ` +
        `words, this is ${ngramWords}; ${remedy}`,
    );
  }
  if (earlier.recheck.keep_overlaps !== keepOverlaps) {
    throw new UserError(
      `Cannot add to the report of what is held out: it was made ` +
        `${earlier.recheck.keep_overlaps ? "with" : "without"} --keep-overlaps; ${remedy}`,
    );
  }
}

/**
 * Compares documents that came after a report with the evaluation items that it holds, and adds what
 * is found. What was held out stays held out.
 */
export function compareLater(
  documents: AsyncIterable<CheckedDocument>,
  report: Contamination,
  options: Pick<DecontaminateOptions, "checked" | "signal">,
): Promise<Contamination> {
  const index = new NgramIndex(report.ngram_words);
  for (const item of report.recheck.items) index.add(item);
  return compare(documents, report, index, options);
}

const ascending = (set: Iterable<number>) => [...set].sort((a, b) => a - b);

async function compare(
  documents: AsyncIterable<CheckedDocument> | Iterable<CheckedDocument>,
  report: Contamination,
  index: NgramIndex,
  { checked = [], signal }: Pick<DecontaminateOptions, "checked" | "signal">,
): Promise<Contamination> {
  const { recheck, against } = report;
  const pmids = new Set(report.held_out_by_pmid);
  const documentsWith = new Map(recheck.seen);
  const present = new Set<number>();
  const found: { overlap: ReportedOverlap; ngrams: number[] }[] = [];
  const notInForce: { pmid: number; ngrams: number[] }[] = [];
  const names = new Map<number, TextName>(report.held_out_texts?.map((t) => [t.number, t]));
  let count = 0;
  let read = 0;
  for await (const { pmid, text, name, pmids: own = [pmid], live = true } of documents) {
    if (++read % 1000 === 0 && signal?.aborted) {
      throw new Interrupted("Stopped; nothing was changed");
    }
    const held = own.some((p) => pmids.has(p));
    const shared = index.overlaps(text);
    if (!live) {
      for (const { ngrams } of shared) notInForce.push({ pmid, ngrams });
      continue;
    }
    count++;
    if (held) present.add(pmid);
    if (name && (held || shared.length)) names.set(pmid, { number: pmid, ...name });
    const runs = new Set<number>();
    for (const { item, start, end, ngrams } of shared) {
      const { file, id } = nth(recheck.items, item);
      const place = { file: nth(against, file).file, item: id };
      const document = names.get(pmid);
      const known = document
        ? { number: pmid, source: document.source, id: document.id }
        : { pmid };
      const stretch = { start, end, text: text.slice(start, end) };
      found.push({ overlap: { ...known, ...place, ...stretch }, ngrams });
      for (const n of ngrams) runs.add(n);
    }
    for (const n of runs) documentsWith.set(n, (documentsWith.get(n) ?? 0) + 1);
  }
  const later = new Set(found.map((f) => keyOf(f.overlap)));
  const telling = ({ ngrams }: { ngrams: number[] }) =>
    ngrams.some((n) => (documentsWith.get(n) ?? 0) <= COMMON_IN);
  const overlaps = found
    .filter(telling)
    .map(({ overlap }) => overlap)
    // A document that came again is told of as it is now.
    .concat(report.overlaps.filter((o) => !later.has(keyOf(o))));
  const texts = report.held_out_texts;
  const byPmid = texts
    ? new Set([...texts.filter((t) => t.by === "pmid").map((t) => t.number), ...present])
    : pmids;
  const overlapping = recheck.keep_overlaps
    ? []
    : [...overlaps.map(keyOf), ...notInForce.filter(telling).map((d) => d.pmid)];
  const before = new Set(report.held_out_by_overlap);
  const held = new Set([...before, ...overlapping.filter((p) => !byPmid.has(p))]);
  const heldTexts = (numbers: Iterable<number>, by: "pmid" | "overlap") =>
    [...numbers].map((number) => ({
      ...names.get(number) ?? fail(`text ${number} has no name`),
      by,
    }));
  return {
    ...report,
    documents_checked: report.documents_checked + count,
    held_out_by_overlap: ascending(held),
    ...(texts
      ? {
        held_out_texts: [...heldTexts(byPmid, "pmid"), ...heldTexts(held, "overlap")]
          .sort((a, b) => a.number - b.number),
      }
      : {}),
    documents_held_out: report.documents_held_out + present.size + held.size - before.size,
    overlaps: overlaps.sort((a, b) => keyOf(a) - keyOf(b) || a.start - b.start),
    recheck: {
      ...recheck,
      checked: [...new Set([...recheck.checked, ...checked])].sort(),
      seen: [...documentsWith].sort((a, b) => a[0] - b[0]),
    },
  };
}

const keyOf = ({ pmid, number }: ReportedOverlap): number =>
  pmid ?? number ?? fail("an overlap has neither a PMID nor a number");

/** Writes the report into the corpus folder, and its hash into the corpus's record. */
export function writeContamination(
  corpus: string,
  report: Contamination,
  record?: CorpusRecord,
): void {
  const { recheck, ...told } = report;
  // The items are for the program: on one line, behind what is for people.
  const shown = JSON.stringify(told, null, 1).slice(0, -2);
  const text = `${shown},\n "recheck": ${JSON.stringify(recheck)}\n}\n`;
  if (record) writeRecorded(record, "contamination", contaminationPath(corpus), text);
  else writeAtomic(contaminationPath(corpus), text);
}

/**
 * Checks the reports of a corpus against the corpus's record; one that an earlier version of the
 * program wrote is recorded.
 * @throws {UserError} where it is missing or is not what was written
 */
export function checkContamination(corpus: string, record: CorpusRecord): void {
  const path = contaminationPath(corpus);
  const state = stateOfRecorded(record, "contamination", path);
  if (state === "unknown" || state === "whole") recordFile(record, "contamination", path);
  if (state === "none") record.unset("contamination_next_sha256");
  refuseDoubtful(corpus, state);
  checkDropped(corpus, record);
}

/** @throws {UserError} where what is held out is not known for sure. */
function refuseDoubtful(corpus: string, state: ReturnType<typeof stateOfRecorded>): void {
  if (state !== "missing" && state !== "changed") return;
  throw new UserError(
    `Cannot tell what the corpus ${corpus} holds out for evaluation: ${
      contaminationPath(corpus)
    } is ` +
      `${
        state === "missing" ? "missing" : "not what was written"
      }; put it back from a backup, or run ` +
      '"pipeline decontaminate --anew" with all evaluation files',
  );
}

/** The report of a corpus; undefined where there is none, or an old one without its items. */
export function readContamination(corpus: string): Contamination | undefined {
  const path = contaminationPath(corpus);
  if (!exists(path)) return undefined;
  const report = readJson<Partial<Contamination>>(path, "report");
  return report.recheck && report.held_out_by_pmid && report.against && report.overlaps
    ? report as Contamination
    : undefined;
}

/** What no shard may hold. */
export interface HeldOut {
  /** PMIDs; of a corpus of texts its documents' numbers. */
  pmids: ReadonlySet<number>;
  /** Changes when the PMIDs do; "" where nothing is held out. */
  digest: string;
}

/**
 * What a corpus's `contamination.json` holds out and its `duplicates.json` leaves out; nothing where
 * there never was one.
 * @param record what the corpus knows of the file
 * @throws {UserError} where the file is damaged, missing or changed.
 */
export function readHeldOut(corpus: string, record?: Pick<CorpusRecord, "get">): HeldOut {
  const path = contaminationPath(corpus);
  if (record) refuseDoubtful(corpus, stateOfRecorded(record, "contamination", path));
  const copies = readDropped(corpus, record)?.dropped.map(({ pmid }) => pmid) ?? [];
  if (!exists(path)) return heldOutOf(copies);
  const { held_out_by_pmid: a, held_out_by_overlap: b, held_out_texts } = readJson<Contamination>(
    path,
    "report",
  );
  if (!Array.isArray(a) || !Array.isArray(b)) {
    throw new UserError(
      `Cannot read ${path}: it names no held-out PMIDs; run "pipeline decontaminate" again`,
    );
  }
  return heldOutOf(held_out_texts ? held_out_texts.map((t) => t.number) : [...a, ...b], copies);
}

function heldOutOf(...lists: number[][]): HeldOut {
  const pmids = new Set(lists.flat());
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
