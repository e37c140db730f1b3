/**
 * The Hallmarks of Cancer corpus as its authors released it (Baker et al. 2016): a folder `text` with a
 * file per abstract, a sentence per line, and a folder `labels` with as many "<"-separated groups of
 * labels per file. A label is a path in the taxonomy ("Sustaining proliferative signaling--Downstream
 * signaling"); its first part is one of the ten hallmarks. NULL is none. BLUE's form of it is read too: a
 * file per abstract, with a sentence, a tab, and a list of labels on each line.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { failAt, readLinesOf, readText } from "./files.ts";
import type { Format, LabelledText, Probe } from "./types.ts";

/** The folder that has both, itself or one below. */
function rootOf(path: string, names: readonly string[]): string | undefined {
  for (const base of [path, ...names.map((name) => join(path, name))]) {
    if (exists(join(base, "text")) && exists(join(base, "labels"))) return base;
  }
  return undefined;
}

/** A line of BLUE's form. */
const LISTED = /^(.*)\t\[(.*)\]\s*$/;

/** Whether the files of a folder are abstracts in BLUE's form. */
function isListed({ names, child }: Probe): boolean {
  const first = names.find((name) => name.endsWith(".txt"));
  const lines = first === undefined ? [] : child(first).lines.filter((line) => line.trim() !== "");
  return lines.length > 0 && lines.every((line) => LISTED.test(line));
}

function readListed(folder: string, names: readonly string[]): LabelledText[] {
  return names.filter((name) => name.endsWith(".txt")).flatMap((name) => {
    const path = join(folder, name);
    const document = name.replace(/\.txt$/, "");
    return readLinesOf(path).flatMap((line, i): LabelledText[] => {
      if (line.trim() === "") return [];
      const [, text, list] = LISTED.exec(line) ??
        failAt(path, i + 1, "it is not a sentence, a tab and a list of labels");
      return [{
        kind: "text",
        id: `${document}.${i + 1}`,
        text: text ?? "",
        document,
        labels: [...(list ?? "").matchAll(/"([^"]*)"|'([^']*)'/g)]
          .map(([, one, other]) => (one ?? other ?? "").trim())
          .filter((label) => label !== "" && label.toUpperCase() !== "NULL").sort(),
        line: i + 1,
      }];
    });
  });
}

/** See the module's text. */
export const hoc: Format<"text"> = {
  name: "hoc",
  kind: "text",
  title: "the Hallmarks of Cancer corpus: folders of texts and of labels, a sentence per line",
  folder: true,
  extension: "",
  recognise(probe) {
    const { isFolder, path, names } = probe;
    if (!isFolder) return 0;
    return rootOf(path, names) !== undefined || isListed(probe) ? 0.9 : 0;
  },
  read(path) {
    const inside = [...Deno.readDirSync(path)].map((e) => e.name).sort();
    const root = rootOf(path, inside);
    if (root === undefined) return readListed(path, inside);
    const names = [...Deno.readDirSync(join(root, "text"))].map((entry) => entry.name)
      .filter((name) => name.endsWith(".txt")).sort();
    return names.flatMap((name): LabelledText[] => {
      const lines = readLinesOf(join(root, "text", name));
      const file = join(root, "labels", name);
      const groups = readText(file).split("<").slice(1);
      // An empty line has labels in some files and none in others.
      const sentences = groups.length === lines.length
        ? lines
        : lines.filter((line) => line.trim() !== "");
      if (groups.length !== sentences.length) {
        throw new UserError(
          `Cannot read ${file}: it has labels for ${groups.length} sentences, the text ` +
            `${sentences.length}; take both from the same release`,
        );
      }
      const document = name.replace(/\.txt$/, "");
      return sentences.flatMap((text, i): LabelledText[] => {
        if (text.trim() === "") return [];
        const labels = (groups[i] ?? "").split(/\s+AND\s+|\t|\n/)
          .map((label) => (label.split("--")[0] ?? "").trim())
          .filter((label) => label !== "" && label.toUpperCase() !== "NULL");
        return [{
          kind: "text",
          id: `${document}.${i + 1}`,
          text,
          document,
          labels: [...new Set(labels)].sort(),
        }];
      });
    });
  },
};
