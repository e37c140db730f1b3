/**
 * A new year's baseline starts PubMed's series anew. The corpus of the new series is built in
 * `next-series/` of the corpus folder and takes the old one's place when it is whole; see
 * `series_swap.ts`.
 * @module
 */
import { exists } from "../core/files.ts";
import { resolve } from "../core/std.ts";
import type { Catalogue } from "./catalogue/catalogue.ts";
import { Corpus } from "./corpus.ts";
import { contaminationPath, corpusPaths, duplicatesPath, tokenizerPath } from "./corpus_paths.ts";
import { corpusSettings } from "./corpus_settings.ts";
import { writeRecorded } from "./recorded_files.ts";
import type { RunOptions } from "./ingest/run_options.ts";
import { heldOutGiven, markSeries, prepareNextSeries } from "./series_swap.ts";

/** The folder that a change of series needs: it happens in the corpus folder. */
export const seriesFolders = (corpus: string): string[] => [resolve(corpus)];

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
