/**
 * What there is to do: the files of the newest series that the corpus lacks or has otherwise.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import type { FileRow } from "../catalogue/catalogue.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { newestSeries, type Source, type SourceFile } from "../source/source.ts";

/** A new baseline with less than this share of the old one's files is taken for half uploaded. */
const WHOLE_BASELINE = 0.95;

/** The source has a later series than the corpus; caught by the run, which then builds anew. */
export class NewSeries extends Error {
  override name = "NewSeries";
  constructor(readonly known: number, readonly offered: number) {
    super(`The source has the series of 20${offered}, the corpus that of 20${known}`);
  }
}

/** A file to take. */
export interface PlannedFile {
  file: SourceFile;
  md5: string;
  /** True where the corpus has another file of this name, issued before. */
  issuedAgain: boolean;
}

/** What is known of a corpus: of its catalogue, or of the list of its source files. */
export interface KnownCorpus {
  folder: string;
  catalogue: { files(): KnownFile[]; get(key: string): string | undefined };
}

/** What is known of a source file that a corpus has. */
type KnownFile = Pick<
  FileRow,
  "number" | "name" | "folder" | "md5" | "stamp" | "rejected_sha256"
>;

/** How to plan. */
interface PlanOptions {
  /** Which file numbers to take. */
  selected: (number: number) => boolean;
  /** Takes a new year's baseline that has far fewer files than the old one had. */
  smallerBaseline: boolean;
  signal?: AbortSignal;
  /** Hears how many files have been compared. */
  onProgress?: (done: number, total: number) => void;
}

/** The files to take, in numeric order. */
export interface Plan {
  year: number;
  /** Files of the series' baseline: the most that the source ever offered. */
  baselineFiles: number;
  /** Files of the series on the source, after selection. */
  offered: number;
  files: PlannedFile[];
  /** Files whose stamp changed though their content did not. */
  restamped: { number: number; stamp: string }[];
}

/**
 * Compares what a source offers with what the corpus has.
 * @throws {UserError} where the selection matches nothing or a mirror's series has holes.
 */
export async function makePlan(
  source: Source,
  { folder, catalogue }: KnownCorpus,
  { selected, smallerBaseline, signal, onProgress }: PlanOptions,
): Promise<Plan> {
  const series = newestSeries(source.place, await source.list(signal));
  if (source.remote) checkWhole(source, series);
  const baselineFiles = series.filter((f) => f.folder === "baseline").length;
  const [first] = series;
  const last = series.at(-1);
  if (!first || !last) throw new Error(`${source.place} lists no files`); // refused by list()
  const offered = { year: first.year, files: baselineFiles };
  checkYear(folder, catalogue, offered, source, smallerBaseline);
  const files = series.filter((f) => selected(f.number));
  if (files.length === 0) {
    throw new UserError(
      `Cannot select files: ${source.place} has numbers ${first.number} to ` +
        `${last.number}, none of which --files names`,
    );
  }
  const known = new Map<number, KnownFile>(catalogue.files().map((f) => [f.number, f]));
  const plan: Plan = {
    year: offered.year,
    baselineFiles: Math.max(baselineFiles, baselineOf(catalogue)),
    offered: files.length,
    files: [],
    restamped: [],
  };
  for (const [i, file] of files.entries()) {
    onProgress?.(i + 1, files.length);
    const row = known.get(file.number);
    // Documents and rejects that were lost, or removed being damaged, are made again.
    const whole = row !== undefined && exists(corpusPaths.documents(folder, row.name)) &&
      (!row.rejected_sha256 || exists(corpusPaths.rejected(folder, row.name)));
    if (whole && row.stamp === file.stamp) continue;
    const md5 = await source.md5(file, signal);
    if (whole && row.md5 === md5) {
      plan.restamped.push({ number: file.number, stamp: file.stamp });
    } else plan.files.push({ file, md5, issuedAgain: row !== undefined && row.md5 !== md5 });
  }
  return plan;
}

/** How many files the baseline of a corpus's series has, as far as it knows. */
function baselineOf(catalogue: KnownCorpus["catalogue"]): number {
  const taken = catalogue.files().filter((f) => f.folder === "baseline").length;
  return Math.max(taken, Number(catalogue.get("baseline_files") ?? 0));
}

/**
 * @throws {NewSeries} where the source's series is later than the corpus's
 * @throws {UserError} where it is earlier, or later but not there in full
 */
function checkYear(
  folder: string,
  catalogue: KnownCorpus["catalogue"],
  offered: { year: number; files: number },
  source: Source,
  smallerBaseline: boolean,
): void {
  const recorded = catalogue.get("year");
  const known = Number(recorded);
  if (recorded === undefined || known === offered.year) return;
  if (offered.year > known) {
    if (!smallerBaseline) {
      checkNewBaseline(source.place, { year: known, files: baselineOf(catalogue) }, offered);
    }
    throw new NewSeries(known, offered.year);
  }
  throw new UserError(
    `Cannot bring ${folder} up to date from ${source.place}: the corpus holds the series of ` +
      `20${known}, the source only that of 20${offered.year}; use another mirror`,
  );
}

/**
 * Checks that a new year's baseline is there in full, as far as the old one tells: baselines grow
 * from year to year.
 * @param known the year and the number of baseline files of the corpus
 * @param offered those of the source
 * @throws {UserError} where it has far fewer files
 */
function checkNewBaseline(
  place: string,
  known: { year: number; files: number },
  offered: { year: number; files: number },
): void {
  if (offered.files >= known.files * WHOLE_BASELINE) return;
  throw new UserError(
    `Cannot go over to the series of 20${offered.year}: ${place} has ${offered.files} files of its ` +
      `baseline, and that of 20${known.year} had ${known.files}; run the same command when all are ` +
      "there, or say --smaller-baseline if these are all",
  );
}

/**
 * Refuses a mirror whose numbers have a hole, at the start too: its listing was cut short, or a file
 * is not there yet.
 */
function checkWhole(source: Source, series: SourceFile[]): void {
  let expected = 1;
  for (const file of series) {
    if (file.number !== expected) {
      throw new UserError(
        `Cannot use the listing of ${source.place}: file ${expected} is missing before ` +
          `${file.fileName}; run the same command later or use another mirror`,
      );
    }
    expected++;
  }
}
