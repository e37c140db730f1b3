/**
 * `pipeline finish`: merges what the parts of a job made into the catalogue, in numeric order of the
 * files, and builds the shards, as a single run would have. Killed, it goes on where it was: a file
 * moves to its place before the catalogue has it, and the parts go when all is done.
 * @module
 */
import { dirname } from "../../core/std.ts";
import { exists, hashFile, removeIfExists, syncFolder } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { breathe } from "../../core/breathe.ts";
import type { FileRow } from "../catalogue/catalogue.ts";
import { Corpus, removePartials } from "../corpus.ts";
import { corpusPaths, partsPath } from "../corpus_paths.ts";
import { corpusSettings, recordDocumentSettings } from "../corpus_settings.ts";
import { rebuildCitations } from "../ingest/rebuild.ts";
import { buildTokensAndShards, shardSettings } from "../ingest/shards.ts";
import { WorkerPool } from "../ingest/worker_pool.ts";
import { beginNewSeries } from "../new_series.ts";
import type { RunOptions } from "../ingest/run_options.ts";
import { type RunSummary, summarize } from "../run_summary.ts";
import { swapIn } from "../series_swap.ts";
import { writeSourceList } from "../source_list.ts";
import { type Changes, readChanges } from "./changes.ts";
import { dropParts, holdParts, partPaths } from "./folder.ts";
import { differenceOf, type PartJob, readJob } from "./job.ts";
import { ownerOf } from "./part.ts";
import { type PartReport, readReports } from "./report.ts";
import { filesOf, givenSettings } from "./run_part.ts";

/** What to finish, and how. */
export type FinishOptions =
  & Pick<RunOptions, "corpus" | "workers">
  & Partial<Pick<RunOptions, "signal" | "log" | "onProgress">>;

/** What the parts hold, checked. */
interface Parts {
  job: PartJob;
  year: number;
  baselineFiles: number;
  restamped: { number: number; stamp: string }[];
  /** By name, with what the source's MD5 was. */
  files: { name: string; md5: string }[];
}

/**
 * The job whose parts lie in a corpus folder.
 * @throws {UserError} where there is none
 */
export function jobToFinish(corpus: string): PartJob {
  const job = readJob(corpus);
  if (job) return job;
  throw new UserError(
    `Cannot finish ${corpus}: no parts are there; make them with "pipeline run --part 1/8" and so on`,
  );
}

/**
 * Merges the parts of a job into the corpus.
 * @throws {UserError} where a part is missing, does not fit the others or is still at work, or
 *   another process is at work on the corpus; the parts stay as they are
 * @throws {Interrupted} where the signal fires; the same call goes on
 */
export async function finishParts(options: FinishOptions): Promise<RunSummary> {
  const { corpus: folder } = options;
  const start = performance.now();
  jobToFinish(folder);
  const corpus = new Corpus(folder);
  let useless = corpus.fresh;
  try {
    using _held = holdParts(folder);
    const parts = checkParts(folder);
    const known = Number(corpus.catalogue.get("year") ?? parts.year);
    if (parts.year < known) {
      throw new UserError(
        `Cannot finish ${folder}: its parts are of the series of 20${parts.year}, the corpus is of ` +
          `20${known}; remove ${partsPath(folder)}`,
      );
    }
    const summary = parts.year > known
      ? await finishNewSeries(corpus, parts, options)
      : await finishInto(corpus, parts, options);
    useless = false;
    dropParts(folder);
    summary.seconds = (performance.now() - start) / 1000;
    return summary;
  } catch (error) {
    removePartials(folder);
    throw error;
  } finally {
    useless &&= corpus.isOpen && corpus.catalogue.files().length === 0;
    if (useless) corpus.discard();
    else corpus.close();
  }
}

/** The new year's corpus is made inside the old one's folder and takes its place. */
async function finishNewSeries(
  corpus: Corpus,
  parts: Parts,
  options: FinishOptions,
): Promise<RunSummary> {
  const next = beginNewSeries(corpus);
  options.log?.(
    `The parts are of PubMed's series of 20${parts.year}, a new one. Building it in ${next}; at the ` +
      "end it takes the place of the old one",
  );
  const inner = new Corpus(next);
  let summary: RunSummary;
  try {
    summary = await finishInto(inner, parts, options);
  } finally {
    inner.close();
  }
  corpus.catalogue.close();
  swapIn(corpus.folder);
  return { ...summary, corpus: corpus.folder };
}

/** Merges the parts in `options.corpus` into `corpus`, which is the same but for a new series. */
async function finishInto(
  corpus: Corpus,
  parts: Parts,
  options: FinishOptions,
): Promise<RunSummary> {
  const { catalogue, folder } = corpus;
  const { signal } = options;
  const { job } = parts;
  corpus.checkHeldOut();
  const settings = corpusSettings(folder, catalogue, givenSettings(job));
  const given = job.tokenizer_sha256
    ? partPaths.tokenizer(options.corpus, job.tokenizer_sha256)
    : undefined;
  const tokens = shardSettings(corpus, settings, given);
  const run = catalogue.startRun("finish");
  catalogue.transaction(() => {
    catalogue.set("source", job.source);
    if (job.files === "") catalogue.unset("files_chosen");
    else catalogue.set("files_chosen", job.files);
    catalogue.set("year", String(parts.year));
    catalogue.set(
      "baseline_files",
      String(Math.max(parts.baselineFiles, Number(catalogue.get("baseline_files") ?? 0))),
    );
    recordDocumentSettings(catalogue, settings);
    for (const { number, stamp } of parts.restamped) catalogue.setStamp(number, stamp);
  });
  // Where this fails, a part may have to be done again, and looks here.
  writeSourceList(folder, catalogue);
  let added: Awaited<ReturnType<typeof addFiles>>;
  try {
    added = await addFiles(corpus, parts, options);
  } finally {
    writeSourceList(folder, catalogue);
  }
  if (catalogue.get("rebuild") !== undefined) await rebuildCitations(corpus);
  const pool = new WorkerPool(options.workers);
  const stop = () => pool.stop();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const shards = tokens
      ? await buildTokensAndShards(corpus, pool, tokens, settings.policies, options)
      : undefined;
    const summary = summarize(corpus, job.source, added, shards);
    catalogue.finishRun(run, summary);
    return summary;
  } finally {
    signal?.removeEventListener("abort", stop);
    await pool.close();
  }
}

/** Puts every file in its place and into the catalogue. */
async function addFiles(
  { catalogue, folder }: Corpus,
  { job, files }: Parts,
  { corpus, signal, onProgress }: FinishOptions,
): Promise<{ files: number; records: number; xmlBytes: number }> {
  const added = { files: 0, records: 0, xmlBytes: 0 };
  const known = new Map(catalogue.files().map((row) => [row.number, row]));
  for (const [done, { name, md5 }] of files.entries()) {
    onProgress?.("files", done, files.length);
    await breathe();
    if (signal?.aborted) {
      throw new Interrupted(
        `Stopped; ${done} of ${files.length} files are merged, the same command goes on from here`,
      );
    }
    const { row, events } = changesOf(corpus, job, name, md5);
    const before = known.get(row.number);
    const there = before?.md5 === row.md5 && exists(corpusPaths.documents(folder, name)) &&
      (!before.rejected_sha256 || exists(corpusPaths.rejected(folder, name)));
    if (there) continue; // an earlier try at finishing, or a run meanwhile, has taken it
    moveFiles(corpus, folder, job, row);
    catalogue.addFile(row, events, before !== undefined && before.md5 !== row.md5);
    added.files++;
    added.records += row.records;
    added.xmlBytes += row.xml_bytes;
  }
  onProgress?.("files", files.length, files.length);
  return added;
}

/** Moves a source file's documents, rejects and tokens, which were checked, into the corpus. */
function moveFiles(corpus: string, folder: string, job: PartJob, row: FileRow): void {
  for (const { path, sha256 } of filesOf(row)) {
    const from = path(partsPath(corpus));
    const to = path(folder);
    // A try at finishing that was killed may have moved it.
    const at = exists(from) ? from : to;
    if (!exists(at) || sha256 !== undefined && hashFile(at) !== sha256) {
      throw new UserError(
        `Cannot finish ${corpus}: ${from} is ${exists(at) ? "not what was written" : "missing"}; ` +
          `run part ${ownerOf(row.number, job.parts)}/${job.parts} again, then this`,
      );
    }
    if (at === to) continue;
    Deno.mkdirSync(dirname(to), { recursive: true });
    Deno.renameSync(from, to);
    syncFolder(dirname(to));
  }
  if (!row.rejected_sha256) removeIfExists(corpusPaths.rejected(folder, row.name));
}

/** A file's changes, of this job and this issue of the file. */
function changesOf(corpus: string, job: PartJob, name: string, md5: string): Changes<FileRow> {
  const path = partPaths.changes(corpus, name);
  const changes = readChanges<FileRow>(path);
  const { number } = changes.row;
  const difference = differenceOf(changes.job, job) ??
    (changes.row.md5 === md5 ? undefined : "the source file was issued again meanwhile");
  if (difference === undefined) return changes;
  throw new UserError(
    `Cannot finish ${corpus}: ${path} does not fit the other parts: ${difference}; run part ` +
      `${ownerOf(number, job.parts)}/${job.parts} again with the options of the others`,
  );
}

/** Checks all of the parts before anything is changed. */
function checkParts(corpus: string): Parts {
  const job = jobToFinish(corpus);
  const reports = readReports(corpus, job);
  const year = Math.max(...reports.map((report) => report.year));
  const late = reports.find((report) => report.year !== year);
  if (late) {
    throw new UserError(
      `Cannot finish ${corpus}: part ${late.part}/${late.parts} saw the series of 20${late.year}, ` +
        `another that of 20${year}; run part ${late.part}/${late.parts} again`,
    );
  }
  checkSeen(corpus, job, reports);
  const files = reports.flatMap((report) => report.files)
    .sort((a, b) => a.name.length - b.name.length || (a.name < b.name ? -1 : 1));
  for (const { name, md5 } of files) changesOf(corpus, job, name, md5);
  return {
    job,
    year,
    baselineFiles: Math.max(...reports.map((report) => report.baseline_files)),
    restamped: reports.flatMap((report) => report.restamped),
    files,
  };
}

/** A file that came while the parts were running may have been seen by others than its own part. */
function checkSeen(corpus: string, job: PartJob, reports: PartReport[]): void {
  const seen = new Map(reports.map(({ part, offered }) => [part, new Set(offered)]));
  for (const number of new Set(reports.flatMap(({ offered }) => offered))) {
    const owner = ownerOf(number, job.parts);
    if (seen.get(owner)?.has(number)) continue;
    throw new UserError(
      `Cannot finish ${corpus}: file ${number} came to the source after part ${owner}/${job.parts} had ` +
        "looked; run that part again, then this",
    );
  }
}
