/**
 * The names of PubMed's bulk files, and the selection of files by number.
 * @module
 */
import { UsageError } from "../../core/errors.ts";

/** The folders of NLM's server, in the order they are applied. */
export const FOLDERS = ["baseline", "updatefiles"] as const;
/** One of {@linkcode FOLDERS}. */
export type Folder = typeof FOLDERS[number];

/** A PubMed file by its name. */
export interface PubmedName {
  /** Without extension: "pubmed26n0001"; names the file's documents, tokens and rejects too. */
  source: string;
  /** Two digits of the year the series started, as a number. */
  year: number;
  /** Its place in the series. */
  number: number;
}

/**
 * Reads a file name such as "pubmed26n0001.xml.gz"; undefined for anything else. Nothing that is
 * not of this form ever becomes a path, so a mirror cannot make the pipeline write elsewhere.
 */
export function parseName(fileName: string): PubmedName | undefined {
  const match = /^(pubmed(\d\d)n(\d{4,6}))\.xml\.gz$/.exec(fileName);
  if (!match) return undefined;
  const [, source = "", year, number] = match;
  return { source, year: Number(year), number: Number(number) };
}

/** The name of a source's file on the mirror. */
export const fileName = (source: string): string => `${source}.xml.gz`;

/**
 * Reads a selection such as "1-12,14" and returns its test.
 * @throws {UsageError} naming the part that cannot be read.
 */
export function parseSelection(text: string | undefined): (number: number) => boolean {
  if (text === undefined) return () => true;
  const ranges = text.split(",").map((part) => {
    const match = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (!match || from > to) {
      throw new UsageError(
        `Option --files is "${text}": "${part.trim()}" is no file number and no range such as 1-12`,
      );
    }
    return [from, to] as const;
  });
  return (number) => ranges.some(([from, to]) => number >= from && number <= to);
}

/** What a call says of the files to take, and what an earlier one chose. */
export interface FileChoice {
  /** The option `--files`: a selection, or "all". */
  files?: string | undefined;
  /** The command's name; "refresh" keeps to what was chosen before. */
  command?: string | undefined;
  log?: ((message: string) => void) | undefined;
}

/**
 * The selection of files that a call takes; undefined for all of them. A refresh keeps to those that
 * a run chose.
 * @param before what the run before chose, as the corpus has it
 */
export function chosenFiles(
  { files, command, log }: FileChoice,
  before: string | undefined,
): string | undefined {
  if (files !== undefined) return files === "all" ? undefined : files;
  if (command !== "refresh") return undefined;
  if (before !== undefined) {
    log?.(
      `Keeping to the files ${before}, which "pipeline run --files" chose; --files all takes every file`,
    );
  }
  return before;
}
