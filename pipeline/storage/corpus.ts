/**
 * Corpora in S3-compatible storage. `storage.json` at the place lists every file with its size and
 * SHA-256; it is written last, so who reads it finds all that it names. Files come by the stream into
 * `NAME.partial`, go on after a break where they stopped, and get their names when their hashes are right.
 * @module
 */
import { dirname, join } from "../../core/std.ts";
import {
  exists,
  hashFile,
  openForReading,
  parseJson,
  PARTIAL_SUFFIX,
  removeIfExists,
  sha256,
  syncFolder,
  writeAtomic,
} from "../../core/files.ts";
import { Interrupted, UserError } from "../../core/errors.ts";
import { type Environment, ownCache } from "../../core/locations.ts";
import { CorpusBusy, holdFolder } from "../corpus.ts";
import { corpusPaths, isOwnFile, manifestPath, OWN_FOLDERS, textsPath } from "../corpus_paths.ts";
import { keepPinned, tokenizerPath } from "../shards/mod.ts";
import { BrokenRequest, Bucket } from "./bucket.ts";
import { isStorage, parseStorage, storageAccess } from "./credentials.ts";

const INDEX = "storage.json";
/** As the index has it. */
const MANIFEST = "shards/manifest.json";
/** SQLite's shared memory: whoever reads the catalogue changes it, and it says nothing. */
const SHARED_MEMORY = "catalogue.sqlite-shm";
const TRIES = 4;

/** A file in the storage. */
interface StoredFile {
  /** Below the corpus's folder, with "/". */
  path: string;
  bytes: number;
  sha256: string;
}

/** What `storage.json` says. */
interface StorageIndex {
  format: 1;
  files: StoredFile[];
}

/** How to move files. */
export interface TransferOptions {
  signal?: AbortSignal;
  /** Told of files done, of all. */
  onProgress?: (done: number, total: number) => void;
  log?: (message: string) => void;
}

/** What was moved. */
export interface TransferSummary {
  corpus: string;
  place: string;
  files: number;
  /** Files that were not there yet. */
  moved: number;
  bytes: number;
}

/** What of a corpus training and evaluation read. */
const isForReading = ({ path }: StoredFile): boolean =>
  /^(shards\/|tokenizer\.json$|contamination\.json$)/.test(path);

/**
 * Copies a corpus into the storage; what is there already stays.
 * @throws {UserError} where there is no corpus, or the storage refuses
 * @throws {CorpusBusy} where a command is changing the corpus
 * @throws {Interrupted} where the signal fires; the same call goes on
 */
export async function pushCorpus(
  corpus: string,
  place: string,
  get: Environment,
  { signal, onProgress }: TransferOptions = {},
): Promise<TransferSummary> {
  if (!exists(corpusPaths.catalogue(corpus)) && !exists(textsPath(corpus))) {
    throw new UserError(`Cannot push ${corpus}: it is no corpus; make one with "pipeline run"`);
  }
  const bucket = new Bucket(place, storageAccess(get), signal);
  using _unchanged = keepUnchanged(corpus);
  const files: StoredFile[] = [];
  const summary: TransferSummary = { corpus, place, files: 0, moved: 0, bytes: 0 };
  const paths = corpusFiles(corpus);
  for (const path of paths) {
    onProgress?.(files.length, paths.length);
    const at = join(corpus, path);
    const file: StoredFile = { path, bytes: Deno.statSync(at).size, sha256: hashFile(at) };
    const there = await bucket.stat(path);
    if (there?.size !== file.bytes || there.sha256 !== file.sha256) {
      await bucket.put(path, () => streamOf(at), { size: file.bytes, sha256: file.sha256 });
      summary.moved++;
      summary.bytes += file.bytes;
    }
    files.push(file);
  }
  const text = JSON.stringify({ format: 1, files }, null, 1) + "\n";
  if (await bucket.text(INDEX) !== text) {
    const size = new TextEncoder().encode(text).length;
    await bucket.put(INDEX, () => text, { size, sha256: sha256(text) });
  }
  onProgress?.(paths.length, paths.length);
  return { ...summary, files: files.length };
}

/** Every file of a corpus that belongs in the storage, in one order. */
function corpusFiles(corpus: string): string[] {
  const files: string[] = [];
  for (const folder of ["", ...OWN_FOLDERS]) {
    const at = join(corpus, folder);
    if (folder === "raw" || !exists(at)) continue;
    for (const { name, isFile } of Deno.readDirSync(at)) {
      const own = isFile && isOwnFile(folder, name) && !/\.(partial|blocks)$/.test(name) &&
        name !== SHARED_MEMORY;
      if (own) files.push(folder === "" ? name : `${folder}/${name}`);
    }
  }
  return files.sort();
}

/** Bytes of a file as a stream; an empty file too. */
function streamOf(path: string): ReadableStream<Uint8Array> | string {
  if (Deno.statSync(path).size === 0) return "";
  return openForReading(path, "file of the corpus", "run the same command again").readable;
}

/** Keeps other commands from changing a corpus while it is copied; needs no right to write. */
function keepUnchanged(corpus: string): Disposable {
  const path = corpusPaths.lock(corpus);
  if (!exists(path)) return { [Symbol.dispose]() {} };
  const file = Deno.openSync(path, { read: true });
  if (!file.tryLockSync(false)) {
    file.close();
    throw new CorpusBusy(
      `Cannot push ${corpus}: another process is changing it; wait until it is done`,
    );
  }
  return { [Symbol.dispose]: () => file.close() };
}

/**
 * Copies a corpus out of the storage; what is there already and whole stays.
 * @throws {UserError} where there is none, or the storage refuses, or a file is not what was pushed
 * @throws {CorpusBusy} where another process is at work on the folder
 * @throws {Interrupted} where the signal fires; the same call goes on
 */
export async function pullCorpus(
  place: string,
  corpus: string,
  get: Environment,
  options: TransferOptions = {},
): Promise<TransferSummary> {
  const bucket = new Bucket(place, storageAccess(get), options.signal);
  const index = await readIndex(bucket);
  const held = holdFolder(corpus);
  try {
    const summary = await takeFiles(bucket, corpus, index.files, options);
    // Without it the catalogue cannot be read where nothing may be written.
    const shared = join(corpus, SHARED_MEMORY);
    if (exists(corpusPaths.catalogue(corpus)) && !exists(shared)) writeAtomic(shared, "");
    return summary;
  } finally {
    held.release();
  }
}

/**
 * The folder to read a corpus from: the one named, or, where that is a place in the storage, a copy
 * of its shards in the program's own cache, brought up to date.
 * @throws {UserError} as {@linkcode pullCorpus}
 */
export async function localCorpus(
  place: string,
  get: Environment,
  options: TransferOptions = {},
): Promise<string> {
  if (!isStorage(place)) return place;
  const folder = corpusCache(place, get);
  const bucket = new Bucket(place, storageAccess(get), options.signal);
  const index = await readIndex(bucket);
  const files = index.files.filter(isForReading);
  if (!files.some(({ path }) => path === MANIFEST)) {
    throw new UserError(
      `Cannot read shards from ${place}: the corpus there has none; make them and push it again`,
    );
  }
  const held = await holdCache(folder, options);
  try {
    await takeFiles(bucket, folder, files, options);
  } finally {
    held.close();
  }
  return folder;
}

/** Where the copy of a corpus lies that is read from the storage. */
export function corpusCache(place: string, get: Environment): string {
  const { bucket, prefix } = parseStorage(place);
  const { endpoint } = storageAccess(get);
  const name = sha256(`${endpoint} ${bucket} ${prefix}`).slice(0, 16);
  const cache = ownCache(get);
  if (cache === undefined) {
    throw new UserError(
      `Cannot keep a copy of ${place}: no folder for it is known; set PUBMAMBA_CACHE to one`,
    );
  }
  return join(cache, "corpora", name);
}

/** How often it is looked whether another process is done with a copy. */
const WAIT_MILLISECONDS = 100;

/** Of commands that read the same corpus at once, as ranks do, one fetches it and the others wait. */
async function holdCache(
  folder: string,
  { signal, log }: TransferOptions,
): Promise<Deno.FsFile> {
  Deno.mkdirSync(folder, { recursive: true });
  const file = Deno.openSync(join(folder, ".lock"), { write: true, create: true });
  try {
    for (let tries = 0; !file.tryLockSync(true); tries++) {
      if (tries === 0) log?.(`Waiting for another process that brings ${folder} up to date`);
      if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
      await new Promise((resolve) => setTimeout(resolve, WAIT_MILLISECONDS));
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Shards that are about to become others stay for the runs that began with them. */
function keepForRuns(folder: string, files: readonly StoredFile[]): void {
  const manifest = manifestPath(folder);
  const next = files.find(({ path }) => path === MANIFEST);
  if (!next || !exists(manifest) || !exists(tokenizerPath(folder))) return;
  if (hashFile(manifest) !== next.sha256) keepPinned(folder);
}

async function readIndex(bucket: Bucket): Promise<StorageIndex> {
  const text = await bucket.text(INDEX);
  if (text === undefined) {
    throw new UserError(
      `Cannot find a corpus in ${bucket.place}: it has no ${INDEX}; put one there with "pipeline push"`,
    );
  }
  const index = parseJson<Partial<StorageIndex> | null>(text, `${bucket.place}/${INDEX}`);
  const isPath = (path: string) => {
    const cut = path.lastIndexOf("/");
    const folder = cut < 0 ? "" : path.slice(0, cut);
    return isOwnFile(folder, path.slice(cut + 1)) && !path.endsWith(PARTIAL_SUFFIX);
  };
  const bad = index?.files?.find(({ path }) => !isPath(path))?.path;
  if (index?.format !== 1 || !Array.isArray(index.files) || bad !== undefined) {
    throw new UserError(
      `Cannot use ${bucket.place}/${INDEX}: ` +
        (bad === undefined ? "its format is unknown" : `it names "${bad}", no file of a corpus`) +
        '; push the corpus again with "pipeline push"',
    );
  }
  return index as StorageIndex;
}

/** Brings files, and takes away what the storage has not; the manifest goes first and comes last. */
async function takeFiles(
  bucket: Bucket,
  folder: string,
  files: StoredFile[],
  { signal, onProgress }: TransferOptions,
): Promise<TransferSummary> {
  const summary = { corpus: folder, place: bucket.place, files: files.length, moved: 0, bytes: 0 };
  const isWhole = ({ path, bytes, sha256 }: StoredFile) => {
    const at = join(folder, path);
    return exists(at) && Deno.statSync(at).size === bytes && hashFile(at) === sha256;
  };
  keepForRuns(folder, files);
  const missing = files.filter((file) => !isWhole(file));
  if (missing.length > 0) removeIfExists(manifestPath(folder));
  const last = (file: StoredFile) => Number(file.path === MANIFEST);
  const waiting = files.filter((file) => missing.includes(file) || last(file) && missing.length > 0)
    .sort((a, b) => last(a) - last(b));
  for (const file of waiting) {
    onProgress?.(summary.moved, waiting.length);
    if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
    await takeFile(bucket, folder, file, signal);
    summary.moved++;
    summary.bytes += file.bytes;
  }
  const named = new Set(files.map(({ path }) => path));
  for (const path of corpusFiles(folder)) {
    if (path.startsWith("shards/") && !named.has(path)) removeIfExists(join(folder, path));
  }
  onProgress?.(waiting.length, waiting.length);
  return summary;
}

/** Brings one file, from where an earlier try stopped. */
async function takeFile(
  bucket: Bucket,
  folder: string,
  { path, bytes, sha256: hash }: StoredFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const to = join(folder, path);
  const partial = to + PARTIAL_SUFFIX;
  Deno.mkdirSync(dirname(to), { recursive: true });
  for (let tries = 1;; tries++) {
    const there = exists(partial) ? Deno.statSync(partial).size : 0;
    const from = there <= bytes ? there : 0;
    try {
      if (from < bytes || bytes === 0) {
        await appendStream(bucket, path, partial, from, bytes, signal);
      }
    } catch (error) {
      if (!(error instanceof BrokenRequest) || tries >= TRIES) throw error;
      continue;
    }
    if (hashFile(partial) === hash) break;
    removeIfExists(partial);
    // What lay there may have been of an older issue of the file; what was read from its start is not.
    if (from === 0) {
      throw new UserError(
        `Cannot use ${path} in ${bucket.place}: it is not what was pushed; run the same command again ` +
          'if the corpus is being pushed now, or push it again with "pipeline push"',
      );
    }
  }
  Deno.renameSync(partial, to);
  syncFolder(dirname(to));
}

async function appendStream(
  bucket: Bucket,
  path: string,
  partial: string,
  from: number,
  bytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = Deno.openSync(partial, { write: true, create: true });
  let at = from;
  try {
    file.truncateSync(from);
    file.seekSync(from, Deno.SeekMode.Start);
    if (bytes === 0) return;
    const stream = await bucket.stream(path, from);
    try {
      for await (const chunk of stream) {
        if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
        for (let done = 0; done < chunk.length;) done += file.writeSync(chunk.subarray(done));
        at += chunk.length;
      }
    } catch (error) {
      throw bucket.explain(`read ${path} in`, error);
    }
    file.syncSync();
  } finally {
    file.close();
  }
  if (at < bytes) {
    throw new BrokenRequest(
      `Cannot read ${path} in ${bucket.place}: it ended after ${at} of ${bytes} bytes; run the same ` +
        "command again, which goes on from here",
    );
  }
}
