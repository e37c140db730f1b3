/** `reports/part-2-of-8.json`: that a part is done, and what it saw and made. @module */
import { UserError } from "../../core/errors.ts";
import { exists, readJson, writeAtomic } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { type PartFolder, partPaths } from "./folder.ts";
import { differenceOf, type PartJob } from "./job.ts";
import type { Part } from "./part.ts";

/** What a part says of itself at its end. */
export interface PartReport extends Part {
  format: 1;
  job: PartJob;
  /** The series, two digits; 0 for texts. */
  year: number;
  /** The files of the series' baseline that the source had. */
  baseline_files: number;
  /** The numbers of all files that the source offered, this part's share and the others'. */
  offered: number[];
  /** What the part made, by its own listing of the source, in order. */
  files: { name: string; md5: string }[];
  /** Files whose stamp changed though their content did not. */
  restamped: { number: number; stamp: string }[];
}

/** Writes a part's report; the last thing that a part does. */
export function writeReport(corpus: string, folder: PartFolder, report: PartReport): void {
  const path = join(folder.work, "report.json");
  writeAtomic(path, JSON.stringify(report) + "\n");
  folder.place(path, partPaths.report(corpus, report.part, report.parts));
}

/** Parts as a sentence lists them: at most so many by name. */
const NAMED = 20;

/**
 * The reports of all parts.
 * @throws {UserError} naming the parts that are missing or of another job
 */
export function readReports(corpus: string, job: PartJob): PartReport[] {
  const folder = partPaths.reports(corpus);
  const names = exists(folder) ? [...Deno.readDirSync(folder)].map(({ name }) => name) : [];
  const other = names.map((name) => /^part-\d+-of-(\d+)\.json$/.exec(name)?.[1])
    .find((parts) => parts !== undefined && Number(parts) !== job.parts);
  if (other !== undefined) {
    throw new UserError(
      `Cannot finish ${corpus}: it holds parts of ${other} and parts of ${job.parts}; remove ` +
        `${join(folder, "..")} and run all parts of one number again`,
    );
  }
  const all = Array.from({ length: job.parts }, (_, i) => i + 1);
  const missing = all.filter((part) => !exists(partPaths.report(corpus, part, job.parts)));
  if (missing.length > 0) {
    const list = missing.slice(0, NAMED).map((part) => `${part}/${job.parts}`).join(", ");
    const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : "";
    throw new UserError(
      `Cannot finish ${corpus}: ${missing.length === 1 ? "part" : "parts"} ${list}${more} of it ` +
        `${missing.length === 1 ? "is" : "are"} not done; run "pipeline run --part ${missing[0]}/` +
        `${job.parts}" with the options of the others`,
    );
  }
  return all.map((part) => {
    const path = partPaths.report(corpus, part, job.parts);
    const report = readJson<PartReport>(path, "report of a part");
    const difference = report?.format === 1 ? differenceOf(report.job, job) : "it is damaged";
    if (difference === undefined) return report;
    throw new UserError(
      `Cannot finish ${corpus}: ${path} does not fit the other parts: ${difference}; remove it and ` +
        `run part ${part}/${job.parts} again with the options of the others`,
    );
  });
}
