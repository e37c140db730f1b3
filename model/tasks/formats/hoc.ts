/**
 * The Hallmarks of Cancer corpus as its authors released it (Baker et al. 2016): a folder `text` with a
 * file per abstract, a sentence per line, and a folder `labels` with as many "<"-separated groups of
 * labels per file. A label is a path in the taxonomy ("Sustaining proliferative signaling--Downstream
 * signaling"); its first part is one of the ten hallmarks. NULL is none.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { readLinesOf, readText } from "./files.ts";
import type { Format, LabelledText } from "./types.ts";

/** The folder that has both, itself or one below. */
function rootOf(path: string, names: readonly string[]): string | undefined {
  for (const base of [path, ...names.map((name) => join(path, name))]) {
    if (exists(join(base, "text")) && exists(join(base, "labels"))) return base;
  }
  return undefined;
}

/** See the module's text. */
export const hoc: Format<"text"> = {
  name: "hoc",
  kind: "text",
  title: "the Hallmarks of Cancer corpus: folders of texts and of labels, a sentence per line",
  folder: true,
  extension: "",
  recognise: ({ isFolder, path, names }) => isFolder && rootOf(path, names) !== undefined ? 0.9 : 0,
  read(path) {
    const root = rootOf(path, [...Deno.readDirSync(path)].map((e) => e.name).sort()) ?? path;
    const names = [...Deno.readDirSync(join(root, "text"))].map((entry) => entry.name)
      .filter((name) => name.endsWith(".txt")).sort();
    return names.flatMap((name): LabelledText[] => {
      const sentences = readLinesOf(join(root, "text", name)).filter((s) => s.trim() !== "");
      const file = join(root, "labels", name);
      const groups = readText(file).split("<").slice(1);
      if (groups.length !== sentences.length) {
        throw new UserError(
          `Cannot read ${file}: it has labels for ${groups.length} sentences, the text ` +
            `${sentences.length}; take both from the same release`,
        );
      }
      return sentences.map((text, i) => {
        const labels = (groups[i] ?? "").split(/\s+AND\s+|\t|\n/)
          .map((label) => (label.split("--")[0] ?? "").trim())
          .filter((label) => label !== "" && label.toUpperCase() !== "NULL");
        return {
          kind: "text",
          id: `${name.replace(/\.txt$/, "")}.${i + 1}`,
          text,
          labels: [...new Set(labels)].sort(),
        };
      });
    });
  },
};
