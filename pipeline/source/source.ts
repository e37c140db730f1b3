/**
 * Where PubMed files come from: what a folder and an HTTP mirror have in common. Both are laid out as
 * NLM's server; `open.ts` opens either.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { resolve } from "../../core/std.ts";
import type { Folder, PubmedName } from "./names.ts";

/** A file that a source offers. */
export interface SourceFile extends PubmedName {
  folder: Folder;
  /** With extension. */
  fileName: string;
  /** Size and date as the source gives them: another stamp means that the file may be another. */
  stamp: string;
}

/** Hears how many bytes of a file are here, and of how many. */
export type OnBytes = (size: number, total: number | undefined) => void;

/** A place with PubMed files. */
export interface Source {
  /** The folder or URL, for messages. */
  readonly place: string;
  /** True where obtaining a file copies it. */
  readonly remote: boolean;
  /** All files, in any order. @throws {UserError} where there are none. */
  list(signal?: AbortSignal): Promise<SourceFile[]>;
  /** The MD5 of a file in hex, as its `.md5` file says. */
  md5(file: SourceFile, signal?: AbortSignal): Promise<string>;
  /**
   * Brings a file with this MD5 to this machine.
   * @param folder where to put it, if it has to be copied
   * @param onBytes told of a download's size so far, and of the whole where the server says it
   * @returns its path; checked against `md5` if it was copied.
   */
  obtain(
    file: SourceFile,
    md5: string,
    folder: string,
    signal?: AbortSignal,
    onBytes?: OnBytes,
  ): Promise<string>;
}

/** The place as it is recorded: a folder in full, so that a later run may start anywhere. */
export const placeOf = (place: string): string =>
  /^[a-z][a-z0-9+.-]+:\/\//i.test(place) ? place : resolve(place);

/** A place as people may see it: without the user and password that a URL can hold. */
export const shownPlace = (place: string): string =>
  place.replace(/^([a-z][a-z0-9+.-]+:\/\/)[^/?#]*@/i, "$1");

/** A URL without user and password, and the header that says them; "" where there are none. */
export function splitUser(place: string): { place: string; authorization: string } {
  const url = new URL(place);
  const user = [url.username, url.password].map(decodeURIComponent);
  if (user.join("") === "") return { place, authorization: "" };
  url.username = "";
  url.password = "";
  const bytes = new TextEncoder().encode(user.join(":"));
  return { place: url.href, authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

/** Reads `MD5(name)= hex`, `hex  name` or a bare `hex`; undefined where there is none. */
export function parseMd5(text: string): string | undefined {
  return /(?:^|[=\s])([0-9a-f]{32})(?:\s|$)/i.exec(text)?.[1]?.toLowerCase();
}

/**
 * The files of the newest year, in numeric order; the same number in both folders is the baseline's
 * when the other is gone from the updates, so it is refused instead of guessed.
 * @throws {UserError} where a number is offered twice.
 */
export function newestSeries(place: string, files: SourceFile[]): SourceFile[] {
  const year = files.reduce((newest, f) => Math.max(newest, f.year), -1);
  const mixed = files.find((f) => f.folder === "baseline" && f.year !== year);
  if (mixed && files.some((f) => f.folder === "baseline" && f.year === year)) {
    throw new UserError(
      `Cannot use ${place}: its baseline changes from the series of 20${mixed.year} to that of ` +
        `20${year}; run the same command when it holds one of them only`,
    );
  }
  const series = files.filter((f) => f.year === year).sort((a, b) => a.number - b.number);
  for (const [i, b] of series.entries()) {
    const a = series[i - 1];
    if (a?.number === b.number) {
      throw new UserError(
        `Cannot use ${place}: file ${a.number} is there twice, as ${a.folder}/${a.fileName} and ` +
          `${b.folder}/${b.fileName}; remove one`,
      );
    }
  }
  return series;
}
