/**
 * Corpora of texts in parts. The number of a document depends on how many come before it, which a
 * part does not know: its token files count from 0, and merging numbers them.
 * @module
 */
import { dirname, join, resolve } from "../../core/std.ts";
import { exists, hashFile, removeIfExists, syncFolder } from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { breathe } from "../../core/breathe.ts";
import { holdFolder, removeMade, removePartials } from "../corpus.ts";
import {
  corpusPaths,
  partsPath,
  textDocumentsPath,
  textsPath,
  textTokensPath,
} from "../corpus_paths.ts";
import { checkSequenceLength } from "../ingest/shards.ts";
import { checkContamination } from "../overlap/contamination.ts";
import type { RunOptions } from "../ingest/run_options.ts";
import { keepTokenizer, renumberTokenFile } from "../shards/mod.ts";
import { compareNewTexts } from "../texts/compare_later.ts";
import {
  buildTextShards,
  type BuiltTexts,
  documentsIn,
  isTextFileWhole,
  type TakenTextFile,
  takeTextFile,
  textFiles,
  textSettings,
} from "../texts/corpus.ts";
import {
  readTextCorpus,
  type TextCorpusState,
  type TextFile,
  textRecord,
  writeTextCorpus,
} from "../texts/state.ts";
import { processorSeconds } from "../run_summary.ts";
import { noEvents, readChanges, writeChanges } from "./changes.ts";
import type { FinishOptions } from "./finish.ts";
import { jobToFinish } from "./finish.ts";
import { dropParts, enterParts, holdParts, type PartFolder, partPaths } from "./folder.ts";
import { differenceOf, joinJob, type PartJob, PROGRAM } from "./job.ts";
import { isOwn, ownerOf, type Part, partName } from "./part.ts";
import { type PartReport, readReports, writeReport } from "./report.ts";
import {
  flatSettings,
  givenSettings,
  keepPartTokenizer,
  type PartSummary,
  partTokenizer,
} from "./run_part.ts";

/** What a file brings to the list of texts. */
type TextRow = TakenTextFile & Pick<TextFile, "name" | "md5">;

/**
 * Does one part of a corpus of texts: the files whose place in the folder's order is its own.
 * @throws {UserError} where a file, a setting or the folder is at fault, or the parts that lie there
 *   are of another job
 * @throws {Interrupted} where the signal fires; the files that are done stay
 */
export async function runTextPart(
  options: RunOptions & { source: string },
  part: Part,
): Promise<PartSummary> {
  const start = performance.now();
  checkSequenceLength(options.sequenceLength);
  const { corpus, source, signal, onProgress } = options;
  if (exists(corpusPaths.catalogue(corpus))) {
    throw new UserError(
      `Cannot bring texts into ${corpus}: it is a corpus of PubMed; make another and mix them in training`,
    );
  }
  const names = textFiles(source);
  if (names.length === 0) {
    throw new UserError(
      `Cannot work on a part of ${corpus}: it is a corpus of texts, and "${source}" is no folder of ` +
        ".jsonl, .parquet or .txt files; name it with --source",
    );
  }
  const old = readTextCorpus(corpus);
  const settings = textSettings(options, old?.settings);
  const tokenizer = partTokenizer(corpus, old?.tokenizer_sha256, options.tokenizer);
  using folder = enterParts(corpus, partName(part));
  const { sequence_length, ...others } = settings;
  const job = joinJob(corpus, folder, {
    format: 1,
    program: PROGRAM,
    kind: "texts",
    parts: part.parts,
    source: resolve(source),
    files: "",
    tokenizer_sha256: tokenizer?.sha256 ?? "",
    settings: flatSettings({ sequenceLength: sequence_length, ...others }),
    names,
  });
  if (tokenizer) keepPartTokenizer(corpus, folder, tokenizer.sha256, tokenizer.path);
  const own = job.names.filter((_, i) => isOwn(part, i + 1));
  const report: PartReport = {
    format: 1,
    job,
    ...part,
    year: 0,
    baseline_files: 0,
    offered: [],
    files: [],
    restamped: [],
  };
  const added = { files: 0, records: 0 };
  for (const [done, name] of own.entries()) {
    onProgress?.("files", done, own.length);
    const path = join(source, name);
    if (!exists(path)) continue; // taken away since the first part looked
    const md5 = hashFile(path, "md5");
    const known = old?.files.find((file) => file.name === name && file.md5 === md5);
    if (known && isTextFileWhole(corpus, known, tokenizer !== undefined)) continue;
    report.files.push({ name, md5 });
    if (isTextPartDone(corpus, job, name, md5)) continue;
    const taken = await takeTextFile(folder.work, source, name, 0, {
      ...(tokenizer ? { tokenizer } : {}),
      seed: settings.seed,
      signal,
    });
    keepTextFile(corpus, folder, job, { name, md5, ...taken });
    added.files++;
    added.records += taken.records;
  }
  onProgress?.("files", own.length, own.length);
  writeReport(corpus, folder, report);
  return {
    corpus,
    source,
    ...part,
    files: report.files.length,
    files_added: added.files,
    records_added: added.records,
    xml_bytes: 0,
    seconds: (performance.now() - start) / 1000,
    processor_seconds: processorSeconds(),
  };
}

/** The files that are made of a file of texts, its documents first, with their hashes. */
const madeOf = (row: TextRow) => {
  const documents = {
    path: (folder: string) => textDocumentsPath(folder, row.name),
    sha256: row.documents_sha256,
  };
  if (row.tokens_sha256 === undefined) return [documents];
  const tokens = {
    path: (folder: string) => textTokensPath(folder, row.name),
    sha256: row.tokens_sha256,
  };
  return [documents, tokens];
};

function keepTextFile(corpus: string, folder: PartFolder, job: PartJob, row: TextRow): void {
  for (const { path } of madeOf(row)) folder.place(path(folder.work), path(partsPath(corpus)));
  const changes = join(folder.work, `${row.name}.changes`);
  writeChanges(changes, { job, row, events: noEvents() });
  folder.place(changes, partPaths.changes(corpus, row.name));
}

function isTextPartDone(corpus: string, job: PartJob, name: string, md5: string): boolean {
  const path = partPaths.changes(corpus, name);
  if (!exists(path)) return false;
  try {
    const { job: made, row } = readChanges<TextRow>(path);
    return differenceOf(made, job) === undefined && row.md5 === md5 &&
      madeOf(row).every(({ path, sha256 }) => {
        const at = path(partsPath(corpus));
        return exists(at) && hashFile(at) === sha256;
      });
  } catch (error) {
    if (error instanceof UserError) return false; // damaged: it is made again
    throw error;
  }
}

/**
 * Merges the parts of a corpus of texts, in the order of the files' names.
 * @throws {UserError} where a part is missing, does not fit the others or is still at work, or
 *   another process is at work on the corpus; the parts stay as they are
 * @throws {Interrupted} where the signal fires; the same call goes on
 */
export async function finishTextParts(
  options: FinishOptions,
): Promise<BuiltTexts & { source: string }> {
  const { corpus, signal, onProgress } = options;
  const job = jobToFinish(corpus);
  const held = holdFolder(corpus);
  try {
    using _parts = holdParts(corpus);
    removePartials(corpus);
    const rows = checkTextParts(corpus, job);
    const old = readTextCorpus(corpus);
    if (old) checkContamination(corpus, textRecord(corpus));
    const given = job.tokenizer_sha256
      ? partPaths.tokenizer(corpus, job.tokenizer_sha256)
      : undefined;
    const tokenizer = partTokenizer(corpus, old?.tokenizer_sha256, given);
    if (tokenizer) keepTokenizer(corpus, tokenizer);
    const state: TextCorpusState = {
      format: 1,
      source: job.source,
      ...(tokenizer
        ? {
          tokenizer_sha256: tokenizer.sha256,
          settings: textSettings({ corpus, ...givenSettings(job) }, old?.settings),
        }
        : {}),
      next: old?.next ?? 1,
      files: [],
      ...(old?.records ? { records: old.records } : {}),
    };
    for (const [done, name] of job.names.entries()) {
      onProgress?.("files", done, job.names.length);
      await breathe();
      if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
      const row = rows.get(name);
      const known = old?.files.find((file) =>
        file.name === name && (row === undefined || file.md5 === row.md5)
      );
      if (known && (row === undefined || isTextFileWhole(corpus, known, tokenizer !== undefined))) {
        state.files.push(known);
        continue;
      }
      if (!row) continue; // taken away since the first part looked
      const first = known?.first ?? state.next;
      state.files.push(mergeTextFile(corpus, job, row, first));
      if (!known) state.next += row.records;
      const later = new Set(job.names.slice(done + 1));
      const rest = old?.files.filter((file) => later.has(file.name)) ?? [];
      writeTextCorpus(corpus, { ...state, files: [...state.files, ...rest] });
    }
    writeTextCorpus(corpus, state);
    for (const { name } of old?.files ?? []) {
      if (state.files.some((file) => file.name === name)) continue;
      removeIfExists(textTokensPath(corpus, name));
      removeIfExists(textDocumentsPath(corpus, name));
    }
    await compareNewTexts(corpus, state, signal);
    const manifest = tokenizer && await buildTextShards(corpus, state, tokenizer, options);
    dropParts(corpus);
    return { documents: documentsIn(state), source: job.source, ...(manifest ? { manifest } : {}) };
  } catch (error) {
    removePartials(corpus);
    if (!exists(textsPath(corpus))) removeMade(corpus, held);
    throw error;
  } finally {
    held.release();
  }
}

/** The rows of all files that the parts made, by name, checked before anything is changed. */
function checkTextParts(corpus: string, job: PartJob): Map<string, TextRow> {
  const rows = new Map<string, TextRow>();
  for (const { part, parts, files } of readReports(corpus, job)) {
    for (const { name, md5 } of files) {
      const path = partPaths.changes(corpus, name);
      const { job: made, row } = readChanges<TextRow>(path);
      const difference = differenceOf(made, job) ??
        (row.md5 === md5 ? undefined : "the file of texts was changed meanwhile");
      if (difference !== undefined) {
        throw new UserError(
          `Cannot finish ${corpus}: ${path} does not fit the other parts: ${difference}; run part ` +
            `${part}/${parts} again with the options of the others`,
        );
      }
      rows.set(name, row);
    }
  }
  return rows;
}

/** Puts a file's documents in their place, and its tokens with their numbers. */
function mergeTextFile(corpus: string, job: PartJob, row: TextRow, first: number): TextFile {
  const { records: _, name, md5, ...taken } = row;
  const [documents, tokens] = madeOf(row);
  if (!documents) throw new Error("A file of texts has no documents");
  const fail = (path: string): never => {
    const part = ownerOf(job.names.indexOf(name) + 1, job.parts);
    throw new UserError(
      `Cannot finish ${corpus}: ${path} is missing or not what was written; run part ${part}/` +
        `${job.parts} again, then this`,
    );
  };
  const from = documents.path(partsPath(corpus));
  const to = documents.path(corpus);
  const at = exists(from) ? from : to; // a try at finishing that was killed may have moved it
  if (!exists(at) || hashFile(at) !== documents.sha256) fail(from);
  const made = tokens?.path(partsPath(corpus));
  if (made !== undefined && (!exists(made) || hashFile(made) !== tokens?.sha256)) fail(made);
  if (at !== to) {
    Deno.mkdirSync(dirname(to), { recursive: true });
    Deno.renameSync(from, to);
    syncFolder(dirname(to));
  }
  if (!tokens || made === undefined) return { name, md5, first, ...taken };
  const target = tokens.path(corpus);
  const { seed } = job.settings;
  renumberTokenFile(made, target, first, job.tokenizer_sha256, Number(seed));
  return { name, md5, first, ...taken, tokens_sha256: hashFile(target) };
}
