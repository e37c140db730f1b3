/**
 * What the parts of one job agree on: the source, the settings, the tokenizer and the program. The
 * first part to come writes it down; a part of another job is refused and changes nothing.
 * @module
 */
import project from "../../deno.json" with { type: "json" };
import { UserError } from "../../core/errors.ts";
import { exists, readJson, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { optionOf } from "../corpus_settings.ts";
import { DOCUMENTS_SCHEMA_VERSION } from "../documents/schema.ts";
import { PIPELINE_VERSION } from "../shards/mod.ts";
import { type PartFolder, partPaths } from "./folder.ts";

/** What a corpus is made of. */
export type JobKind = "PubMed" | "texts";

/** What all parts agree on. */
export interface PartJob {
  format: 1;
  /** Of the program: its own, that of its shards and that of its documents. */
  program: string;
  kind: JobKind;
  /** How many parts there are. */
  parts: number;
  /** The folder or URL. */
  source: string;
  /** The selection of `--files`; "" for all. */
  files: string;
  /** "" where there is none. */
  tokenizer_sha256: string;
  /** By the names that options have in the program: seed, validation, minCharacters and so on. */
  settings: Record<string, string | number>;
  /** The files of a folder of texts, in order; none for PubMed's, whose names have numbers. */
  names: string[];
}

/** The version of everything that decides a part's bytes. */
export const PROGRAM =
  `pubmamba ${project.version}, shards ${PIPELINE_VERSION}, documents ${DOCUMENTS_SCHEMA_VERSION}`;

/** Reads the job; undefined where no part was begun. @throws {UserError} where it is damaged */
export function readJob(corpus: string): PartJob | undefined {
  const path = partPaths.job(corpus);
  if (!exists(path)) return undefined;
  const job = readJson<Partial<PartJob> | null>(path, "record of a job in parts");
  if (job?.format === 1 && typeof job.parts === "number" && job.settings && job.names) {
    return job as PartJob;
  }
  throw new UserError(
    `Cannot use ${path}: it is damaged or of another version of the program; remove the folder ` +
      `${join(path, "..")} and run all parts again`,
  );
}

/**
 * Joins the job in a corpus folder, or begins it. Of parts that begin at once the first wins.
 * @returns the job as it is written down; `names` are those that the first part saw
 * @throws {UserError} where it is another job
 */
export function joinJob(corpus: string, folder: PartFolder, own: PartJob): PartJob {
  if (!exists(partPaths.job(corpus))) beginJob(corpus, folder, own);
  const job = readJob(corpus);
  if (!job) throw new Error(`${partPaths.job(corpus)} vanished`);
  const difference = differenceOf(job, own);
  if (difference === undefined) return job;
  throw new UserError(
    `Cannot work on a part of ${corpus}: ${difference}; run every part with the same options, or end ` +
      `the other job with "pipeline finish", or remove ${join(partPaths.job(corpus), "..")} first`,
  );
}

/** A second name for a whole file is made at once or not at all, and never over another's. */
function beginJob(corpus: string, folder: PartFolder, job: PartJob): void {
  const path = join(folder.work, "job.json");
  writeAtomic(path, JSON.stringify(job, null, 1) + "\n");
  try {
    Deno.linkSync(path, partPaths.job(corpus));
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists || exists(partPaths.job(corpus))) return;
    // A file system without second names.
    folder.place(path, partPaths.job(corpus));
  }
}

/** In what two jobs differ, as a part of a sentence; undefined where they are the same. */
export function differenceOf(there: PartJob, here: PartJob): string | undefined {
  const differs = (what: string, a: string | number, b: string | number) =>
    a === b ? undefined : `${what} is ${a || "none"} in what lies there and ${b || "none"} here`;
  const settings = Object.keys({ ...there.settings, ...here.settings }).map((key) =>
    differs(optionOf(key), there.settings[key] ?? "", here.settings[key] ?? "")
  );
  return [
    differs("the number of parts", there.parts, here.parts),
    differs("the program's version", there.program, here.program),
    differs("what is in the source", there.kind, here.kind),
    differs("the tokenizer's SHA-256", there.tokenizer_sha256, here.tokenizer_sha256),
    differs("--source", there.source, here.source),
    differs("--files", there.files, here.files),
    ...settings,
  ].find((difference) => difference !== undefined);
}
