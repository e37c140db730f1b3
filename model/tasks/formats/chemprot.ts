/**
 * ChemProt as BioCreative VI released it, and DrugProt, which has the same form: a folder with a file of
 * abstracts (id, title, abstract), one of entities (id, number, type, start, end, words) and one of
 * relations. Which file is which is seen from its columns. Relations come with their group and whether
 * it is evaluated (id, CPR:n, Y or N, relation, Arg1:T, Arg2:T), or as the gold standard has them
 * (id, CPR:n, Arg1:T, Arg2:T).
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { writeAtomic } from "../../../core/files.ts";
import { basename, join } from "../../../core/std.ts";
import { inCharacters, placeSpans, titleAndRest, titled } from "./documents.ts";
import { failAt, probe, readLinesOf } from "./files.ts";
import { mentionRelations } from "./brat.ts";
import { offsetsOf } from "./offsets.ts";
import type { AnnotatedDocument, Format, Probe } from "./types.ts";

type Part = "abstracts" | "entities" | "relations" | "gold";

/** What the columns of a file's first lines say that it is. */
function partOf(probe: Probe): Part | undefined {
  const rows = probe.lines.filter((line) => line.trim() !== "").slice(0, 20)
    .map((line) => line.split("\t"));
  if (!rows.length) return undefined;
  const all = (test: (row: string[]) => boolean) => rows.every(test);
  if (all((r) => r.length === 6 && /^T\d+$/.test(r[1] ?? "") && /^\d+$/.test(r[3] ?? ""))) {
    return "entities";
  }
  if (all((r) => r.length === 6 && /^Arg1:/.test(r[4] ?? "") && /^Arg2:/.test(r[5] ?? ""))) {
    return "relations";
  }
  if (all((r) => r.length === 4 && /^Arg1:/.test(r[2] ?? "") && /^Arg2:/.test(r[3] ?? ""))) {
    return "gold";
  }
  return all((r) => r.length === 3 && /^\S+$/.test(r[0] ?? "")) ? "abstracts" : undefined;
}

/** The files of a folder by what they are. */
type Parts = Partial<Record<Part, string>>;

/**
 * The files of a folder by what they are, and the first two that are the same, as where several splits lie
 * side by side. With both forms of relations the fuller one is taken.
 */
function partsOf(probe: Probe): { parts: Parts; double?: [string, string] } {
  const parts: Parts = {};
  let double: [string, string] | undefined;
  for (const name of probe.names) {
    if (!/\.(tsv|txt)$/i.test(name)) continue;
    const part = partOf(probe.child(name));
    if (!part) continue;
    const other = parts[part];
    if (other === undefined) parts[part] = join(probe.path, name);
    else double ??= [basename(other), name];
  }
  return { parts, ...(double ? { double } : {}) };
}

/** The lines of a file that are not blank, with their places. */
const filledLines = (path: string): [number, string][] =>
  [...readLinesOf(path).entries()].filter(([, line]) => line.trim() !== "");

/** The type of a relation that the shared task does not evaluate. */
export const NOT_EVALUATED = "not evaluated";

/** See the module's text. */
export const chemprot: Format<"document"> = {
  name: "chemprot",
  kind: "document",
  title: "a folder of abstracts, entities and relations, as ChemProt and DrugProt are released",
  folder: true,
  extension: "",
  recognise(probe) {
    if (!probe.isFolder) return 0;
    const { abstracts, entities } = partsOf(probe).parts;
    return abstracts && entities ? 0.98 : 0;
  },
  read(folder) {
    const { parts: { abstracts, entities, relations, gold }, double } = partsOf(probe(folder));
    if (double) {
      throw new UserError(
        `Cannot read ${folder}: ${double[0]} and ${
          double[1]
        } have the same columns; put the files of ` +
          "each split into a folder of their own",
      );
    }
    const documents = new Map<string, AnnotatedDocument>();
    for (const [i, line] of filledLines(abstracts ?? folder)) {
      const [id = "", title = "", abstract = ""] = line.split("\t");
      if (documents.has(id)) failAt(abstracts ?? folder, i + 1, `document ${id} occurs twice`);
      const { text, passages } = titled(title, abstract);
      documents.set(id, { kind: "document", id, text, passages, mentions: [], relations: [] });
    }
    const document = (path: string, line: number, id: string | undefined) =>
      documents.get(id ?? "") ??
        failAt(path, line, `there is no abstract of the document ${id}`);
    for (const [i, line] of filledLines(entities ?? folder)) {
      const path = entities ?? folder;
      const [id, number = "", type = "", start, end, words] = line.split("\t");
      const own = document(path, i + 1, id);
      const told = [{ start: Number(start), end: Number(end) }];
      const offsets = offsetsOf(own.text);
      const spans = placeSpans(own.text, told, words, { path, line: i + 1, offsets });
      own.mentions.push({ id: number, type, spans, text: words ?? "", identifiers: [] });
    }
    const path = relations ?? gold;
    for (const [i, line] of path ? filledLines(path) : []) {
      const columns = line.split("\t").map((c) => c.trim());
      const own = document(path ?? folder, i + 1, columns[0]);
      const args = columns.filter((c) => /^Arg[12]:/.test(c)).map((c) => {
        const [role = "", entity = ""] = c.split(":");
        if (!own.mentions.some((m) => m.id === entity)) {
          failAt(path ?? folder, i + 1, `the relation names ${entity}, which is no entity`);
        }
        return { role, entity };
      });
      // DrugProt has the relation's name in the group's place, and nothing else.
      const evaluated = columns.length < 6 || columns[2]?.toUpperCase() === "Y";
      const type = evaluated ? columns[1] ?? "" : NOT_EVALUATED;
      own.relations.push({ type, level: "mention", arguments: args });
    }
    return [...documents.values()];
  },
  write(documents, folder) {
    const name = basename(folder);
    const abstracts: string[] = [];
    const entities: string[] = [];
    const relations: string[] = [];
    const oneLine = (text: string) => text.replace(/[\t\n\r]/g, " ");
    for (const document of documents) {
      const { id } = document;
      const { title, rest } = titleAndRest(document);
      // Without a title its place stays, one character long, before the text.
      const shift = title === "" ? 1 : 0;
      abstracts.push([id, oneLine(title), oneLine(rest)].join("\t"));
      const place = inCharacters(document);
      for (const mention of document.mentions) {
        const { start, end } = place({
          start: mention.spans[0]?.start ?? 0,
          end: mention.spans.at(-1)?.end ?? 0,
        });
        const words = oneLine(
          document.text.slice(mention.spans[0]?.start, mention.spans.at(-1)?.end),
        );
        entities.push(
          [id, mention.id, mention.type, start + shift, end + shift, words].join("\t"),
        );
      }
      for (const relation of mentionRelations(document)) {
        const [one, two] = relation.arguments;
        relations.push(
          [id, relation.type, `Arg1:${one?.entity}`, `Arg2:${two?.entity}`].join("\t"),
        );
      }
    }
    const text = (lines: string[]) => lines.map((line) => line + "\n").join("");
    writeAtomic(join(folder, `${name}_abstracts.tsv`), text(abstracts));
    writeAtomic(join(folder, `${name}_entities.tsv`), text(entities));
    writeAtomic(join(folder, `${name}_gold_standard.tsv`), text(relations));
  },
};
