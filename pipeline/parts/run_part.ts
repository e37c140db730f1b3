/**
 * `pipeline run --part i/n`: a share of a source's files, parsed and tokenized without the catalogue
 * and without a word to the other parts. `finish.ts` merges what they made.
 * @module
 */
import { join } from "../../core/std.ts";
import { exists, hashFile, writeAtomic } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import type { FileEvents, FileRow } from "../catalogue/catalogue.ts";
import { corpusPaths, partsPath, sourceListPath, textsPath } from "../corpus_paths.ts";
import { type CorpusSettings, corpusSettings, type GivenSettings } from "../corpus_settings.ts";
import type { Policies } from "../ingest/policy.ts";
import {
  type KnownCorpus,
  makePlan,
  NewSeries,
  type Plan,
  type PlannedFile,
} from "../ingest/plan.ts";
import { checkSequenceLength } from "../ingest/shards.ts";
import { FileTaker } from "../ingest/take_files.ts";
import { WorkerPool } from "../ingest/worker_pool.ts";
import type { RunOptions } from "../ingest/run_options.ts";
import { corpusTokenizer } from "../shards/mod.ts";
import { processorSeconds } from "../run_summary.ts";
import { readSourceList, type SourceList } from "../source_list.ts";
import { chosenFiles, parseSelection } from "../source/names.ts";
import { openSource } from "../source/open.ts";
import { newestSeries, placeOf, type Source, type SourceFile } from "../source/source.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { readChanges, writeChanges } from "./changes.ts";
import { enterParts, type PartFolder, partPaths } from "./folder.ts";
import { joinJob, type PartJob, PROGRAM } from "./job.ts";
import { isOwn, type Part, partName } from "./part.ts";
import { writeReport } from "./report.ts";

/** What a part did. */
export interface PartSummary extends Part {
  /** The corpus folder. */
  corpus: string;
  source: string;
  /** Source files in this part's share that the corpus lacks. */
  files: number;
  /** Those of them that this call made; the others were there already. */
  files_added: number;
  records_added: number;
  /** Bytes of their XML. */
  xml_bytes: number;
  seconds: number;
  /** Processor time of all threads since the program started. */
  processor_seconds: number;
}

/**
 * Does one part of a run. Killed and repeated, it goes on where it was; two processes at the same
 * part do no harm.
 * @throws {UserError} where a file, a setting or the source is at fault, or the parts that lie there
 *   are of another job
 * @throws {Interrupted} where the signal fires; the files that are done stay
 */
export async function runPart(options: RunOptions, part: Part): Promise<PartSummary> {
  const start = performance.now();
  checkSequenceLength(options.sequenceLength);
  const { corpus } = options;
  if (exists(textsPath(corpus))) {
    throw new UserError(
      `Cannot bring PubMed into ${corpus}: it is a corpus of other texts; make another and mix them ` +
        "in training",
    );
  }
  const list = readSourceList(corpus);
  if (!list && exists(corpusPaths.catalogue(corpus))) {
    throw new UserError(
      `Cannot work on a part of ${corpus}: an earlier version of the program made it, without ` +
        `${sourceListPath(corpus)}; run "pipeline refresh" once without --part, which writes that`,
    );
  }
  const recorded = { get: (key: string) => list?.settings[key] };
  const place = options.source ?? recorded.get("source");
  if (place === undefined) {
    throw new UserError(
      `Cannot work on a part of ${corpus}: it has no source yet; run "pipeline run" with --source`,
    );
  }
  const settings = corpusSettings(corpus, recorded, options);
  const tokenizer = partTokenizer(corpus, recorded.get("tokenizer_sha256"), options.tokenizer);
  const chosen = chosenFiles(options, recorded.get("files_chosen"));
  using folder = enterParts(corpus, partName(part));
  // Before the job is written down: a source or selection that cannot be is no job that others join.
  const source = listedOnce(
    openSource(placeOf(place), { ...options.http, onRetry: options.log }),
  );
  const { plan, offered } = await planPart(source, list, part, chosen, options);
  const job = joinJob(corpus, folder, {
    format: 1,
    program: PROGRAM,
    kind: "PubMed",
    parts: part.parts,
    source: placeOf(place),
    files: chosen ?? "",
    tokenizer_sha256: tokenizer?.sha256 ?? "",
    settings: flatSettings(settings),
    names: [],
  });
  if (tokenizer) keepPartTokenizer(corpus, folder, tokenizer.sha256, tokenizer.path);
  const done = plan.files.filter((planned) => isDone(corpus, job, planned));
  const waiting = plan.files.filter((planned) => !done.includes(planned));
  const pool = new WorkerPool(options.workers);
  const stop = () => pool.stop();
  options.signal?.addEventListener("abort", stop, { once: true });
  const taker = new FileTaker(
    source,
    { addFile: (row, events) => keepFile(corpus, folder, job, row, events) },
    pool,
    {
      fields: settings.fields,
      policies: settings.policies,
      tokens: tokenizer ? { tokenizer: tokenizer.path, seed: settings.seed } : undefined,
    },
    { ...options, corpus: folder.work },
  );
  try {
    await taker.take(waiting);
  } finally {
    options.signal?.removeEventListener("abort", stop);
    await pool.close();
  }
  writeReport(corpus, folder, {
    format: 1,
    job,
    ...part,
    year: plan.year,
    baseline_files: plan.baselineFiles,
    offered,
    files: plan.files.map(({ file, md5 }) => ({ name: file.source, md5 })),
    restamped: plan.restamped,
  });
  return {
    corpus,
    source: job.source,
    ...part,
    files: plan.files.length,
    files_added: taker.added.files,
    records_added: taker.added.records,
    xml_bytes: taker.added.xmlBytes,
    seconds: (performance.now() - start) / 1000,
    processor_seconds: processorSeconds(),
  };
}

/** Settings as a job has them: flat, and in one order. */
export function flatSettings(
  settings: Omit<CorpusSettings, "fields" | "policies"> & Partial<CorpusSettings>,
): Record<string, string | number> {
  const { policies, ...rest } = settings;
  return Object.fromEntries(
    Object.entries({ ...rest, ...policies }).sort(([a], [b]) => a < b ? -1 : 1),
  );
}

/** The settings of a job, as a command line would give them. */
export function givenSettings(job: PartJob): GivenSettings {
  const { sequenceLength, packing, seed, validation, test, fields, ...policies } = job.settings;
  const known = { sequenceLength, packing, seed, validation, test, fields };
  return { ...known as GivenSettings, policies: policies as Partial<Policies> };
}

/**
 * The tokenizer that a part works with: the one given, or the corpus's own.
 * @throws {UserError} where they are not the same, or the corpus's own is not there
 */
export function partTokenizer(
  corpus: string,
  recorded: string | undefined,
  given: string | undefined,
): Tokenizer | undefined {
  if (recorded === undefined && given === undefined) return undefined;
  return corpusTokenizer(corpus, recorded, given);
}

/** A copy of the tokenizer waits with the parts for the one that merges them. */
export function keepPartTokenizer(
  corpus: string,
  folder: PartFolder,
  sha256: string,
  path: string,
): void {
  const copy = partPaths.tokenizer(corpus, sha256);
  if (exists(copy) && hashFile(copy) === sha256) return;
  const own = join(folder.work, "tokenizer.json");
  writeAtomic(own, Deno.readFileSync(path));
  folder.place(own, copy);
}

/** A source that is asked for its list once. */
function listedOnce(source: Source): Source {
  let list: Promise<SourceFile[]> | undefined;
  return {
    place: source.place,
    remote: source.remote,
    list: (signal) => list ??= source.list(signal),
    md5: (file, signal) => source.md5(file, signal),
    obtain: (file, md5, folder, signal) => source.obtain(file, md5, folder, signal),
  };
}

/** What the part has to do of what the source offers now. */
async function planPart(
  source: Source,
  list: SourceList | undefined,
  part: Part,
  chosen: string | undefined,
  options: RunOptions,
): Promise<{ plan: Plan; offered: number[] }> {
  const { signal, corpus } = options;
  const selected = parseSelection(chosen);
  const series = newestSeries(source.place, await source.list(signal));
  const numbers = series.map(({ number }) => number).filter(selected);
  const share = (number: number) => selected(number) && isOwn(part, number);
  const known: KnownCorpus = {
    folder: corpus,
    catalogue: { files: () => list?.files ?? [], get: (key) => list?.settings[key] },
  };
  // A share may be empty; a selection that names no file at all is a mistake, which the plan tells.
  if (numbers.length > 0 && !numbers.some(share)) {
    return { plan: emptyPlan(series), offered: numbers };
  }
  const planOptions = {
    selected: share,
    smallerBaseline: options.smallerBaseline ?? false,
    ...(signal ? { signal } : {}),
  };
  try {
    return { plan: await makePlan(source, known, planOptions), offered: numbers };
  } catch (error) {
    if (!(error instanceof NewSeries)) throw error;
    // Nothing of the old series counts for the new one.
    const nothing = { files: () => [], get: () => undefined };
    const anew = { folder: partsPath(corpus), catalogue: nothing };
    return { plan: await makePlan(source, anew, planOptions), offered: numbers };
  }
}

/** The plan of a part that has no file to take: there are more parts than files. */
function emptyPlan(series: SourceFile[]): Plan {
  return {
    year: series[0]?.year ?? 0,
    baselineFiles: series.filter(({ folder }) => folder === "baseline").length,
    offered: 0,
    files: [],
    restamped: [],
  };
}

/** Files of a source in the folder of the parts, with the hashes that the row has of them. */
export function filesOf(
  row: Pick<FileRow, "name" | "documents_sha256" | "tokens_sha256" | "rejected_sha256" | "raw">,
): { path: (folder: string) => string; sha256: string | undefined }[] {
  const { name } = row;
  const files: { path: (folder: string) => string; sha256: string | undefined }[] = [
    { path: (folder) => corpusPaths.documents(folder, name), sha256: row.documents_sha256 },
  ];
  if (row.rejected_sha256) {
    files.push({
      path: (folder) => corpusPaths.rejected(folder, name),
      sha256: row.rejected_sha256,
    });
  }
  if (row.tokens_sha256) {
    files.push({ path: (folder) => corpusPaths.tokens(folder, name), sha256: row.tokens_sha256 });
  }
  if (row.raw) {
    files.push({
      path: (folder) => join(corpusPaths.raw(folder), `${name}.xml.gz`),
      sha256: undefined,
    });
  }
  return files;
}

/** True where an earlier try at this part made the file, with all that belongs to it. */
function isDone(corpus: string, job: PartJob, { file, md5 }: PlannedFile): boolean {
  const path = partPaths.changes(corpus, file.source);
  if (!exists(path)) return false;
  try {
    const { job: made, row } = readChanges<FileRow>(path);
    if (JSON.stringify(made) !== JSON.stringify(job) || row.md5 !== md5) return false;
    return filesOf(row).every(({ path, sha256 }) => {
      const at = path(partsPath(corpus));
      return exists(at) && (sha256 === undefined || hashFile(at) === sha256);
    });
  } catch (error) {
    if (error instanceof UserError) return false; // damaged: it is made again
    throw error;
  }
}

/** Gives what a worker made its place; the changes come last and say that all of it is there. */
function keepFile(
  corpus: string,
  folder: PartFolder,
  job: PartJob,
  row: FileRow,
  events: FileEvents,
): void {
  for (const { path } of filesOf(row)) folder.place(path(folder.work), path(partsPath(corpus)));
  const changes = join(folder.work, `${row.name}.changes`);
  writeChanges(changes, { job, row, events });
  folder.place(changes, partPaths.changes(corpus, row.name));
}
