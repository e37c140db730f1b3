/** The figures of a corpus's report: counts over its live documents. @module */
import { exists } from "../../core/files.ts";
import { Interrupted } from "../../core/errors.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { LiveBits } from "../catalogue/live_set.ts";
import { abstractText, documentText, isRetracted, type Section } from "../citation/types.ts";
import { ParquetReader } from "../documents/parquet_file.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { readStatus, type Status } from "../status.ts";
import { TokenFile } from "../shards/mod.ts";

/** A name and how often it was seen. */
export type Count = [name: string, count: number];

/** A histogram with bins of one width; the last one takes whatever is longer. */
export interface Histogram {
  binWidth: number;
  counts: number[];
  total: number;
  mean: number;
}

/** All figures of the report. */
export interface ReportFigures {
  status: Status;
  documents: number;
  withAbstract: number;
  retracted: number;
  /** By year, ascending; "" where there is none. */
  years: Count[];
  languages: Count[];
  types: Count[];
  mesh: Count[];
  journals: Count[];
  /** Reason -> count, over all records. */
  dropped: Count[];
  /** Characters of the training text. */
  lengths: Histogram;
  /** Tokens of the training text; undefined where the corpus has none. */
  tokens?: Histogram;
}

const COLUMNS = [
  "ordinal",
  "pmid",
  "version",
  "title",
  "sections",
  "languages",
  "journal",
  "published",
  "publication_types",
  "mesh",
  "corrections",
];
const BINS = 40;

interface Row {
  ordinal: number;
  pmid: number;
  version: number;
  title: string;
  sections: Section[];
  languages: string[];
  journal: string;
  published: { iso: string };
  publication_types: { name: string }[];
  mesh: { name: string }[];
  corrections: { type: string }[];
}

/** Names counted. */
class Counter {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** The most frequent first, equal ones by name. */
  top(limit: number): Count[] {
    return [...this.#counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, limit);
  }

  byName(): Count[] {
    return [...this.#counts].sort((a, b) => a[0] < b[0] ? -1 : 1);
  }
}

class HistogramBuilder {
  readonly #counts = new Array<number>(BINS).fill(0);
  #total = 0;
  #sum = 0;
  constructor(readonly binWidth: number) {}

  add(value: number): void {
    const bin = Math.min(BINS - 1, Math.floor(value / this.binWidth));
    this.#counts[bin] = (this.#counts[bin] ?? 0) + 1;
    this.#total++;
    this.#sum += value;
  }

  histogram(): Histogram {
    const [total, mean] = [this.#total, this.#total ? this.#sum / this.#total : 0];
    return { binWidth: this.binWidth, counts: this.#counts, total, mean };
  }
}

/**
 * Counts over the live documents of a corpus, file by file, so that memory stays flat.
 * @throws {UserError} where a file of documents is damaged
 * @throws {Interrupted} where the signal fires
 */
export async function reportFigures(
  corpus: string,
  catalogue: Catalogue,
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<ReportFigures> {
  const status = readStatus(corpus, catalogue);
  const live = new LiveBits(catalogue);
  const files = catalogue.files();
  const [years, languages, types] = [new Counter(), new Counter(), new Counter()];
  const [mesh, journals] = [new Counter(), new Counter()];
  const lengths = new HistogramBuilder(100);
  const tokens = new HistogramBuilder(25);
  let documents = 0;
  let withAbstract = 0;
  let retracted = 0;
  let tokenFiles = 0;
  for (const [done, file] of files.entries()) {
    for await (const row of liveRows(corpus, file.name, live)) {
      documents++;
      const abstract = abstractText(row.sections);
      if (abstract !== "") withAbstract++;
      lengths.add(documentText(row.title, abstract).length);
      years.add(row.published.iso.slice(0, 4));
      for (const language of new Set(row.languages)) languages.add(language);
      for (const name of new Set(row.publication_types.map((t) => t.name))) types.add(name);
      for (const name of new Set(row.mesh.map((m) => m.name))) mesh.add(name);
      journals.add(row.journal);
      if (isRetracted(row.publication_types, row.corrections)) retracted++;
    }
    tokenFiles += Number(countTokens(corpus, file.name, catalogue, live, tokens));
    if (options.signal?.aborted) throw new Interrupted("Stopped");
    options.onProgress?.(done + 1, files.length);
  }
  return {
    status,
    documents,
    withAbstract,
    retracted,
    years: years.byName(),
    languages: languages.top(20),
    types: types.top(25),
    mesh: mesh.top(40),
    journals: journals.top(40),
    dropped: Object.entries(status.dropped).sort((a, b) => b[1] - a[1]),
    lengths: lengths.histogram(),
    ...(tokenFiles > 0 ? { tokens: tokens.histogram() } : {}),
  };
}

async function* liveRows(corpus: string, source: string, live: LiveBits): AsyncGenerator<Row> {
  using reader = new ParquetReader(corpusPaths.documents(corpus, source));
  for await (const { rows } of reader.each<Row>(COLUMNS)) {
    for (const row of rows) {
      if (live.isLive(source, row.pmid, row.version, row.ordinal)) yield row;
    }
  }
}

function countTokens(
  corpus: string,
  source: string,
  catalogue: Catalogue,
  live: LiveBits,
  histogram: HistogramBuilder,
): boolean {
  const path = corpusPaths.tokens(corpus, source);
  const tokenizer = catalogue.get("tokenizer_sha256");
  if (tokenizer === undefined || !exists(path)) return false;
  const file = new TokenFile(path, tokenizer, Number(catalogue.get("seed") ?? 0));
  try {
    const { pmids, versions, ordinals, starts } = file.slice();
    pmids.forEach((pmid, i) => {
      if (!live.isLive(source, pmid, versions[i] ?? 0, ordinals[i] ?? 0)) return;
      histogram.add((starts[i + 1] ?? 0) - (starts[i] ?? 0) - 1); // without the end-of-text id before them
    });
  } finally {
    file.close();
  }
  return true;
}
