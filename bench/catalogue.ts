/**
 * The catalogue's share of `bench pipeline`: synthetic citations put in, some of them revised, and
 * the live set read as packing reads it.
 * @module
 */
import { Catalogue } from "../pipeline/catalogue/catalogue.ts";
import { LiveBits } from "../pipeline/catalogue/live_set.ts";

/** Records of a file, as PubMed's have. */
const RECORDS = 30_000;
/** Files of revisions of citations all over the catalogue. */
const REVISED = 5;

/** What was measured. */
interface CatalogueFigures {
  citations: number;
  /** Thousands per second: PMIDs that ascend, one file per transaction. */
  inserts: number;
  /** Thousands per second: records of PMIDs all over the catalogue. */
  revisions: number;
  /** Thousands per second over all that was put in. */
  upserts: number;
  /** For the live set, from the file to one bit a record. */
  liveSetSeconds: number;
  /** For the counts that "pipeline status" shows. */
  countSeconds: number;
  bytes: number;
}

/** Fills a catalogue at `path` with `citations` (rounded to whole files) and measures. */
export function benchCatalogue(path: string, citations: number): CatalogueFigures {
  const catalogue = new Catalogue(path);
  const added = Math.max(1, Math.round(citations / RECORDS));
  const column = (value: (i: number) => number) =>
    Int32Array.from({ length: RECORDS }, (_, i) => value(i));
  const none = new Int32Array(0);
  const ones = column(() => 1);
  const ordinals = column((i) => i);
  const addFile = (number: number, pmids: Int32Array) =>
    catalogue.addFile({
      number,
      name: String(number),
      folder: "baseline",
      md5: "",
      state: "documents",
      records: RECORDS,
      documents: RECORDS,
      deletions: 0,
      xml_bytes: 0,
      counts: "{}",
      tokens: null,
      documents_sha256: "",
      tokens_sha256: null,
      stamp: "",
      rejected_sha256: "",
      raw: 0,
    }, {
      pmids,
      versions: ones,
      ordinals,
      deletedPmids: none,
      deletedVersions: none,
      deletedOrdinals: none,
    });
  const total = added * RECORDS;
  const revised = REVISED * RECORDS;
  const inserting = timed(() => {
    for (let file = 0; file < added; file++) {
      addFile(file + 1, column((i) => file * RECORDS + i + 1));
    }
  });
  const revising = timed(() => {
    for (let file = 0; file < REVISED; file++) {
      addFile(added + file + 1, column((i) => (i * 1_037_389 + file) % total + 1));
    }
  });
  let live: LiveBits | undefined;
  const liveSetSeconds = timed(() => live = new LiveBits(catalogue));
  let counted = 0;
  const countSeconds = timed(() => counted = catalogue.counts().live);
  if (live?.count !== total || counted !== total) {
    throw new Error("the live set is not what was put in");
  }
  catalogue.close();
  return {
    citations: total,
    inserts: total / inserting / 1000,
    revisions: revised / revising / 1000,
    upserts: (total + revised) / (inserting + revising) / 1000,
    liveSetSeconds,
    countSeconds,
    bytes: Deno.statSync(path).size,
  };
}

function timed(action: () => void): number {
  const begin = performance.now();
  action();
  return (performance.now() - begin) / 1000;
}
