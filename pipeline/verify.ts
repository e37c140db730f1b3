/**
 * `pipeline verify`: hashes every file of a corpus again and counts everything again.
 * @module
 */
import { join } from "../core/std.ts";
import { exists, hashFile } from "../core/files.ts";
import { Interrupted, messageOf } from "../core/errors.ts";
import type { Catalogue, FileRow } from "./catalogue/catalogue.ts";
import { corpusPaths } from "./ingest/process_file.ts";
import { readEvents } from "./ingest/rebuild.ts";
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
}

/** Checks a corpus. @throws {Interrupted} where the signal fires. */
export async function verifyCorpus(
  corpus: string,
  catalogue: Catalogue,
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<Verification> {
  const files = catalogue.files(), problems: string[] = [];
  const broken = catalogue.check();
  if (broken) problems.push(`the catalogue is damaged: ${broken}`);
  let documents = 0, current = 0;
  for (const [i, file] of files.entries()) {
    if (options.signal?.aborted) throw new Interrupted("Stopped");
    const found = await checkFile(corpus, catalogue, file, problems);
    documents += found.documents;
    current += found.current;
    options.onProgress?.(i + 1, files.length);
  }
  const tokenizer = catalogue.get("tokenizer_sha256");
  if (tokenizer !== undefined) checkTokenizer(corpus, tokenizer, problems);
  const counts = catalogue.counts(), rows = catalogue.versionsHeld();
  if (current !== rows) {
    problems.push(
      `the catalogue points at ${rows} records, of which ${current} are in the documents`,
    );
  }
  if (documents !== counts.records) {
    problems.push(`the catalogue counts ${counts.records} documents, there are ${documents}`);
  }
  const shards = exists(manifestPath(corpus)) ? checkShards(corpus, files, problems) : 0;
  return { files: files.length, documents, shards, live: counts.live, problems };
}

async function checkFile(
  corpus: string,
  catalogue: Catalogue,
  file: FileRow,
  problems: string[],
): Promise<{ documents: number; current: number }> {
  checkHash(corpusPaths.documents(corpus, file.name), file.documents_sha256, problems);
  if (file.tokens_sha256) {
    checkHash(corpusPaths.tokens(corpus, file.name), file.tokens_sha256, problems);
  }
  checkRejects(corpus, file, problems);
  try {
    const events = await readEvents({ folder: corpus, catalogue }, file);
    const { pmids, versions, ordinals } = events;
    if (pmids.length !== file.documents) {
      problems.push(`${file.name} has ${pmids.length} documents, not ${file.documents}`);
    }
    let current = 0;
    for (let i = 0; i < pmids.length; i++) {
      const state = catalogue.stateOf(pmids[i]!, versions[i]!);
      const later = state && (state.file - file.number || state.ordinal - ordinals[i]!);
      if (later === undefined || later < 0) {
        problems.push(`PMID ${pmids[i]} version ${versions[i]} of ${file.name} is not catalogued`);
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

/** Reports a file that is missing or has another hash. */
export function checkHash(path: string, expected: string, problems: string[]): void {
  if (!exists(path)) problems.push(`${path} is missing`);
  else if (hashFile(path) !== expected) problems.push(`${path} is not what was written`);
}

function checkRejects(corpus: string, file: FileRow, problems: string[]): void {
  const path = corpusPaths.rejected(corpus, file.name), found: Record<string, number> = {};
  const lines = exists(path) ? Deno.readTextFileSync(path).split("\n") : [];
  for (const line of lines) {
    const reason = /"reason":"([^"]*)"/.exec(line)?.[1];
    if (reason !== undefined) found[reason] = (found[reason] ?? 0) + 1;
  }
  const expected = JSON.parse(file.counts) as Record<string, number>;
  for (const reason of new Set([...Object.keys(found), ...Object.keys(expected)])) {
    const [a, b] = [found[reason] ?? 0, expected[reason] ?? 0];
    if (a !== b) problems.push(`${path} lists ${a} records dropped as ${reason}, not ${b}`);
  }
}

/**
 * Checks the shards against their manifest, and the manifest against the source files; returns how
 * many shards there are.
 */
export function checkShards(
  corpus: string,
  files: { name: string; md5: string }[],
  problems: string[],
): number {
  let manifest: Manifest;
  try {
    manifest = readManifest(corpus);
  } catch (error) {
    problems.push(messageOf(error));
    return 0;
  }
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
      for (const { path, sha256 } of [tokens_file, documents_file]) {
        checkHash(join(shardsFolder(corpus), path), sha256, problems);
      }
      count++;
    }
    const sums = shards.reduce(
      (s, x) => [s[0]! + x.rows, s[1]! + x.documents, s[2]! + x.tokens],
      [0, 0, 0],
    );
    if (sums.join() !== [rows, documents, tokens].join()) {
      problems.push(`the manifest's sums of ${split} are wrong`);
    }
  }
  return count;
}
