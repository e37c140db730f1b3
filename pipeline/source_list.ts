/**
 * `source-files.json`: which source files a corpus has and how it was made, for programs that may
 * not open its catalogue. Parts of a refresh on many machines read it to see what there is to do.
 * The catalogue decides: an entry that is out of date costs a file's work twice, and nothing else.
 * @module
 */
import { UserError } from "../core/errors.ts";
import { exists, readJson, sha256, writeAtomic } from "../core/files.ts";
import type { Catalogue, FileRow } from "./catalogue/catalogue.ts";
import { sourceListPath } from "./corpus_paths.ts";
import { PACKING_KEYS, POLICY_KEYS } from "./corpus_settings.ts";

/** What is said of a source file. */
export type ListedFile = Pick<
  FileRow,
  "number" | "name" | "folder" | "md5" | "stamp" | "rejected_sha256"
>;

/** The file's contents. */
export interface SourceList {
  format: 1;
  /** The catalogue's settings by their names there: source, year, fields, seed and so on. */
  settings: Record<string, string>;
  /** In numeric order. */
  files: ListedFile[];
}

/** The catalogue's settings that a part needs. */
const SETTINGS: readonly string[] = [
  "source",
  "year",
  "baseline_files",
  "files_chosen",
  "fields",
  "tokenizer_sha256",
  ...POLICY_KEYS.map((key) => `policy.${key}`),
  ...Object.values(PACKING_KEYS),
];

/** Writes what the catalogue says, where the file does not say it yet. */
export function writeSourceList(
  corpus: string,
  catalogue: Pick<Catalogue, "files" | "get" | "set">,
): void {
  const settings: Record<string, string> = {};
  for (const key of SETTINGS) {
    const value = catalogue.get(key);
    if (value !== undefined) settings[key] = value;
  }
  const files = catalogue.files().map(
    ({ number, name, folder, md5, stamp, rejected_sha256 }): ListedFile => ({
      number,
      name,
      folder,
      md5,
      stamp,
      rejected_sha256,
    }),
  );
  const list: SourceList = { format: 1, settings, files };
  const text = sealed(list);
  const path = sourceListPath(corpus);
  if (!exists(path) || Deno.readTextFileSync(path) !== text) writeAtomic(path, text);
  if (catalogue.get(WRITTEN) === undefined) catalogue.set(WRITTEN, "1");
}

/** In the catalogue once there is a list: its loss is noticed then. */
const WRITTEN = "source_list";

const sealed = (list: SourceList): string =>
  JSON.stringify({ ...list, sha256: sha256(JSON.stringify(list)) }) + "\n";

/** What is wrong with a corpus's list, which may be older than the catalogue; undefined where nothing is. */
export function sourceListProblem(
  corpus: string,
  catalogue: Pick<Catalogue, "get">,
): string | undefined {
  const path = sourceListPath(corpus);
  if (!exists(path)) return catalogue.get(WRITTEN) === undefined ? undefined : `${path} is missing`;
  try {
    const list = readSourceList(corpus);
    if (list && Deno.readTextFileSync(path) === sealed(list)) return undefined;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return `${path} is not what was written`;
}

/**
 * Reads the list; undefined where there is none.
 * @throws {UserError} where it is damaged
 */
export function readSourceList(corpus: string): SourceList | undefined {
  const path = sourceListPath(corpus);
  if (!exists(path)) return undefined;
  const read = readJson<Partial<SourceList> & { sha256?: string } | null>(
    path,
    "list of source files",
  );
  const { sha256: hash, ...list } = read ?? {};
  if (list.format !== 1 || hash !== sha256(JSON.stringify(list))) {
    throw new UserError(
      `Cannot use the list of source files ${path}: it is damaged; run "pipeline refresh" once without ` +
        "--part, which writes it again",
    );
  }
  return list as SourceList;
}
