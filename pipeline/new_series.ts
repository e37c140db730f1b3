/**
 * A new year's baseline starts PubMed's series anew. The corpus of the new series is built in
 * `next-series/` of the corpus folder and takes the old one's place when it is whole; see
 * `series_swap.ts`.
 * @module
 */
import { UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { resolve } from "../core/std.ts";
import type { Catalogue } from "./catalogue/catalogue.ts";
import { Corpus } from "./corpus.ts";
import { contaminationPath, corpusPaths, duplicatesPath, tokenizerPath } from "./corpus_paths.ts";
import { corpusSettings } from "./corpus_settings.ts";
import { writeRecorded } from "./recorded_files.ts";
import type { RunOptions } from "./run.ts";
import { heldOutGiven, markSeries, prepareNextSeries } from "./series_swap.ts";

/** A new baseline with less than this share of the old one's files is taken for half uploaded. */
const WHOLE_BASELINE = 0.95;

/** The source has a later series than the corpus; caught by the run, which then builds anew. */
export class NewSeries extends Error {
  override name = "NewSeries";
  constructor(readonly known: number, readonly offered: number) {
    super(`The source has the series of 20${offered}, the corpus that of 20${known}`);
  }
}

/** The folder that a change of series needs: it happens in the corpus folder. */
export const seriesFolders = (corpus: string): string[] => [resolve(corpus)];

/**
 * Checks that a new year's baseline is there in full, as far as the old one tells: baselines grow
 * from year to year.
 * @param known the year and the number of baseline files of the corpus
 * @param offered those of the source
 * @throws {UserError} where it has far fewer files
 */
export function checkNewBaseline(
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

/** Options that build the same corpus again in the folder of the new series. */
export function sameSettings(
  { folder, catalogue }: { folder: string; catalogue: Catalogue },
  options: RunOptions,
): RunOptions {
  const source = options.source ?? catalogue.get("source");
  const tokenized = catalogue.get("tokenizer_sha256") !== undefined;
  return {
    ...options,
    ...corpusSettings(folder, catalogue),
    corpus: corpusPaths.nextSeries(folder),
    ...(source === undefined ? {} : { source }),
    ...(tokenized && exists(tokenizerPath(folder)) ? { tokenizer: tokenizerPath(folder) } : {}),
  };
}

/**
 * Makes the folder of the new series. What is held out of the old corpus stays held out of the new:
 * its report goes along.
 * @throws {UserError} where something is in the way
 */
export function beginNewSeries(corpus: Corpus): string {
  corpus.checkHeldOut();
  const next = prepareNextSeries(corpus.folder);
  const reports = [
    { name: "contamination", path: contaminationPath },
    { name: "duplicates", path: duplicatesPath },
  ] as const;
  const recorded = reports.flatMap((report) => {
    const hash = corpus.catalogue.get(`${report.name}_sha256`);
    return hash === undefined ? [] : [{ ...report, hash }];
  });
  const hash = recorded.map((report) => report.hash).join(" ");
  if (hash === "" || heldOutGiven(next) === hash) return next;
  const inner = new Corpus(next);
  try {
    for (const { name, path } of recorded) {
      const text = Deno.readTextFileSync(path(corpus.folder));
      writeRecorded(inner.catalogue, name, path(next), text);
    }
  } finally {
    inner.close();
  }
  markSeries(next, hash);
  return next;
}
