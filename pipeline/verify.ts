/**
 * `pipeline verify`: hashes every file of a corpus again and counts everything again. A run may be at
 * work meanwhile: the catalogue is read in one transaction, and what does not fit is looked at once
 * more when the run has ended.
 * @module
 */
import { basename, dirname, join, relative } from "../core/std.ts";
import { exists, hashFile, removeIfExists } from "../core/files.ts";
import { Interrupted, messageOf } from "../core/errors.ts";
import { type Catalogue, type FileRow } from "./catalogue/catalogue.ts";
import { checkSeal, readSeal } from "./catalogue/seal.ts";
import { droppedOf } from "./catalogue/tables.ts";
import { Corpus, readCatalogue } from "./corpus.ts";
import {
  contaminationPath,
  corpusPaths,
  duplicatesPath,
  isOwnFile,
  sourceListPath,
  unfinishedPath,
} from "./corpus_paths.ts";
import { sourceListProblem } from "./source_list.ts";
import { fileName } from "./source/names.ts";
import { breathe } from "../core/breathe.ts";
import { readEvents } from "./ingest/rebuild.ts";
import { type CorpusRecord, type RecordedFile, stateOfRecorded } from "./recorded_files.ts";
import {
  type Manifest,
  manifestPath,
  readManifest,
  shardsFolder,
  tokenizerPath,
} from "./shards/mod.ts";

/** What was looked at and what is wrong. */
export interface Verification {
  files: number;
  documents: number;
  shards: number;
  live: number;
  /** One sentence each; empty where all is well. */
  problems: string[];
  /** What is worth knowing though nothing is wrong. */
  notes: string[];
  /** Files that are damaged, changed or missing and that a run makes again. */
  renewable: string[];
}

/** How to verify. */
export interface VerifyOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
  /** Gets a line where there is something to wait for. */
  log?: (line: string) => void;
}

/** What a check adds to. */
export type Findings = Pick<Verification, "problems" | "notes" | "renewable">;

/**
 * Checks a corpus of PubMed.
 * @throws {Interrupted} where the signal fires
 * @throws {UserError} where there is no catalogue that can be read
 */
export async function verifyCorpus(
  corpus: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  const path = corpusPaths.catalogue(corpus);
  const before = readSeal(path);
  const first = await look(corpus, options);
  const quiet = readSeal(path) === before && first.notes.length === 0;
  if (first.problems.length === 0 || quiet) return first;
  // Another process changed the corpus meanwhile, or was cut short: nobody may change it while it is checked again.
  const release = await holdStill(corpus, options);
  try {
    return await look(corpus, options);
  } finally {
    release();
  }
}

/** How often to ask whether a run has ended. */
const ASK_EVERY_MS = 500;

/**
 * Waits until no process changes the corpus, and keeps others from beginning.
 * @returns what lets them in again
 */
export async function holdStill(
  corpus: string,
  { signal, log }: VerifyOptions,
): Promise<() => void> {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(corpusPaths.lock(corpus), { read: true });
  } catch {
    return () => {}; // without a lock nobody is at work
  }
  let told = false;
  while (!file.tryLockSync(false)) {
    if (signal?.aborted) {
      file.close();
      throw new Interrupted("Stopped");
    }
    if (!told) log?.(`A command is at work on ${corpus}; looking again when it has ended`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
  return () => file.close();
}

/** One look at everything, with the catalogue as it is at the start. */
async function look(corpus: string, options: VerifyOptions): Promise<Verification> {
  const found: Findings = { problems: [], notes: [], renewable: [] };
  checkCatalogueFile(corpus, found);
  let catalogue: Catalogue;
  try {
    catalogue = readCatalogue(corpus);
  } catch (error) {
    if (found.problems.length === 0) throw error;
    found.problems.push(messageOf(error));
    return { files: 0, documents: 0, shards: 0, live: 0, ...found };
  }
  try {
    return await catalogue.reading(() => checkAll(corpus, catalogue, found, options));
  } catch (error) {
    if (error instanceof Interrupted || found.problems.length === 0) throw error;
    // A catalogue that is damaged answers anything or nothing.
    found.problems.push(messageOf(error));
    return { files: 0, documents: 0, shards: 0, live: 0, ...found };
  } finally {
    catalogue.close();
  }
}

function checkCatalogueFile(corpus: string, { problems, notes }: Findings): void {
  const path = corpusPaths.catalogue(corpus);
  const seal = corpusPaths.seal(corpus);
  const said = {
    whole: "",
    broken: "",
    missing: `${seal} is missing, so a changed byte of the catalogue could go unnoticed; ` +
      '"pipeline run" writes it',
    wrong: `${path} or ${seal} is not what was written`,
  };
  const state = checkSeal(path);
  if (state === "broken") {
    notes.push(
      "A command is at work on the corpus, or the last one was cut short: the catalogue was checked " +
        'by its contents alone; "pipeline run" or "refresh" goes on with it',
    );
  } else if (state !== "whole") problems.push(said[state]);
}

async function checkAll(
  corpus: string,
  catalogue: Catalogue,
  found: Findings,
  { signal, onProgress }: VerifyOptions,
): Promise<Verification> {
  const { problems } = found;
  const files = catalogue.files();
  const broken = catalogue.check();
  if (broken) problems.push(`the catalogue is damaged: ${broken}`);
  let documents = 0;
  let current = 0;
  for (const [i, file] of files.entries()) {
    await breathe(); // so that a signal is heard
    if (signal?.aborted) throw new Interrupted("Stopped");
    const inFile = await checkFile(corpus, catalogue, file, found);
    documents += inFile.documents;
    current += inFile.current;
    onProgress?.(i + 1, files.length);
  }
  const tokenizer = catalogue.get("tokenizer_sha256");
  if (tokenizer !== undefined) checkTokenizer(corpus, tokenizer, problems);
  checkHeldOut(corpus, catalogue, problems);
  const listProblem = sourceListProblem(corpus, catalogue);
  if (listProblem !== undefined) {
    found.problems.push(listProblem);
    found.renewable.push(sourceListPath(corpus));
  }
  const counts = catalogue.counts();
  const rows = catalogue.versionsHeld();
  if (current !== rows) {
    problems.push(
      `the catalogue points at ${rows} records, of which ${current} are in the documents`,
    );
  }
  if (documents !== counts.records) {
    problems.push(`the catalogue counts ${counts.records} documents, there are ${documents}`);
  }
  const shards = await checkShards(corpus, catalogue, files, found, signal);
  return { files: files.length, documents, shards, live: counts.live, ...found };
}

async function checkFile(
  corpus: string,
  catalogue: Catalogue,
  file: FileRow,
  found: Findings,
): Promise<{ documents: number; current: number }> {
  const { problems } = found;
  checkHash(corpusPaths.documents(corpus, file.name), file.documents_sha256, found);
  if (file.tokens_sha256) {
    checkHash(corpusPaths.tokens(corpus, file.name), file.tokens_sha256, found);
  }
  checkRejects(corpus, file, found);
  if (file.raw) checkRaw(corpus, file, found);
  if (catalogue.deletionsOf(file.number).length !== file.deletions) {
    problems.push(`the catalogue does not hold the ${file.deletions} deletions of ${file.name}`);
  }
  try {
    const events = await readEvents({ folder: corpus, catalogue }, file);
    const { pmids, versions, ordinals } = events;
    if (pmids.length !== file.documents) {
      problems.push(`${file.name} has ${pmids.length} documents, not ${file.documents}`);
    }
    let current = 0;
    for (const [i, pmid] of pmids.entries()) {
      const state = catalogue.stateOf(pmid, versions[i] ?? 0);
      const later = state && (state.file - file.number || state.ordinal - (ordinals[i] ?? 0));
      if (later === undefined || later < 0) {
        problems.push(`PMID ${pmid} version ${versions[i]} of ${file.name} is not catalogued`);
      } else if (later === 0) current++;
    }
    return { documents: pmids.length, current };
  } catch (error) {
    problems.push(messageOf(error));
    return { documents: 0, current: 0 };
  }
}

/** Reports a corpus's tokenizer that is missing or not the one that it was made with. */
export function checkTokenizer(corpus: string, sha256: string, problems: string[]): void {
  const path = tokenizerPath(corpus);
  if (!exists(path)) problems.push(`${path} is missing`);
  else if (hashFile(path) !== sha256) {
    problems.push(`${path} is not the tokenizer that the corpus was made with`);
  }
}

/** Reports a report of what is held out that is missing or not what was written. */
export function checkHeldOut(
  corpus: string,
  record: Pick<CorpusRecord, "get">,
  problems: string[],
): void {
  reportRecorded(record, "contamination", contaminationPath(corpus), problems);
  reportRecorded(record, "duplicates", duplicatesPath(corpus), problems);
}

function reportRecorded(
  record: Pick<CorpusRecord, "get">,
  name: RecordedFile,
  path: string,
  problems: string[],
): void {
  const state = stateOfRecorded(record, name, path);
  if (state === "missing") problems.push(`${path} is missing`);
  if (state === "changed") problems.push(`${path} is not what was written`);
  if (state === "unknown") {
    problems.push(`${path} was not recorded; "pipeline run" records it`);
  }
}

/** Reports a file that a run makes again, where it is missing or has another hash. */
export function checkHash(
  path: string,
  expected: string,
  { problems, renewable }: Findings,
  algorithm: "sha256" | "md5" = "sha256",
): void {
  if (!exists(path)) problems.push(`${path} is missing`);
  else if (hashFile(path, algorithm) !== expected) problems.push(`${path} is not what was written`);
  else return;
  renewable.push(path);
}

function checkRejects(corpus: string, file: FileRow, found: Findings): void {
  const path = corpusPaths.rejected(corpus, file.name);
  const { problems, renewable } = found;
  const { rejected_sha256: hash } = file;
  if (hash === "" && exists(path)) {
    problems.push(`${path} is there though nothing was dropped`);
    renewable.push(path);
  } else if (hash) checkHash(path, hash, found);
  if (hash !== null) return;
  // A file of an older version, which kept counts alone.
  const listed: Record<string, number> = {};
  const lines = exists(path) ? Deno.readTextFileSync(path).split("\n") : [];
  for (const line of lines) {
    const reason = /"reason":"([^"]*)"/.exec(line)?.[1];
    if (reason !== undefined) listed[reason] = (listed[reason] ?? 0) + 1;
  }
  const expected = droppedOf(file);
  for (const reason of new Set([...Object.keys(listed), ...Object.keys(expected)])) {
    const [a, b] = [listed[reason] ?? 0, expected[reason] ?? 0];
    if (a !== b) problems.push(`${path} lists ${a} records dropped as ${reason}, not ${b}`);
  }
}

function checkRaw(corpus: string, file: FileRow, found: Findings): void {
  checkHash(join(corpusPaths.raw(corpus), fileName(file.name)), file.md5, found, "md5");
}

/**
 * Checks the shards against their manifest, and the manifest against the corpus's record and its
 * source files; returns how many shards there are.
 */
export async function checkShards(
  corpus: string,
  record: Pick<CorpusRecord, "get">,
  files: { name: string; md5: string }[],
  found: Findings,
  signal?: AbortSignal,
): Promise<number> {
  const { problems, renewable } = found;
  const path = manifestPath(corpus);
  const before = problems.length;
  reportRecorded(record, "manifest", path, problems);
  if (problems.length > before) renewable.push(path);
  if (exists(unfinishedPath(corpus))) {
    problems.push('the shards are not finished; "pipeline run" goes on with them');
  }
  if (!exists(path)) return 0;
  let manifest: Manifest;
  try {
    manifest = readManifest(corpus);
  } catch (error) {
    problems.push(messageOf(error));
    return 0;
  }
  try {
    return await checkManifest(corpus, manifest, files, found, signal);
  } catch (error) {
    if (error instanceof Interrupted) throw error;
    // A manifest whose damage left it JSON can say anything.
    if (problems.length === before) throw error;
    return 0;
  }
}

async function checkManifest(
  corpus: string,
  manifest: Manifest,
  files: { name: string; md5: string }[],
  found: Findings,
  signal?: AbortSignal,
): Promise<number> {
  const { problems } = found;
  const sources = (list: { name: string; md5: string }[]) =>
    list.map((s) => `${s.name} ${s.md5}`).sort().join("\n");
  if (sources(manifest.sources) !== sources(files)) {
    problems.push(
      "the shards were not made from the files that the corpus lists; run the pipeline again",
    );
  }
  let count = 0;
  for (const [split, { shards, rows, documents, tokens }] of Object.entries(manifest.splits)) {
    for (const { tokens_file, documents_file } of shards) {
      await breathe();
      if (signal?.aborted) throw new Interrupted("Stopped");
      for (const { path, sha256 } of [tokens_file, documents_file]) {
        checkHash(join(shardsFolder(corpus), path), sha256, found);
      }
      count++;
    }
    const sum = (of: (shard: typeof shards[number]) => number) =>
      shards.reduce((total, shard) => total + of(shard), 0);
    const sums = [sum((s) => s.rows), sum((s) => s.documents), sum((s) => s.tokens)];
    if (sums.join() !== [rows, documents, tokens].join()) {
      problems.push(`the manifest's sums of ${split} are wrong`);
    }
  }
  return count;
}

/** Removes a file of the pipeline's; false where it is not there or is not one. */
export function removeOwn(corpus: string, path: string): boolean {
  const inside = relative(corpus, path).replaceAll("\\", "/");
  const folder = dirname(inside);
  if (!isOwnFile(folder === "." ? "" : folder, basename(inside)) || !exists(path)) return false;
  removeIfExists(path);
  return true;
}

/** What a repair did. */
export interface Repair {
  /** Files that were removed, to be made again. */
  removed: string[];
}

/**
 * Removes the files of a corpus of PubMed that are damaged and that a run makes again, and notes in
 * the catalogue that they are gone. The next `pipeline run` or `refresh` makes them, to the same bytes:
 * documents and rejects from their source file, tokens from documents, shards from tokens.
 * @throws {CorpusBusy} where another process is at work on the corpus
 */
export function repairCorpus(
  folder: string,
  { renewable }: Pick<Verification, "renewable">,
): Repair {
  const corpus = new Corpus(folder);
  const removed: string[] = [];
  try {
    const { catalogue } = corpus;
    const damaged = new Set(renewable);
    const remove = (path: string) => {
      if (!removeOwn(folder, path)) return;
      removed.push(path);
    };
    for (const file of catalogue.files()) {
      const documents = corpusPaths.documents(folder, file.name);
      const tokens = corpusPaths.tokens(folder, file.name);
      const rejected = corpusPaths.rejected(folder, file.name);
      const raw = join(corpusPaths.raw(folder), fileName(file.name));
      if (damaged.has(documents) || damaged.has(rejected)) {
        // Both come from the source file; without documents a run takes it again.
        remove(documents);
        remove(rejected);
      }
      if (damaged.has(tokens)) {
        remove(tokens);
        catalogue.forgetTokens(file.number);
      }
      if (damaged.has(raw)) {
        remove(raw);
        catalogue.forgetRaw(file.number);
      }
      for (const path of [documents, tokens, rejected, raw]) damaged.delete(path);
    }
    for (const path of damaged) remove(path);
    if (damaged.size > 0) catalogue.unset("shards");
    return { removed };
  } finally {
    corpus.close();
  }
}
