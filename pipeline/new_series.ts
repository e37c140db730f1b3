/**
 * A new year's baseline starts PubMed's series anew. The corpus of the new series is built beside
 * the old one and takes its place in one rename, so that there is always a whole corpus.
 * @module
 */
import { dirname, resolve } from "../core/std.ts";
import { exists, removeIfExists, syncFolder, writeAtomic } from "../core/files.ts";
import type { Catalogue } from "./catalogue/catalogue.ts";
import type { FieldSelection } from "./citation/elements.ts";
import type { Policies } from "./ingest/policy.ts";
import { corpusPaths } from "./ingest/process_file.ts";
import type { RunOptions } from "./run.ts";
import { contaminationPath } from "./overlap/contamination.ts";
import { type PackingMethod, tokenizerPath } from "./shards/mod.ts";

/** The source has a later series than the corpus; caught by the run, which then builds anew. */
export class NewSeries extends Error {
  override name = "NewSeries";
  constructor(readonly known: number, readonly offered: number) {
    super(`The source has the series of 20${offered}, the corpus that of 20${known}`);
  }
}

/** Where the corpus of a new series is built. */
export const besides = (corpus: string): string => resolve(corpus) + ".next";
const replaced = (corpus: string): string => resolve(corpus) + ".old";

/** The folders that a change of series needs: the corpus, the new one beside it, the old one. */
export const seriesFolders = (corpus: string): string[] => [
  resolve(corpus),
  besides(corpus),
  replaced(corpus),
];

/** Options that build the same corpus again in another folder. */
export function sameSettings(
  { folder, catalogue }: { folder: string; catalogue: Catalogue },
  options: RunOptions,
): RunOptions {
  const number = (key: string) => {
    const value = catalogue.get(key);
    return value === undefined
      ? {}
      : { [key === "sequence_length" ? "sequenceLength" : key]: Number(value) };
  };
  const policies: Record<string, string | number> = {};
  for (const key of ["retracted", "errata", "replies", "noAbstract", "nonEnglish"]) {
    policies[key] = catalogue.get(`policy.${key}`)!;
  }
  policies.minCharacters = Number(catalogue.get("policy.minCharacters"));
  return {
    ...options,
    corpus: besides(folder),
    source: options.source ?? catalogue.get("source")!,
    fields: catalogue.get("fields") as FieldSelection,
    policies: policies as unknown as Policies,
    packing: catalogue.get("packing") as PackingMethod | undefined ?? "best-fit",
    ...(exists(tokenizerPath(folder)) ? { tokenizer: tokenizerPath(folder) } : {}),
    ...{
      ...number("sequence_length"),
      ...number("seed"),
      ...number("validation"),
      ...number("test"),
    },
  };
}

/** What is held out of the old corpus stays held out of the new: its report goes along. */
export function carryHeldOut(corpus: string): void {
  const path = contaminationPath(corpus);
  if (exists(path)) writeAtomic(contaminationPath(besides(corpus)), Deno.readFileSync(path));
}

/** Puts the corpus that was built beside `corpus` in its place. Both must be closed. */
export function swapIn(corpus: string): void {
  const path = resolve(corpus);
  Deno.renameSync(path, replaced(corpus));
  finishSwap(corpus);
}

/** Ends a swap that was cut short; nothing where there was none. */
export function finishSwap(corpus: string): void {
  const path = resolve(corpus), old = replaced(corpus), next = besides(corpus);
  if (!exists(old)) return;
  if (!exists(corpusPaths.catalogue(path))) {
    // Only the lock of a process that came too early can be here.
    removeIfExists(path, { recursive: true });
    Deno.renameSync(exists(corpusPaths.catalogue(next)) ? next : old, path);
    syncFolder(dirname(path));
  }
  removeIfExists(old, { recursive: true });
}
