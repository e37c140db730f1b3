/**
 * Branches of MeSH. PubMed's XML names headings but not where they stand; NLM publishes that as
 * `mtreesYYYY.bin`, lines of `Heading;Tree number`.
 * @module
 */
import { messageOf, UserError } from "../core/errors.ts";

/** Branches of a heading, such as "C04 Neoplasms"; none for one that the file does not have. */
export type MeshBranches = (heading: string) => readonly string[];

/**
 * Reads a MeSH tree file. A branch is the first part of a tree number (C04), with the heading that
 * stands there.
 * @throws {UserError} naming the file, where it cannot be read or a line is no heading and number.
 */
export function readMeshTree(file: string): MeshBranches {
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw new UserError(`Cannot read the MeSH tree ${file}: ${messageOf(error)}`);
  }
  const codes = new Map<string, Set<string>>(), names = new Map<string, string>();
  text.split(/\r?\n/).forEach((line, i) => {
    if (!line.trim()) return;
    const match = /^(.+);([A-Z]\d{2})((?:\.\d+)*)$/.exec(line.trim());
    if (!match) {
      throw new UserError(
        `Cannot use the MeSH tree ${file}: line ${i + 1} is "${line.slice(0, 60)}"; NLM's ` +
          `mtrees file has lines like "Neoplasms;C04"`,
      );
    }
    const [, heading, code, rest] = match as unknown as [string, string, string, string];
    if (!rest) names.set(code, heading);
    const known = codes.get(heading);
    if (known) known.add(code);
    else codes.set(heading, new Set([code]));
  });
  if (!codes.size) throw new UserError(`Cannot use the MeSH tree ${file}: it has no lines`);
  return (heading) =>
    [...codes.get(heading) ?? []].map((code) => `${code} ${names.get(code) ?? ""}`.trim());
}
